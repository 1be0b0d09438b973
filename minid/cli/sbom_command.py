"""`minid sbom`: an image's bill of materials."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minid.cli.store_reader import add_image_argument, open_image
from minid.cli.words import printable
from minid.errors import HostError

_FORMATS = ("spdx", "cyclonedx")


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid sbom`."""
    add_image_argument(parser)
    parser.add_argument(
        "--format", choices=_FORMATS, default="spdx", help="SPDX 2.3 (default) or CycloneDX 1.6"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the file (default: printed)")


def execute(arguments: argparse.Namespace) -> int:
    """Write the document, whole or not at all."""
    from minid.line.origins import Story
    from minid.line.sbom import make_bom

    image = open_image(arguments)
    bom = make_bom(Story(image.facts, image.records, image.blobs), image.blobs)
    if arguments.format == "spdx":
        from minid.formats.spdx import dump_spdx

        data = dump_spdx(bom)
    else:
        from minid.formats.cyclonedx import dump_cyclonedx

        data = dump_cyclonedx(bom)
    if arguments.output in (None, "-"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return 0
    write_document(Path(arguments.output), data)
    told = printable(f"{arguments.output}: {len(bom.items)} components, {len(bom.files)} files")
    print(told, file=sys.stderr)  # standard output may be the file
    return 0


def write_document(path: Path, data: bytes) -> None:
    """Write a document where a person wants it; HostError where that is not possible."""
    try:
        _write(path, data)
    except OSError as error:
        raise HostError(f"{path}: expected to write the document, got {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    """A file takes its name whole; a device or pipe stays what it is, and gets the bytes."""
    from minid.host.files import write_file

    if path.is_file() and not path.is_relative_to("/dev"):
        write_file(path.resolve(), data, mode=path.stat().st_mode & 0o777)
    elif path.exists() and not path.is_dir():
        with path.open("wb") as file:
            file.write(data)
    else:
        write_file(path, data)
