"""How edits of images are worded, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from minid.cli.words import cut, printable
from minid.store.edits import EditRow

if TYPE_CHECKING:
    from minid.workbench.edit import Edited

_SHOWN = 100


def edited_json(edited: Edited) -> dict[str, object]:
    """What an edit did, as JSON values."""
    moved = edited.moved
    return {
        "edit": moved.edit if moved else None,
        "recipe": edited.after["recipe"],
        "tags": list(edited.names),
        "from": edited.before["manifest"],
        "to": edited.after["manifest"],
        "config": edited.after["config"],
        "fields": list(edited.fields),
        "moved": list(moved.moved) if moved else [],
        "removed": list(moved.removed) if moved else [],
        "notes": list(moved.notes) if moved else [],
    }


def print_edited(edited: Edited, *, would: bool = False) -> None:
    """Which image, which fields, which tags moved."""
    before, after = str(edited.before["manifest"]), str(edited.after["manifest"])
    name = printable(edited.names[0] if edited.names else before[:19])
    if before == after and not edited.moved and not edited.added:
        print(f"{name}: nothing to change")
        return
    number = f"edit {edited.moved.edit}" if edited.moved else "would be"
    print(f"{name}: {number}: {before[7:19]} → {after[7:19]}")
    for item in edited.fields:
        print(f"  {field_line(item)}")
    for added in () if edited.moved else edited.added:
        print(f"  tagged   store {printable(added)}")
    if edited.moved and not would:
        for line in edited.moved.moved:
            print(f"  tagged   {printable(line)}")
        for line in edited.moved.removed:
            print(f"  untagged {printable(line)}")
        if before == after and not edited.moved.moved and not edited.moved.removed:
            print("  the image stays as it is: other edits say the same")
        for note in edited.moved.notes:
            print(f"  note     {printable(note)}")


def field_line(item: Mapping[str, object]) -> str:
    """`Cmd: ["a"] → ["b"]` of a field that changed."""
    before, after = (_shown(item.get(key)) for key in ("before", "after"))
    return f"{printable(str(item['field']))}: {before} → {after}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(printable(text), _SHOWN)


def edit_json(row: EditRow) -> dict[str, object]:
    """A row of the ledger as JSON values."""
    return {
        "edit": row.id,
        "kind": row.kind,
        "recipe": row.recipe,
        "who": row.who,
        "time": row.time,
        "message": row.message,
        "kept": row.kept,
        "from": row.from_manifest,
        "to": row.to_manifest,
        "fields": row.detail.get("fields", []),
        "undoes": row.detail.get("undoes"),
        "origin": row.detail.get("origin"),
        "tags": list(row.detail.get("names") or []),  # type: ignore[call-overload]
    }
