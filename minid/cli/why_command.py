"""`minid why`: the chain that brought a file into an image."""

from __future__ import annotations

import argparse
import json

from minid.cli.folder import add_json_option
from minid.cli.store_reader import add_image_argument, open_image
from minid.cli.words import print_json
from minid.errors import UsageError
from minid.formats.elf_closure import why_chain
from minid.formats.tree import parse_tree
from minid.model import Reason


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid why`."""
    add_image_argument(parser)
    parser.add_argument("path", metavar="PATH", help="a file in the image")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the chain from the file to what the build installed, or where else it comes from."""
    image = open_image(arguments)
    path = arguments.path.strip("/")
    tree = parse_tree(image.read("tree"))
    entry = next((item for item in tree.entries if item.image_path == path), None)
    if entry is None:
        raise UsageError(f"{arguments.image}: expected a path of the image, got {arguments.path!r}")
    report = json.loads(image.read("report"))
    reasons = {item["image_path"]: Reason(**item) for item in report["reasons"]}
    chain = why_chain(reasons, path)
    if not chain:
        origin = "the base, or the recipe's [rootfs]"
        if arguments.json:
            print_json({"path": "/" + path, "chain": [], "origin": origin})
        else:
            print(f"/{path}: from {origin}")
        return 0
    if arguments.json:
        print_json(
            {
                "path": "/" + path,
                "chain": [
                    {"path": r.image_path, "how": r.how, "via": r.via, "detail": r.detail}
                    for r in chain
                ],
            }
        )
        return 0
    for depth, reason in enumerate(chain):
        via = f" by /{reason.via.strip('/')}" if reason.via else ""
        detail = f" ({reason.detail})" if reason.detail else ""
        print(f"{'  ' * depth}/{reason.image_path.strip('/')}: {reason.how}{via}{detail}")
    return 0
