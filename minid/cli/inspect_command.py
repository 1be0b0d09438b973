"""`minid inspect`: an image's configuration, sizes and provenance, as JSON."""

from __future__ import annotations

import argparse
import json

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import digest_at, find_image, open_blobs, open_records
from minid.cli.words import print_json


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid inspect`."""
    parser.add_argument("image", metavar="IMAGE", help="a tag, a recipe, or a digest")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Always JSON, as docker inspect; `--json` is taken for the sake of scripts."""
    config = load_folder_config(arguments)
    records = open_records(config)
    blobs = open_blobs(config)
    image = find_image(records, arguments.image)
    report = json.loads(blobs.read(digest_at(image, "report")))
    print_json(
        {key: value for key, value in image.items() if key not in ("blobs", "report", "tree")}
        | {
            "configuration": json.loads(blobs.read(digest_at(image, "config"))),
            "manifest_json": json.loads(blobs.read(digest_at(image, "manifest"))),
            "payload": {
                "files": len(report["reasons"]),
                "drops": report["drops"],
                "stripped_bytes": report["stripped_bytes"],
                "linked_bytes": report["linked_bytes"],
                "warnings": report["warnings"],
            },
            "environment": report["environment"],
            "compression": report["compression"],
        }
    )
    return 0
