"""`minid pull`: an image of a registry into the store, verified by digest."""

from __future__ import annotations

import argparse
import os

from minid.cli.folder import add_json_option, add_message_option, load_folder_config
from minid.cli.image_words import reference
from minid.cli.load_command import loaded_json, print_loaded
from minid.cli.push_command import add_registry_options, registry_place
from minid.cli.transfer_progress import transfer_progress
from minid.cli.words import print_json
from minid.errors import UsageError
from minid.formats.registry_name import HUB, RegistryName, parse_registry_name
from minid.store.edits import Edits
from minid.store.records import Records


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid pull`."""
    parser.add_argument("name", metavar="REGISTRY/REPO[:TAG|@DIGEST]", help="the image")
    parser.add_argument(
        "--tag", metavar="NAME:TAG", help="its name in the store (default: the name as given)"
    )
    parser.add_argument("--replace", action="store_true", help="take the tag from another image")
    add_registry_options(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_message_option(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the image is in the store."""
    config = load_folder_config(arguments)
    try:
        name = parse_registry_name(arguments.name)
    except ValueError as error:
        hint = f"of Docker Hub: docker.io/{arguments.name}" if "/" not in arguments.name else ""
        raise UsageError(f"pull: {error}", hint=hint) from error
    tags = (reference("--tag", arguments.tag),) if arguments.tag else _own_name(name)
    from minid.line.workshop import open_guest
    from minid.workbench.loading import Arrival
    from minid.workbench.people import acting_user
    from minid.workbench.pulling import pull_image

    place = registry_place(arguments, config, name)
    with (
        open_guest(config, {}) as shop,
        transfer_progress(quiet=arguments.quiet or arguments.json) as progress,
    ):
        who = acting_user(os.environ)
        # A pull moves the tag that it pulled before, as people know it.
        mine = all(_was_pulled(shop.records, tag) for tag in tags)
        replace = arguments.replace or mine
        arrival = Arrival("pull", who, str(name), arguments.message, tags, replace)
        loaded = pull_image(shop, place, arrival, progress)
    if arguments.json:
        print_json(loaded_json(loaded))
    else:
        print_loaded(loaded)
    return 0


def _was_pulled(records: Records, tag: str) -> bool:
    """Whether a tag is at an image that a pull gave it, be it after an edit and its undo."""
    manifest = records.tagged(tag)
    rows = Edits(records.database).pulls(manifest) if manifest else []
    return any(tag in (row.detail.get("names") or ()) for row in rows)  # type: ignore[operator]


def _own_name(name: RegistryName) -> tuple[str, ...]:
    """The name in the store: as it was given; of Docker Hub's the short one that people know."""
    if name.digest and not name.tag:
        return ()
    tag = name.tag or "latest"
    if name.registry == HUB:
        return (f"{name.repository.removeprefix('library/')}:{tag}",)
    return (reference("pull", f"{name.registry}/{name.repository}:{tag}"),)
