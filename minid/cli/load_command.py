"""`minid load`: take the images of an archive, or a root file system, into the store."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from minid.cli.folder import add_json_option, add_message_option, load_folder_config
from minid.cli.image_words import reference
from minid.cli.words import format_size, print_json, printable
from minid.errors import UnpackError, UsageError
from minid.formats.image_record import parse_image

if TYPE_CHECKING:
    from minid.line.workshop import Workshop
    from minid.workbench.loading import Loaded

MAX_INPUT_BYTES = 64 << 30


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid load`."""
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="an archive, or a folder with an OCI layout; - is the input",
    )
    parser.add_argument("-i", "--input", metavar="FILE", help="the same, as `docker load` has it")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="NAME:TAG",
        help="a name for it, instead of those that it brings",
    )
    parser.add_argument("--replace", action="store_true", help="take tags from other images")
    add_message_option(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the images are in the store; UnpackError for what is damaged, with nothing done."""
    config = load_folder_config(arguments)
    tags = tuple(reference("--tag", tag) for tag in arguments.tag)
    from minid.line.workshop import open_guest
    from minid.workbench.loading import Arrival, load_archive, load_layout, name_of_file
    from minid.workbench.people import acting_user

    with open_guest(config, {}) as shop:
        source = arguments.input or arguments.file
        name = Path(source).resolve().name if source != "-" else "standard input"
        who, own = acting_user(os.environ), name_of_file(name) if source != "-" else ""
        arrival = Arrival("load", who, name, arguments.message, tags, arguments.replace, own)
        if Path(source).is_dir():
            loaded = load_layout(shop, Path(source), arrival)
        else:
            with opened(source, shop) as file:
                loaded = load_archive(shop, file, arrival)
    if arguments.json:
        print_json({"kind": loaded.kind, "images": [loaded_json(item) for item in loaded.images]})
        return 0
    print(f"{printable(name)}: {loaded.kind}, {len(loaded.images)} image(s)")
    for item in loaded.images:
        print_loaded(item)
    return 0


@contextmanager
def opened(file: str, shop: Workshop) -> Iterator[BinaryIO]:
    """A file that can be sought; standard input is kept in one meanwhile."""
    if file != "-":
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(f"{file}: expected a file to read, got {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as stream:
            yield stream
        return
    if sys.stdin.isatty():
        raise UsageError("expected a file, or an archive on standard input, got a terminal")
    import tempfile

    shop.jobs_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=shop.jobs_folder) as spooled:
        while piece := sys.stdin.buffer.read(1 << 20):
            spooled.write(piece)
            if spooled.tell() > MAX_INPUT_BYTES:
                raise UnpackError(f"standard input: expected at most {MAX_INPUT_BYTES} bytes")
        yield spooled


def loaded_json(item: Loaded) -> dict[str, object]:
    """An image that was taken in, as JSON values."""
    image = parse_image(item.detail)
    return {
        "tags": list(item.names),
        "manifest": str(image.manifest),
        "config": str(image.config),
        "layers": len(image.layers),
        "sizes": {"unpacked": image.sizes.unpacked, "layers": image.sizes.layers},
        "edit": item.moved.edit if item.moved else None,
        "moved": list(item.moved.moved) if item.moved else [],
        "left_out": item.left_out,
    }


def print_loaded(item: Loaded) -> None:
    """The image, its tags, and what has no place in minid's trees."""
    image = parse_image(item.detail)
    size = format_size(image.sizes.unpacked)
    there = "" if item.moved else ", was there already"
    print(f"  image    {image.manifest}: {len(image.layers)} layer(s), {size}{there}")
    for name in item.names:
        print(f"  tagged   {printable(name)}")
    if item.left_out:
        print(f"  note     {item.left_out} devices, sockets or FIFOs are not among its files")
