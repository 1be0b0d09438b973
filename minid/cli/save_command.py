"""`minid save`: images, or the file system of a container, as files to give away."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import find_image, open_blobs, open_records
from minid.cli.words import format_size, print_json, printable
from minid.errors import HostError, UsageError
from minid.store.records import Records

_PACKED = (".tar.gz", ".tgz")


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid save`."""
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="a tag, a recipe, or a digest")
    parser.add_argument(
        "--container",
        action="append",
        default=[],
        metavar="NAME",
        help="the file system of a container of Docker's",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR|FILE",
        help="the folder (default: this one); a FILE.tar or FILE.tar.gz takes all images together, "
        "- is standard output",
    )
    parser.add_argument(
        "--attest",
        action="store_true",
        help="write the bill of materials and the provenance beside each archive",
    )
    parser.add_argument("--plain", action="store_true", help="do not compress")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when every file is there, whole."""
    if not arguments.images and not arguments.container:
        raise UsageError("save: expected an IMAGE or --container, got neither")
    if arguments.attest and (arguments.container or arguments.output == "-"):
        raise UsageError("--attest: expected archives of images in a folder, got something else")
    if arguments.output == "-":
        return _to_output(arguments)
    if arguments.plain and (arguments.output or "").endswith(_PACKED):
        raise UsageError(f"--plain: expected the name of a folder or a tar, got {arguments.output}")
    written = _images(arguments) if arguments.images else []
    written += [_container(arguments, name) for name in arguments.container]
    if arguments.json:
        print_json(written)
    else:
        for item in written:
            names = ", ".join(str(name) for name in item["names"])  # type: ignore[attr-defined]
            print(f"{item['file']}: {printable(names)}, {format_size(int(str(item['size'])))}")
    return 0


def _images(arguments: argparse.Namespace) -> list[dict[str, object]]:
    from minid.host.export_folder import no_files
    from minid.workbench.saving import (
        Wanted,
        archive_bytes,
        attest_beside,
        file_name,
        write_archive,
    )

    config = load_folder_config(arguments)
    records, blobs = open_records(config), open_blobs(config)
    found = _find(records, arguments.images)
    wanted = [Wanted(records.image(manifest) or {}, names) for manifest, names in found.items()]
    output = Path(arguments.output or ".")
    plain = arguments.plain or output.name.endswith(".tar")
    together = output.name.endswith((".tar", *_PACKED)) and not output.is_dir()
    if arguments.attest and together and len(wanted) > 1:
        raise UsageError(f"--attest: expected one image an archive, got {len(wanted)} in {output}")
    groups = [(output, wanted)] if together else []
    if not together:
        for item in wanted:
            for name in item.names:
                file = output / file_name(name, "image", plain=plain)
                groups.append((file, [Wanted(item.detail, (name,))]))
    written: list[dict[str, object]] = []
    for path, items in groups:
        chunks = archive_bytes(items, blobs, os.uname().machine, plain=plain)
        detail = items[0].detail
        beside = attest_beside(detail, records, blobs) if arguments.attest else no_files
        size = write_archive(path, chunks, beside)
        names = [name for item in items for name in item.names]
        written.append({"file": str(path), "names": names, "size": size, "kind": "image"})
    return written


def _to_output(arguments: argparse.Namespace) -> int:
    if arguments.container or sys.stdout.isatty():
        got = "a terminal" if not arguments.container else "a container"
        raise UsageError(f"save: expected a file or a pipe for images, got {got}")
    from minid.workbench.saving import Wanted, archive_bytes

    config = load_folder_config(arguments)
    records = open_records(config)
    found = _find(records, arguments.images)
    wanted = [Wanted(records.image(manifest) or {}, names) for manifest, names in found.items()]
    machine = os.uname().machine
    try:
        for chunk in archive_bytes(wanted, open_blobs(config), machine, plain=arguments.plain):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:  # whoever reads half an archive has none
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise HostError(
            "standard output: expected the archive to be read, got a closed pipe"
        ) from error
    return 0


def _find(records: Records, asked: list[str]) -> dict[str, tuple[str, ...]]:
    """The images that are meant by manifest digest, each with the names to save it under: the tag
    that was given, else all of its tags."""
    found: dict[str, tuple[str, ...]] = {}
    tags = records.tags()
    named = {row.name: row.manifest for row in tags}
    for name in asked:
        manifest = str(find_image(records, name)["manifest"])
        full = next((tag for tag in (name, f"{name}:latest") if tag in named), "")
        names = (full,) if full else tuple(row.name for row in tags if row.manifest == manifest)
        if not names:
            raise UsageError(
                f"{name}: expected an image with a tag, got one without",
                hint="`minid set IMAGE --tag NAME:TAG` names it",
            )
        found[manifest] = tuple(dict.fromkeys((*found.get(manifest, ()), *names)))
    return found


def _container(arguments: argparse.Namespace, name: str) -> dict[str, object]:
    from minid.formats.gzip_stream import gzip_chunks
    from minid.host.container_export import container_files
    from minid.workbench.saving import file_name, write_archive

    with container_files(name) as (image, chunks):
        path = Path(arguments.output or ".")
        if not path.name.endswith((".tar", *_PACKED)) or path.is_dir():
            full = image if ":" in image.rpartition("/")[2] else f"{image}:latest"
            path /= file_name(full.removeprefix("sha256:"), "container", plain=arguments.plain)
        plain = path.name.endswith(".tar")
        size = write_archive(path, chunks if plain else gzip_chunks(chunks))
    return {"file": str(path), "names": [name], "size": size, "kind": "container"}
