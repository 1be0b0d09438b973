"""`minid history`: an image's history, as Docker shows it, and where its tags were."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from minid.cli.folder import add_json_option
from minid.cli.store_reader import add_image_argument, open_image
from minid.cli.words import ago, format_size, print_json, print_table
from minid.formats.image_record import parse_image
from minid.model import Layer
from minid.store.records import PublicationRow


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid history`."""
    add_image_argument(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Newest entry first, as docker history has it; then the moves of its tags."""
    image = open_image(arguments)
    facts = parse_image(image.facts)
    stored = json.loads(image.read("config"))
    entries = _entries(stored.get("history") or [], facts.layers)
    moves = [row for name in facts.tags for row in image.records.publications(name)]
    if arguments.json:
        print_json(
            {
                "manifest": str(facts.manifest),
                "history": entries,
                "publications": [_move_json(row) for row in moves],
            }
        )
        return 0
    _print_entries(entries)
    print()
    _print_moves(moves)
    return 0


def _entries(history: Sequence[Mapping[str, Any]], layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """The history, newest first, each entry with its layer's size and digest."""
    remaining = iter(layers)
    entries = []
    for line in history:
        layer = None if line.get("empty_layer") else next(remaining, None)
        entries.append(
            {
                "created": line.get("created", ""),
                "created_by": line.get("created_by", ""),
                "comment": line.get("comment", ""),
                "size": layer.unpacked_size if layer else 0,
                "digest": str(layer.digest) if layer else "",
            }
        )
    return entries[::-1]


def _move_json(row: PublicationRow) -> dict[str, object]:
    return {
        "target": row.target,
        "name": row.name,
        "from": row.from_manifest,
        "to": row.to_manifest,
        "moved": row.moved,
        "run": row.run or None,
        "edit": row.edit or None,
    }


def _print_entries(entries: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        ("LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"),
        [
            (
                str(entry["digest"])[7:19] or "-",
                str(entry["created"]),
                str(entry["created_by"]),
                format_size(int(entry["size"])),
                str(entry["comment"]),
            )
            for entry in entries
        ],
    )


def _print_moves(moves: Sequence[PublicationRow]) -> None:
    print_table(
        ("TAG", "AT", "FROM", "TO", "BY", "MOVED"),
        [
            (
                row.name,
                row.target,
                row.from_manifest[7:19] or "-",
                row.to_manifest[7:19] or "-",
                f"edit {row.edit}" if row.edit else f"run {row.run}",
                ago(row.moved),
            )
            for row in sorted(moves, key=lambda row: -row.moved)
        ],
    )
