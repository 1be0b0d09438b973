"""`minid list`: the images in the store."""

from __future__ import annotations

import argparse

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import open_records
from minid.cli.words import ago, format_size, print_json, print_table


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid list`."""
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """One line a tag."""
    records = open_records(load_folder_config(arguments))
    rows = []
    for tag in records.tags():
        image = records.image(tag.manifest) or {}
        sizes = image.get("sizes")
        rows.append(
            {
                "name": tag.name,
                "manifest": tag.manifest,
                "moved": tag.moved,
                "version": image.get("version", ""),
                "sizes": sizes if isinstance(sizes, dict) else {},
            }
        )
    if arguments.json:
        print_json(rows)
        return 0
    print_table(
        ("IMAGE", "DIGEST", "TAGGED", "UNPACKED", "ARCHIVE"),
        [
            (
                str(row["name"]),
                str(row["manifest"])[:19],
                ago(float(str(row["moved"]))),
                _size(row["sizes"], "unpacked"),
                _size(row["sizes"], "archive"),
            )
            for row in rows
        ],
    )
    return 0


def _size(sizes: object, key: str) -> str:
    return format_size(int(sizes[key])) if isinstance(sizes, dict) and key in sizes else ""
