"""A root file system under construction: a tree that can be looked up and changed by path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minid.errors import ComposeError
from minid.formats.tree import parents, sort_entries
from minid.model import Entry, Tree

_MAX_LINKS = 40  # as many as the kernel follows


class Rootfs:
    """Entries by path. Paths are image paths: relative, `/`-separated, without `..`.

    Paths given to `place` and `find` may lead through symlinks of the tree itself, which are
    followed inside the tree, so that `/var/run/x` lands where a program will look for it.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.image_path: entry for entry in entries}

    def get(self, image_path: str) -> Entry | None:
        """The entry at exactly this path."""
        return self._entries.get(image_path)

    def resolve(self, image_path: str, *, follow_last: bool) -> str:
        """The path after following symlinks inside the tree; ComposeError for a loop."""
        todo = [part for part in image_path.split("/") if part]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop(0)
            if part == ".":
                continue
            if part == "..":
                done = done[:-1]
                continue
            entry = self._entries.get("/".join([*done, part]))
            if entry is None or entry.kind != "symlink" or not (todo or follow_last):
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise ComposeError(f"/{image_path}: expected a path, got a loop of symlinks")
            todo = [piece for piece in entry.target.split("/") if piece] + todo
            if entry.target.startswith("/"):
                done = []
        return "/".join(done)

    def children(self, image_path: str) -> Iterator[str]:
        """Every path below a folder."""
        prefix = image_path + "/"
        return (path for path in list(self._entries) if path.startswith(prefix))

    def put(self, entry: Entry, mtime: int, where: str = "") -> list[Entry]:
        """Place an entry and the folders above it; the entries that were added or changed.

        ComposeError where a folder stands in the way of a file or the other way round.
        """
        added: list[Entry] = []
        for parent in parents(entry.image_path):
            existing = self._entries.get(parent)
            if existing is None:
                existing = Entry(parent, "directory", 0o755, mtime)
                self._entries[parent] = existing
                added.append(existing)
            elif existing.kind != "directory":
                raise ComposeError(
                    f"{where}/{entry.image_path}: expected a folder at /{parent}, "
                    f"got a {existing.kind}"
                )
        self._check_kind(entry, where)
        self._entries[entry.image_path] = entry
        return [*added, entry]

    def _check_kind(self, entry: Entry, where: str) -> None:
        existing = self._entries.get(entry.image_path)
        if existing is None or (existing.kind == "directory") == (entry.kind == "directory"):
            return
        raise ComposeError(
            f"{where}/{entry.image_path}: expected no {existing.kind} there, "
            f"got one that a {entry.kind} would replace",
            hint="list the path in rootfs.remove first, or choose another",
        )

    def remove(self, image_path: str) -> list[Entry]:
        """Take an entry and all below it away; what was taken."""
        paths = [*self.children(image_path), image_path]
        return [self._entries.pop(path) for path in paths if path in self._entries]

    def tree(self) -> Tree:
        """The tree as it stands."""
        return Tree(sort_entries(self._entries.values()))
