"""A root file system under construction: a tree that can be looked up and changed by path.

Hard links are names of one file, so whatever replaces or removes a file hands its bytes to the
names that stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from minid.errors import ComposeError
from minid.formats.tree import parents, path_key, sort_entries
from minid.model import Entry, Tree

_MAX_LINKS = 40  # as many as the kernel follows


class Rootfs:
    """Entries by path. Paths are image paths: relative, `/`-separated, without `..`.

    A path that may lead through symlinks of the tree goes through `resolve` first, which follows
    them inside the tree, so that `/var/run/x` lands where a program will look for it.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, set[str]] = {}  # a file's path → its hard links
        for entry in entries:
            self.lay(entry)

    def get(self, image_path: str) -> Entry | None:
        """The entry at exactly this path."""
        return self._entries.get(image_path)

    def file(self, image_path: str) -> Entry | None:
        """The file at exactly this path, a hard link as the file that it is a name of."""
        entry = self._entries.get(image_path)
        if entry is not None and entry.kind == "hardlink":
            target = self._entries.get(entry.target)
            entry = None if target is None else replace(target, image_path=image_path)
        return entry if entry is not None and entry.kind == "file" else None

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
        self.lay(entry)
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

    def lay(self, entry: Entry) -> None:
        """Put an entry over whatever has its path, as an upper layer does."""
        self._bequeath(self._take(entry.image_path))
        self._entries[entry.image_path] = entry
        if entry.kind == "hardlink":
            self._names.setdefault(entry.target, set()).add(entry.image_path)

    def remove(self, image_path: str) -> list[Entry]:
        """Take an entry and all below it away; what was taken."""
        paths = [*self.children(image_path), image_path]
        taken = [entry for entry in map(self._take, paths) if entry is not None]
        for entry in taken:
            self._bequeath(entry)
        return taken

    def _take(self, image_path: str) -> Entry | None:
        entry = self._entries.pop(image_path, None)
        if entry is not None and entry.kind == "hardlink":
            self._names.get(entry.target, set()).discard(image_path)
        return entry

    def _bequeath(self, entry: Entry | None) -> None:
        """Make the first remaining name of a file that went the file itself."""
        names = self._names.pop(entry.image_path, None) if entry else None
        if not entry or not names or entry.kind != "file":
            return
        heir, *others = sorted(names, key=path_key)
        self._entries[heir] = replace(entry, image_path=heir)
        for name in others:
            self._entries[name] = replace(self._entries[name], target=heir)
        self._names[heir] = set(others)

    def tree(self) -> Tree:
        """The tree as it stands."""
        return Tree(sort_entries(self._entries.values()))


def overlay_trees(*trees: Tree) -> Tree:
    """What the layers show together, a later one in front of an earlier one.

    A file of a lower layer that is covered keeps its bytes under its other names.
    """
    root = Rootfs(())
    for tree in trees:
        for entry in tree.entries:
            root.lay(entry)
    return root.tree()


def with_parents(entries: Iterable[Entry], root: Rootfs) -> tuple[Entry, ...]:
    """A layer's entries, sorted, with every folder above them as the root file system has it:
    readers that unpack a layer alone must not have to guess."""
    layer = {entry.image_path: entry for entry in entries}
    for path in list(layer):
        for parent in parents(path):
            folder = root.get(parent)
            if folder is not None:
                layer.setdefault(parent, folder)
    return sort_entries(layer.values())
