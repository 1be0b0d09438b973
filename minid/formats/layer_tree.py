"""The root file system that the layers of somebody's image show together.

As the OCI image specification has it ("Image Layer Filesystem Changeset"): a later layer lies in
front of an earlier one, `.wh.NAME` takes NAME of the layers below away, `.wh..wh..opq` all of a
folder's. Devices and FIFOs have no place in a tree of minid's: they are counted and left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from minid.errors import UnpackError
from minid.formats.digest import Digest
from minid.formats.tar_fields import show_name
from minid.formats.tar_reader import Member, TarLimits, TarReader
from minid.formats.tree import parents, path_key, sort_entries
from minid.model import Content, Entry, EntryKind, Tree

LIMITS = TarLimits(total_bytes=20 << 30, file_bytes=8 << 30, members=500_000, path_bytes=4096)
MAX_ENTRIES = 500_000
MAX_MEMBERS = 2_000_000  # of all layers together
MAX_NAME_BYTES = 256 << 20
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."  # AUFS's own notes, which mean nothing elsewhere
_KINDS: dict[str, EntryKind] = {"file": "file", "directory": "directory", "symlink": "symlink"}


@dataclass(frozen=True, slots=True)
class _Node:
    """An entry of the tree, and for files which file it is: names of one file share it."""

    entry: Entry
    file: tuple[int, str] | None = None


@dataclass(slots=True)
class _Changes:
    """What one layer says: entries by path, and what it takes away of those below."""

    nodes: dict[str, _Node]
    gone: set[str]
    opaque: set[str]
    left_out: int = 0


class LayerTree:
    """The tree of the layers laid so far. `left_out` counts devices and FIFOs, `unpacked` is the
    size of the files of each layer, in bytes."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._below: dict[str, set[str]] = {}  # the paths right below a folder
        self._layers = 0
        self._members = self._name_bytes = 0
        self.left_out = 0
        self.unpacked: list[int] = []

    def lay(self, diff_id: Digest, chunks: Iterable[bytes]) -> None:
        """Lay a layer on those before: its tar, uncompressed, whose digest is `diff_id`.

        The entries point into the blob of that digest; the caller sees that the digest holds.
        UnpackError for what is no layer.
        """
        changes = self._read(diff_id, chunks)
        self._apply(changes)
        self._layers += 1
        self.left_out += changes.left_out
        self.unpacked.append(
            sum(
                node.entry.content.size
                for path, node in changes.nodes.items()
                if node.entry.content and node.file == (self._layers - 1, path)
            )
        )

    def tree(self) -> Tree:
        """The tree as it stands. Of the names of one file the first is the file, the others are
        hard links to it."""
        first: dict[tuple[int, str], str] = {}
        entries: list[Entry] = []
        for path in sorted(self._nodes, key=path_key):
            node = self._nodes[path]
            if node.file is None or node.entry.content is None:
                entries.append(node.entry)
            elif node.file in first:
                target = first[node.file]
                entries.append(replace(node.entry, kind="hardlink", target=target, content=None))
            else:
                first[node.file] = path
                entries.append(node.entry)
        return Tree(sort_entries(entries))

    def _read(self, diff_id: Digest, chunks: Iterable[bytes]) -> _Changes:
        changes = _Changes({}, set(), set())
        reader = TarReader(chunks, LIMITS)
        for member in reader:
            path = _text(member.name)
            self._count(member)
            folder, _, leaf = path.rpartition("/")
            if leaf == _OPAQUE:
                changes.opaque.add(folder)
            elif leaf.startswith(_AUFS):
                continue
            elif leaf.startswith(_WHITEOUT):
                hidden = leaf.removeprefix(_WHITEOUT)
                if hidden in ("", ".", ".."):
                    raise UnpackError(
                        f"layer: expected a whiteout's name, got {show_name(member.name)}"
                    )
                changes.gone.add(f"{folder}/{hidden}" if folder else hidden)
            elif member.kind in ("device", "fifo"):
                changes.left_out += 1
                changes.nodes.pop(path, None)
                changes.gone.add(path)
            elif member.kind == "hardlink":
                changes.nodes[path] = self._link(member, path, changes)
            else:
                changes.nodes[path] = self._node(member, path, diff_id, reader)
        return changes

    def _node(self, member: Member, path: str, diff_id: Digest, reader: TarReader) -> _Node:
        content = None
        if member.kind == "file":
            offset, running = reader.offset, hashlib.sha256()
            for piece in reader.content():
                running.update(piece)
            content = Content(Digest(running.hexdigest()), member.size, diff_id, offset)
        entry = Entry(
            image_path=path,
            kind=_KINDS[member.kind],
            mode=member.mode if member.kind != "symlink" else 0o777,
            mtime=member.mtime,
            uid=member.uid,
            gid=member.gid,
            target=_text(member.target),
            content=content,
            xattrs=tuple(pair for pair in member.xattrs if pair[0] == "security.capability"),
        )
        return _Node(entry, (self._layers, path) if content else None)

    def _link(self, member: Member, path: str, changes: _Changes) -> _Node:
        target = _text(member.target)
        found = changes.nodes.get(target) or self._nodes.get(target)
        if found is None or found.entry.kind == "directory":
            raise UnpackError(
                f"layer: {show_name(member.name)}: expected a link to a file of the layer, "
                f"got {show_name(member.target)}"
            )
        return _Node(replace(found.entry, image_path=path), found.file)

    def _count(self, member: Member) -> None:
        self._members += 1
        self._name_bytes += len(member.name) + len(member.target)
        if self._members > MAX_MEMBERS:
            raise UnpackError(f"layers: expected at most {MAX_MEMBERS} members, got more")
        if self._name_bytes > MAX_NAME_BYTES:
            raise UnpackError(f"layers: expected at most {MAX_NAME_BYTES} bytes of names, got more")

    def _apply(self, changes: _Changes) -> None:
        """Take away what the layer takes away, then lay its entries; folders above them that no
        layer names are made. The work is in proportion to the changes, however many layers."""
        for path in changes.gone:
            self._remove(path)
        for folder in changes.opaque:
            self._empty(folder)
        done = ""
        for path, node in sorted(changes.nodes.items(), key=lambda item: path_key(item[0])):
            folder = path.rpartition("/")[0]
            if folder != done:
                self._make_folders(path, node.entry.mtime, changes)
                done = folder
            if node.entry.kind != "directory":
                self._empty(path)
            if path:
                self._put(path, node)

    def _make_folders(self, path: str, mtime: int, changes: _Changes) -> None:
        for folder in parents(path):
            above = self._nodes.get(folder)
            if above is None or above.entry.kind != "directory":
                if folder in changes.nodes:
                    raise UnpackError(
                        f"layer: {show_name(path_key(path))}: expected a folder above it, "
                        f"got a {changes.nodes[folder].entry.kind}"
                    )
                self._put(folder, _Node(Entry(folder, "directory", 0o755, mtime)))

    def _put(self, path: str, node: _Node) -> None:
        self._nodes[path] = node
        self._below.setdefault(path.rpartition("/")[0], set()).add(path)
        if len(self._nodes) > MAX_ENTRIES:
            raise UnpackError(f"layers: expected at most {MAX_ENTRIES} files and folders, got more")

    def _remove(self, path: str) -> None:
        if self._nodes.pop(path, None) is not None:
            self._below[path.rpartition("/")[0]].discard(path)
            self._empty(path)

    def _empty(self, folder: str) -> None:
        """Take away all below a folder."""
        waiting = [folder]
        while waiting:
            for path in self._below.pop(waiting.pop(), ()):
                del self._nodes[path]
                waiting.append(path)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UnpackError(f"layer: expected names in UTF-8, got {show_name(raw)}") from None
