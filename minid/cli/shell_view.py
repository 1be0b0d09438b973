"""How the changes of a workbench are worded, for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minid.cli.words import printable

if TYPE_CHECKING:
    from minid.formats.changes import Change


def print_changes(changes: Sequence[Change]) -> None:
    """A line for each change, as `git status --short` has it."""
    for change in changes:
        more = f"   {describe(change)}" if change.letter == "M" or is_special(change) else ""
        print(printable(f"{change.letter} /{change.image_path}{more}"))


def is_special(change: Change) -> bool:
    """Whether something was added that no image can hold."""
    kinds = ("file", "directory", "symlink")
    return change.after is not None and change.after.kind not in kinds


def describe(change: Change) -> str:
    """What changed, in words."""
    before, after = change.before, change.after
    if before is None or after is None:
        return after.kind if after is not None else ""
    words = {
        "kind": f"{before.kind} → {after.kind}",
        "mode": f"mode {before.mode:04o} → {after.mode:04o}",
        "owner": f"owner {before.uid}:{before.gid} → {after.uid}:{after.gid}",
        "target": f"target {before.target} → {after.target}",
        "bytes": f"{before.content.size if before.content else 0} → {after.size} bytes",
    }
    return ", ".join(words.get(name, name) for name in change.what)


def change_json(change: Change) -> dict[str, object]:
    """A change as JSON."""
    before, after = change.before, change.after
    sides: dict[str, object] = {"before": None, "after": None}
    for side, item in (("before", before), ("after", after)):
        if item is not None:
            sides[side] = {
                "kind": item.kind,
                "mode": f"{item.mode:04o}",
                "uid": item.uid,
                "gid": item.gid,
                "mtime": int(item.mtime),
                "target": item.target or None,
            }
    if before is not None and isinstance(sides["before"], dict):
        content = before.content
        sides["before"] |= {
            "size": content.size if content else 0,
            "digest": str(content.digest) if content else None,
        }
    if after is not None and isinstance(sides["after"], dict):
        sides["after"] |= {"size": after.size if after.kind == "file" else 0}
    return {
        "path": f"/{change.image_path}",
        "status": change.letter,
        "what": list(change.what),
        **sides,
    }


def short(manifest: str) -> str:
    """A digest as people compare them."""
    return manifest[:19] if manifest.startswith("sha256:") else manifest


def say(text: str) -> None:
    """A line for the person, out of the way of what programs read."""
    print(printable(f"minid: {text}"), file=sys.stderr)
