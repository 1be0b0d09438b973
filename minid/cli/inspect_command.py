"""`minid inspect`: an image's configuration, sizes and provenance, as JSON."""

from __future__ import annotations

import argparse
import json

from minid.cli.folder import add_json_option
from minid.cli.store_reader import add_image_argument, open_image
from minid.cli.words import print_json


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid inspect`."""
    add_image_argument(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Always JSON, as docker inspect; `--json` is taken for the sake of scripts."""
    image = open_image(arguments)
    report = json.loads(image.read("report"))
    print_json(
        {key: value for key, value in image.facts.items() if key not in ("blobs", "report", "tree")}
        | {
            "configuration": json.loads(image.read("config")),
            "manifest_json": json.loads(image.read("manifest")),
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
