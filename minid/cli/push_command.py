"""`minid push`: an image to a registry, byte for byte."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import find_image, open_blobs, open_records
from minid.cli.transfer_progress import transfer_progress
from minid.cli.words import print_json, printable
from minid.errors import UsageError
from minid.formats.image_record import parse_image
from minid.formats.registry_name import RegistryName, has_registry, parse_registry_name

if TYPE_CHECKING:
    from minid.config import Config
    from minid.formats.oci_artifact import Attachment
    from minid.host.registry_connection import Place
    from minid.model import Image


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid push`."""
    parser.add_argument("image", metavar="IMAGE", help="a tag, a recipe, or a digest")
    parser.add_argument(
        "name",
        nargs="?",
        metavar="REGISTRY/REPO[:TAG]",
        help="where to (default: publish.registry of config.toml, and the image's own name)",
    )
    add_registry_options(parser)
    parser.add_argument(
        "--no-referrers",
        action="store_true",
        help="without signatures, bill of materials and provenance",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_json_option(parser)


def add_registry_options(parser: argparse.ArgumentParser) -> None:
    """How a registry is reached, the same for push and pull."""
    parser.add_argument(
        "--insecure", action="store_true", help="over http where it speaks no https"
    )
    parser.add_argument("--ca", metavar="FILE", type=Path, help="certificates of its authority")


def registry_place(arguments: argparse.Namespace, config: Config, name: RegistryName) -> Place:
    """How the registry is reached: as the command line says, else as config.toml does."""
    from minid.host.registry_push import open_place

    own = config.publish.registry.partition("/")[0] == name.registry
    return open_place(
        name,
        os.environ,
        insecure=arguments.insecure or (own and config.publish.registry_insecure),
        ca_file=arguments.ca or (config.publish.registry_ca if own else None),
    )


def execute(arguments: argparse.Namespace) -> int:
    """0 when the registry has the image and gives it back by its digest."""
    from minid.host.registry_push import push_image

    config = load_folder_config(arguments)
    records, blobs = open_records(config), open_blobs(config)
    facts = find_image(records, arguments.image)
    image = parse_image(facts)
    manifest = blobs.read(image.manifest)
    named = {row.name for row in records.tags() if row.manifest == str(image.manifest)}
    attachments: tuple[Attachment, ...] = ()
    if config.publish.referrers and not arguments.no_referrers:
        from minid.line.attaching import list_attachments

        attachments = list_attachments(facts, records, blobs)
    results = []
    for name, tags in _places(arguments, config, image, named):
        place = registry_place(arguments, config, name)
        with transfer_progress(quiet=arguments.quiet or arguments.json) as progress:
            pushed = push_image(
                manifest, place, tags, blobs.read_range, progress, attachments=attachments
            )
        shown = [f"{name}:{tag}" for tag in tags] or [f"{name}@{image.manifest}"]
        results.append(
            {
                "names": shown,
                "manifest": str(image.manifest),
                "sent": pushed.sent,
                "present": pushed.present,
                "referrers": [item.artifact_type for item in attachments],
            }
        )
        if not arguments.json:
            for text in shown:
                print(f"{printable(text)}: {image.manifest}")
            beside = f"; {len(attachments)} referrers" if attachments else ""
            print(f"  {pushed.sent} blobs sent, {pushed.present} were there{beside}")
    if arguments.json:
        print_json(results)
    return 0


def _places(
    arguments: argparse.Namespace, config: Config, image: Image, named: set[str]
) -> list[tuple[RegistryName, list[str]]]:
    """Repositories, each with the tags to push there."""
    if arguments.name:
        try:
            name = parse_registry_name(arguments.name)
        except ValueError as error:
            raise UsageError(f"push: {error}") from error
        if name.digest:
            raise UsageError(f"push: expected REGISTRY/REPO[:TAG], got {arguments.name!r}")
        own = arguments.image.rpartition(":")[2] if arguments.image in named else ""
        tag = name.tag or own or image.version
        place = RegistryName(name.registry, name.repository)
        try:
            parse_registry_name(f"{place}:{tag}")
        except ValueError as error:
            raise UsageError(f"push: {error}", hint=f"name one: {place}:TAG") from error
        return [(place, [tag])]
    if not config.publish.registry:
        raise UsageError(
            "push: expected REGISTRY/REPO[:TAG], got nothing",
            hint="or set publish.registry in config.toml",
        )
    from minid.host.registry_push import remote_name

    wanted = [arguments.image] if arguments.image in named else sorted(named)
    wanted = [item for item in wanted if not has_registry(item)]
    if not wanted:
        raise UsageError(
            f"{arguments.image}: expected an image with a name of its own, got none",
            hint="name a place: REGISTRY/REPO[:TAG]",
        )
    found: dict[str, list[str]] = {}
    for item in wanted:
        repository, _, tag = item.rpartition(":")
        found.setdefault(repository, []).append(tag)
    return [(remote_name(config.publish.registry, key), tags) for key, tags in found.items()]
