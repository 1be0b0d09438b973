"""`minid gc`: remove what nothing stands on any more."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option, load_folder
from minid.cli.words import format_size, print_json, printable
from minid.line.workshop import open_guest

if TYPE_CHECKING:
    from minid.workbench.collecting import Collected

_HEX_SHOWN = 19


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid gc`."""
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="say what would go, and remove nothing"
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when it ran to its end. Works beside builds and the service."""
    from minid.cli.store_reader import open_records
    from minid.workbench.collecting import collect, preview

    folder = load_folder(arguments)
    open_records(folder.config).close()  # where there is no store, none is made
    complete = not folder.broken
    with open_guest(folder.config, folder.recipes) as shop:
        run = preview if arguments.dry_run else collect
        collected = run(shop, complete=complete)
    if arguments.json:
        print_json({"dry_run": arguments.dry_run, "complete": complete, **_facts(collected)})
    else:
        _print(collected, dry_run=arguments.dry_run)
        if not complete:
            print("environments stay: there are recipes that cannot be read (`minid lint`)")
    return 0


def _facts(collected: Collected) -> dict[str, object]:
    images = [
        {"recipe": row.recipe, "version": row.version, "manifest": row.key}
        for row in collected.images
    ]
    return {**asdict(collected), "images": images}


def _print(collected: Collected, *, dry_run: bool) -> None:
    for row in collected.images:
        name = f"{row.recipe or 'image'} {row.version}".rstrip()
        print(f"image {printable(name)} {row.key[:_HEX_SHOWN]}")
    for name in collected.environments:
        print(f"environment {name}")
    size = format_size(collected.blob_bytes + collected.log_bytes)
    verb = f"would free {size}" if dry_run else f"freed {size}"
    counts = (
        (len(collected.images), "image"),
        (collected.results, "result"),
        (collected.blobs, "blob"),
        (collected.logs, "log"),
        (len(collected.environments), "environment"),
        (collected.layers, "unpacked layer"),
        (collected.places, "left-over file"),
    )
    words = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
    print(f"{verb}: {', '.join(words)}" if words else "nothing to remove")
    if collected.in_use:
        print(f"in use now, for the next time: {collected.in_use} blobs")
