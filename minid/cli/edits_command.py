"""`minid edits`: what was done to images outside their runs, by whom and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from minid.cli.edit_words import edit_json, field_line
from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import find_image, open_records
from minid.cli.words import print_json, printable
from minid.store.edits import EditRow, Edits


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid edits`."""
    parser.add_argument(
        "image", nargs="?", metavar="IMAGE", help="a tag, a recipe, or a digest (default: all)"
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Newest first. Of an image: those of its recipe; with * those that are in effect on it, or
    of all on any that has a tag."""
    from minid.line.edits import chain_of

    records = open_records(load_folder_config(arguments))
    edits = Edits(records.database)
    images = {row.manifest for row in records.tags()}
    rows = edits.all()
    if arguments.image:
        image = find_image(records, arguments.image)
        manifest, recipe = str(image["manifest"]), str(image["recipe"])
        images = {manifest}
        rows = edits.of_recipe(recipe) if recipe else of_image(rows, manifest)
    active = {step.row.id for manifest in images for step in chain_of(edits, manifest).steps}
    rows = rows[::-1]
    if arguments.json:
        print_json([edit_json(row) | {"in_effect": row.id in active} for row in rows])
        return 0
    for row in rows:
        _print_edit(row, in_effect=row.id in active)
    return 0


def of_image(rows: Sequence[EditRow], manifest: str) -> list[EditRow]:
    """The edits, oldest first as in `rows`, that led to an image which no recipe made."""
    found: list[EditRow] = []
    images = {manifest}
    for row in reversed(rows):
        if row.to_manifest in images:
            found.append(row)
            images.add(row.from_manifest)
    return found[::-1]


def _print_edit(row: EditRow, *, in_effect: bool) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.time))
    undoes = f" of edit {row.detail['undoes']}" if row.detail.get("undoes") else ""
    kept = ", kept in rebuilds" if row.kept else ""
    sign = "*" if in_effect else " "
    names = printable(", ".join(row.detail.get("names") or [])) or printable(row.recipe)  # type: ignore[arg-type]
    print(f"{sign} {row.id}  {row.kind}{undoes} by {printable(row.who)}, {when}{kept}: {names}")
    print(f"     {row.from_manifest[7:19] or 'nothing'} → {row.to_manifest[7:19]}")
    if row.detail.get("origin"):
        print(f"     from {printable(str(row.detail['origin']))}")
    fields = row.detail.get("fields")
    for item in fields if isinstance(fields, list) else []:
        print(f"     {field_line(item)}")
    if row.message:
        for line in row.message.splitlines():
            print(f"     | {printable(line)}")
