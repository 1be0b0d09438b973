"""`minid rollback`: move tags to an earlier image."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option, add_message_option, load_folder_config
from minid.cli.store_reader import open_records
from minid.cli.words import print_json, printable
from minid.line.workshop import open_guest

if TYPE_CHECKING:
    from minid.workbench.moving import Moved
    from minid.workbench.rollback import Way


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid rollback`."""
    parser.add_argument("name", metavar="NAME", help="a recipe, or one tag")
    parser.add_argument(
        "version",
        nargs="?",
        default="",
        metavar="VERSION",
        help="a version or a digest (default: the image before)",
    )
    add_message_option(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the tags point at the earlier image."""
    from minid.workbench.people import acting_user
    from minid.workbench.rollback import find_way, roll_back

    config = load_folder_config(arguments)
    open_records(config).close()
    with open_guest(config, {}) as shop:
        way = find_way(shop.records, arguments.name, arguments.version)
        moved = roll_back(shop, way, acting_user(os.environ), arguments.message)
    if arguments.json:
        print_json(_facts(way, moved))
    else:
        _print(way, moved)
    return 0


def _facts(way: Way, moved: Moved) -> dict[str, object]:
    keys = ("recipe", "version", "manifest")
    return {
        "from": {key: way.now[key] for key in keys},
        "to": {key: way.then[key] for key in keys},
        "edit": moved.edit,
        "moved": list(moved.moved),
        "notes": list(moved.notes),
    }


def _print(way: Way, moved: Moved) -> None:
    now, then = (f"{item['version']} {str(item['manifest'])[7:19]}" for item in (way.now, way.then))
    recipe = str(way.then["recipe"])
    print(printable(f"{recipe}: edit {moved.edit}: {now} → {then}"))
    for line in moved.moved:
        print(printable(f"  tagged   {line}"))
    for note in moved.notes:
        print(printable(f"  {note}"))
    if way.now["version"] != way.then["version"]:
        print(printable(f"  to stay there: minid pin {recipe} {way.then['version']}"))
    else:
        print("  it stays until the recipe changes")
    print(printable(f"  forward again: minid rollback {recipe} {str(way.now['manifest'])[7:19]}"))
