"""A `Tree` as JSON, the form in which the store keeps it, and small operations on trees."""

from __future__ import annotations

import json
from collections.abc import Iterable

from minid.formats.digest import Digest, canonical_json
from minid.model import Content, Entry, EntryKind, Tree

_KIND_LETTER: dict[EntryKind, str] = {
    "file": "f",
    "directory": "d",
    "symlink": "l",
    "hardlink": "h",
}
_LETTER_KIND: dict[str, EntryKind] = {letter: kind for kind, letter in _KIND_LETTER.items()}


def _dump_content(content: Content) -> list[object]:
    if content.blob is None:
        raise ValueError("expected content in a blob, got inline content")
    return [content.digest.hex, content.size, content.blob.hex, content.offset]


def _parse_content(value: list[object] | None) -> Content | None:
    if value is None:
        return None
    digest, size, blob, offset = value
    return Content(Digest(str(digest)), int(str(size)), Digest(str(blob)), int(str(offset)))


def dump_tree(tree: Tree) -> bytes:
    """`tree` as canonical JSON. Every file's content must lie in a blob; ValueError otherwise."""
    return canonical_json(
        [
            [
                entry.image_path,
                _KIND_LETTER[entry.kind],
                entry.mode,
                entry.mtime,
                entry.uid,
                entry.gid,
                entry.target,
                _dump_content(entry.content) if entry.content else None,
                [[name, value.hex()] for name, value in entry.xattrs],
            ]
            for entry in tree.entries
        ]
    )


def parse_tree(data: bytes) -> Tree:
    """Read what `dump_tree` wrote; ValueError for anything else."""
    try:
        return Tree(tuple(_parse_entry(*row) for row in json.loads(data)))
    except (TypeError, KeyError) as error:
        raise ValueError(f"expected a tree of the store, got {data[:40]!r}") from error


def _parse_entry(
    path: str,
    letter: str,
    mode: int,
    mtime: int,
    uid: int,
    gid: int,
    target: str,
    content: list[object] | None,
    xattrs: list[tuple[str, str]],
) -> Entry:
    return Entry(
        image_path=path,
        kind=_LETTER_KIND[letter],
        mode=mode,
        mtime=mtime,
        uid=uid,
        gid=gid,
        target=target,
        content=_parse_content(content),
        xattrs=tuple((name, bytes.fromhex(value)) for name, value in xattrs),
    )


def path_key(image_path: str) -> bytes:
    """The key by which entries are sorted: bytewise, so that a parent precedes its children."""
    return image_path.encode("utf-8", "surrogateescape")


def sort_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries in the order of a layer."""
    return tuple(sorted(entries, key=lambda entry: path_key(entry.image_path)))


def parents(image_path: str) -> list[str]:
    """The folders above a path, from the top down: `a/b/c` → `["a", "a/b"]`."""
    parts = image_path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def unpacked_size(tree: Tree) -> int:
    """The bytes of all files, hard links counted once."""
    return sum(entry.content.size for entry in tree.entries if entry.content)
