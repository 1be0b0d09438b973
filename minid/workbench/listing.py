"""The files of an image as people want to see them: what takes the room, and where it is from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minid.formats.tree import parents
from minid.line.origins import Origin, Story
from minid.model import Entry


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry. `size` is in bytes, of a folder of all files below it, each counted once however
    many names it has; of a further name of a file that was counted, 0. `files` is how many are
    below a folder."""

    entry: Entry
    size: int
    files: int
    origin: Origin


def list_files(story: Story, below: str = "") -> list[Listed]:
    """What lies at a path and below it, a folder before what is in it; the root as an entry of its
    own with an empty path."""
    entries = [entry for entry in story.tree.entries if _is_below(entry.image_path, below)]
    if not below and not any(not entry.image_path for entry in entries):
        entries.insert(0, Entry("", "directory", 0o755, 0))
    own, sums, counts = _measure(story, entries)
    entries.sort(key=lambda entry: entry.image_path.split("/") if entry.image_path else [])
    return [
        Listed(
            entry,
            (sums if entry.kind == "directory" else own).get(entry.image_path, 0),
            counts.get(entry.image_path, 0),
            story.origin(entry.image_path),
        )
        for entry in entries
    ]


def _is_below(image_path: str, folder: str) -> bool:
    return not folder or image_path == folder or image_path.startswith(f"{folder}/")


def _measure(
    story: Story, entries: Iterable[Entry]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """By path: the bytes that a name adds, the bytes and the files below a folder."""
    own: dict[str, int] = {}
    sums: dict[str, int] = {}
    counts: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        path = entry.image_path
        file = story.entry(path)
        if entry.kind == "directory" or file is None:
            continue
        size = file.content.size if file.content else 0
        which = entry.target if entry.kind == "hardlink" else path
        if ("*", which) not in seen:
            seen.add(("*", which))
            own[path] = size
        for folder in ("", *parents(path)):
            counts[folder] = counts.get(folder, 0) + 1
            if (folder, which) not in seen:
                seen.add((folder, which))
                sums[folder] = sums.get(folder, 0) + size
    return own, sums, counts


def largest(listed: Sequence[Listed], count: int) -> list[Listed]:
    """The largest files, the first the largest."""
    files = [item for item in listed if item.entry.kind == "file"]
    return sorted(files, key=lambda item: (-item.size, item.entry.image_path))[:count]
