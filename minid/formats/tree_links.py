"""Equal files of a tree as hard links of one, so that a layer holds their bytes once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from minid.formats.tree import sort_entries
from minid.model import Entry

LINK_FROM_BYTES = 4096  # below a block nothing is won on disk, and configuration files stay apart


def link_duplicates(entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], int]:
    """The entries, sorted, with equal files linked to the first of them, and the bytes that saved.

    Equal means bytes, mode, owner, time and extended attributes, as links share all of these.
    """
    first: dict[tuple[object, ...], str] = {}
    moved: dict[str, str] = {}
    out: list[Entry] = []
    saved = 0
    for entry in sort_entries(entries):
        content = entry.content
        if entry.kind == "file" and content is not None and content.size >= LINK_FROM_BYTES:
            key = (content.digest, entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs)
            target = first.setdefault(key, entry.image_path)
            if target != entry.image_path:
                saved += content.size
                moved[entry.image_path] = target
                entry = replace(entry, kind="hardlink", content=None, target=target)  # noqa: PLW2901
        out.append(entry)
    return tuple(
        replace(entry, target=moved.get(entry.target, entry.target))
        if entry.kind == "hardlink"
        else entry
        for entry in out
    ), saved
