"""`minid provenance`: how an image came to be, as an in-toto statement."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minid.cli.folder import add_json_option
from minid.cli.sbom_command import write_document
from minid.cli.store_reader import add_image_argument, open_image


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid provenance`."""
    add_image_argument(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the file (default: printed)")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Write the statement, which is JSON anyway, whole or not at all."""
    from minid.line.attest import Attestations

    image = open_image(arguments)
    data = Attestations(image.facts, image.records, image.blobs).provenance().data
    if arguments.output in (None, "-"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_document(Path(arguments.output), data)
    return 0
