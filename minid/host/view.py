"""File views over what is really there: a folder of the machine, a tree, and layers of both."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from minid.formats.elf_reading import Source
from minid.formats.file_view import FileView, Node, join
from minid.model import Content, Entry, Tree

_NO_NODES: tuple[Node, ...] = ()
_FILE = (Node("file"),)
_DIRECTORY = (Node("directory"),)
_OTHER = (Node("other"),)
_WINDOW = 1 << 14


class HostFile:
    """A regular file of the machine, read piece by piece; a piece past the end is short.

    Small reads are served from a window, as headers and tables are read record by record.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._window = b""
        self._window_start = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: slice, /) -> bytes:
        start, stop, _ = index.indices(self._size)
        if stop <= start:
            return b""
        if stop - start > _WINDOW // 2:
            return self._read(start, stop)
        if not self._window_start <= start <= stop <= self._window_start + len(self._window):
            self._window = self._read(start, min(start + _WINDOW, self._size))
            self._window_start = start
        return self._window[start - self._window_start : stop - self._window_start]

    def _read(self, start: int, stop: int) -> bytes:
        pieces = []
        while start < stop:
            piece = os.pread(self._descriptor, stop - start, start)
            if not piece:
                break
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class DirectoryView:
    """The folder `root` as a root of its own; nothing outside is ever read.

    `only` names the paths below it that may be seen, so that `/` can stand for a machine's
    toolchain without its homes. Listings are remembered: a view is for one quiet file system.
    """

    def __init__(self, root: Path, only: tuple[str, ...] | None = None) -> None:
        self._root = os.fspath(root)
        self._only = None if only is None else tuple(path.strip("/") for path in only)
        self._listings: dict[str, dict[str, tuple[Node, ...]]] = {}

    def nodes_at(self, image_path: str) -> tuple[Node, ...]:
        """See FileView. The path's folders must be real ones: a symlink in them is not followed."""
        if not image_path:
            return _DIRECTORY
        folder, _, name = image_path.rpartition("/")
        nodes = self._listing(folder).get(name, _NO_NODES)
        if nodes and self._only is not None and not self._is_open(image_path):
            return _NO_NODES
        return nodes

    def names_in(self, image_path: str) -> Collection[str]:
        """See FileView."""
        listing = self._listing(image_path)
        if self._only is None:
            return listing.keys()
        return [name for name in listing if self._is_open(join(image_path, name))]

    @contextmanager
    def open(self, image_path: str) -> Iterator[Source]:
        """See FileView."""
        if self.nodes_at(image_path) != _FILE:
            raise FileNotFoundError(image_path)
        path = os.path.join(self._root, image_path)  # noqa: PTH118  (a hot path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(image_path)
            yield HostFile(descriptor, status.st_size)
        finally:
            os.close(descriptor)

    def _is_open(self, image_path: str) -> bool:
        return any(
            f"{image_path}/".startswith(f"{path}/") or path.startswith(f"{image_path}/")
            for path in self._only or ()
        )

    def _listing(self, folder: str) -> dict[str, tuple[Node, ...]]:
        known = self._listings.get(folder)
        if known is None:
            known = self._listings[folder] = self._list(folder)
        return known

    def _list(self, folder: str) -> dict[str, tuple[Node, ...]]:
        if folder and self.nodes_at(folder) != _DIRECTORY:
            return {}
        try:
            with os.scandir(os.path.join(self._root, folder)) as rows:  # noqa: PTH118
                return {row.name: _node_of(row) for row in rows}
        except OSError:
            return {}


def _node_of(row: os.DirEntry[str]) -> tuple[Node, ...]:
    if row.is_symlink():
        try:
            return (Node("symlink", os.readlink(row.path)),)  # noqa: PTH115
        except OSError:
            return _NO_NODES
    if row.is_file(follow_symlinks=False):
        return _FILE
    return _DIRECTORY if row.is_dir(follow_symlinks=False) else _OTHER


def read_content(
    content: Content, read: Callable[[Content], bytes | memoryview]
) -> bytes | memoryview:
    """The bytes of a content: those it carries, else what `read` gives."""
    return read(content) if content.data is None else content.data


class TreeView:
    """The entries of a tree; `read` gives the bytes of a content that lies in a blob."""

    def __init__(self, tree: Tree, read: Callable[[Content], bytes | memoryview]) -> None:
        self._read = read
        self._entries: Mapping[str, Entry] = {entry.image_path: entry for entry in tree.entries}
        self._names: dict[str, list[str]] = {}
        for entry in tree.entries:
            folder, _, name = entry.image_path.rpartition("/")
            self._names.setdefault(folder, []).append(name)

    def nodes_at(self, image_path: str) -> tuple[Node, ...]:
        """See FileView. A hard link is the file that it names."""
        entry = self._entries.get(image_path)
        if entry is None:
            return _DIRECTORY if image_path in self._names or not image_path else _NO_NODES
        if entry.kind == "symlink":
            return (Node("symlink", entry.target),)
        return _DIRECTORY if entry.kind == "directory" else _FILE

    def names_in(self, image_path: str) -> Collection[str]:
        """See FileView."""
        return self._names.get(image_path, ())

    def open(self, image_path: str) -> AbstractContextManager[Source]:
        """See FileView."""
        entry = self._entries.get(image_path)
        if entry is not None and entry.kind == "hardlink":
            entry = self._entries.get(entry.target)
        if entry is None or entry.content is None:
            raise FileNotFoundError(image_path)
        return nullcontext(read_content(entry.content, self._read))


class LayeredView:
    """Views on top of each other, the first on top. Folders are merged.

    Where one layer has a symlink and another a folder of the same name (a merged `/usr` below an
    install tree with a `lib` of its own), both are told, and a lookup tries one after the other.
    """

    def __init__(self, views: Sequence[FileView]) -> None:
        self._views = tuple(views)

    def nodes_at(self, image_path: str) -> tuple[Node, ...]:
        """See FileView."""
        nodes: list[Node] = []
        for view in self._views:
            nodes += (node for node in view.nodes_at(image_path) if node not in nodes)
        return tuple(nodes)

    def names_in(self, image_path: str) -> Collection[str]:
        """See FileView."""
        return {name for view in self._views for name in view.names_in(image_path)}

    def open(self, image_path: str) -> AbstractContextManager[Source]:
        """See FileView."""
        for view in self._views:
            if view.nodes_at(image_path) == _FILE:
                return view.open(image_path)
        raise FileNotFoundError(image_path)
