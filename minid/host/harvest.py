"""Reading the folder that a build wrote, as data, once every process of the build is dead.

The folder's makers are not trusted: it is read with folder descriptors, no link is followed, no
special file is opened, and the bytes that are hashed are the bytes that are kept.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from minid.errors import BuildError, HostError
from minid.formats.digest import Digest
from minid.formats.tar import TarWriter
from minid.host.beneath import open_beneath
from minid.model import Content, Entry, EntryKind, Tree

_PIECE = 1 << 20
_LOOK = os.O_PATH | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_KINDS: dict[int, EntryKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
}
_FOREIGN = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}
_UNKNOWN = Digest("0" * 64)


@dataclass(frozen=True, slots=True)
class HarvestCaps:
    """What a build may leave behind. `total_bytes` counts hard links once."""

    entries: int = 1_000_000
    total_bytes: int = 20 << 30
    file_bytes: int = 8 << 30
    depth: int = 100
    path_bytes: int = 2048


@dataclass(frozen=True, slots=True)
class _Found:
    """One name in the folder, as the scan saw it."""

    path: bytes
    kind: EntryKind
    status: os.stat_result
    target: str

    @property
    def inode(self) -> tuple[int, int]:
        return self.status.st_dev, self.status.st_ino


def harvest(
    folder: Path,
    write: Callable[[bytes], object],
    *,
    clamp_mtime: int,
    caps: HarvestCaps | None = None,
    allow_setuid: tuple[str, ...] = (),
) -> Tree:
    """Read all below `folder` into a tree, and write it through `write` as a deterministic tar.

    Owners become 0, times `min(time, clamp_mtime)` in whole seconds, extended attributes are left
    behind. Setuid and setgid bits stay on the image paths in `allow_setuid` only (and on the other
    names of the same file), sticky bits on folders. Of several names of one file the first is the
    file, the others are hard links to it. `folder` itself is not an entry. A file's `content` has
    its digest, its size and its `offset` in the tar, and neither `blob` nor `data`: the caller
    names the blob.

    Equal folders give equal bytes and an equal tree. Files that the build made unreadable are made
    readable on disk; the tree has the mode the build gave. BuildError for sockets, FIFOs and
    devices, for mount points, for names and link texts that are no UTF-8 or hold control
    characters, and for everything over `caps`.
    """
    caps = caps or HarvestCaps()
    root_fd = _open_root(folder)
    try:
        found = sorted(_scan(root_fd, caps), key=lambda one: one.path)
        allowed = _allowed_inodes(found, allow_setuid)
        return _write_tree(root_fd, found, write, clamp_mtime, allowed)
    finally:
        os.close(root_fd)


def _open_root(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise BuildError(f"{folder.name}: expected a folder, got a file or a link") from error
    except OSError as error:
        raise HostError(f"{folder}: expected to open it, got {error.strerror}") from error


def _scan(root_fd: int, caps: HarvestCaps) -> Iterator[_Found]:
    """Every name below the root, in no order."""
    entries = 0
    total = 0
    counted: set[tuple[int, int]] = set()
    waiting = [b""]
    while waiting:
        parent = waiting.pop()
        for found in _scan_folder(root_fd, parent, caps):
            entries += 1
            if entries > caps.entries:
                raise BuildError(f"output: expected at most {caps.entries} entries, got more")
            if found.kind == "directory":
                waiting.append(found.path)
            elif found.kind == "file" and found.inode not in counted:
                total += found.status.st_size
                if found.status.st_nlink > 1:
                    counted.add(found.inode)
            if total > caps.total_bytes:
                raise BuildError(f"output: expected at most {caps.total_bytes} bytes, got more")
            yield found


def _scan_folder(root_fd: int, parent: bytes, caps: HarvestCaps) -> Iterator[_Found]:
    folder_fd = _open(root_fd, parent or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # Without the search bit an ordinary user reads the names and can look at none of them.
        mode = stat.S_IMODE(os.fstat(folder_fd).st_mode)
        if parent and not mode & stat.S_IXUSR:
            os.fchmod(folder_fd, mode | stat.S_IRWXU)
        for name in os.listdir(folder_fd):  # noqa: PTH208 (a descriptor)
            raw = os.fsencode(name)
            path = parent + b"/" + raw if parent else raw
            _check_path(path, raw, caps)
            yield _look(folder_fd, raw, path, caps)
    except OSError as error:
        raise BuildError(f"output: {_show(parent)}: expected to read it, got {error}") from error
    finally:
        os.close(folder_fd)


def _look(folder_fd: int, name: bytes, path: bytes, caps: HarvestCaps) -> _Found:
    status = os.lstat(name, dir_fd=folder_fd)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        got = _FOREIGN.get(stat.S_IFMT(status.st_mode), "another kind")
        raise BuildError(f"output: {_show(path)}: expected a file, folder or link, got {got}")
    if kind == "file" and status.st_size > caps.file_bytes:
        raise BuildError(
            f"output: {_show(path)}: expected at most {caps.file_bytes} bytes, got {status.st_size}"
        )
    target = b"" if kind != "symlink" else os.readlink(name, dir_fd=folder_fd)
    return _Found(path, kind, status, _decode(target, f"{_show(path)}: link text"))


def _check_path(path: bytes, name: bytes, caps: HarvestCaps) -> None:
    _decode(name, _show(path))
    if len(path) > caps.path_bytes:
        raise BuildError(
            f"output: {_show(path)}: expected a path of at most {caps.path_bytes} bytes, "
            f"got {len(path)}"
        )
    if path.count(b"/") >= caps.depth:
        raise BuildError(f"output: {_show(path)}: expected a depth of at most {caps.depth}")


def _decode(raw: bytes, where: str) -> str:
    """`raw` as text without control characters: it will stand in logs, pages and lists."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BuildError(f"output: {where}: expected UTF-8, got other bytes") from error
    if not text.isprintable() and any(unicodedata.category(char) == "Cc" for char in text):
        raise BuildError(f"output: {where}: expected no control characters, got some")
    return text


def _show(path: bytes) -> str:
    return ascii(path[:200].decode("utf-8", "surrogateescape"))


def _allowed_inodes(
    found: list[_Found], allow_setuid: tuple[str, ...]
) -> frozenset[tuple[int, int]]:
    """Files by inode: all names of one file have one mode."""
    allowed = {path.lstrip("/").encode() for path in allow_setuid}
    return frozenset(one.inode for one in found if one.path in allowed)


def _write_tree(
    root_fd: int,
    found: list[_Found],
    write: Callable[[bytes], object],
    clamp_mtime: int,
    allowed: frozenset[tuple[int, int]],
) -> Tree:
    tar = TarWriter(write)
    entries = []
    first_names: dict[tuple[int, int], str] = {}
    for one in found:
        entry = _make_entry(one, clamp_mtime, one.inode in allowed)
        if one.kind == "file" and one.inode in first_names:
            entry = replace(entry, kind="hardlink", target=first_names[one.inode])
        elif one.kind == "file":
            if one.status.st_nlink > 1:
                first_names[one.inode] = entry.image_path
            entries.append(_add_file(tar, root_fd, one, entry))
            continue
        tar.add(entry)
        entries.append(entry)
    tar.close()
    return Tree(tuple(entries))


def _make_entry(one: _Found, clamp_mtime: int, allowed: bool) -> Entry:
    mode = stat.S_IMODE(one.status.st_mode)
    kept = 0o777
    if allowed:
        kept |= stat.S_ISUID | stat.S_ISGID
    if one.kind == "directory":
        kept |= stat.S_ISVTX
    return Entry(
        image_path=one.path.decode(),
        kind=one.kind,
        mode=0o777 if one.kind == "symlink" else mode & kept,
        mtime=max(0, min(one.status.st_mtime_ns // 10**9, clamp_mtime)),
        target=one.target,
    )


def _add_file(tar: TarWriter, root_fd: int, one: _Found, entry: Entry) -> Entry:
    """Write a file's member; the entry with its content. The digest is of the bytes written."""
    content = Content(digest=_UNKNOWN, size=one.status.st_size)
    hasher = hashlib.sha256()
    try:
        offset = tar.add(replace(entry, content=content), _read_file(root_fd, one, hasher.update))
    except ValueError as error:
        raise BuildError(f"output: {error}") from error
    return replace(
        entry, content=replace(content, digest=Digest(hasher.hexdigest()), offset=offset)
    )


def _read_file(root_fd: int, one: _Found, feed: Callable[[bytes], object]) -> Iterator[bytes]:
    """The file's bytes, each piece given to `feed` too; BuildError when it is another file."""
    opened = _open(root_fd, one.path, _READ)
    try:
        now = os.fstat(opened)
        same = os.path.samestat(now, one.status) and now.st_size == one.status.st_size
        if not same or not stat.S_ISREG(now.st_mode):
            raise BuildError(
                f"output: {_show(one.path)}: expected the file that was there, got another"
            )
        while piece := os.read(opened, _PIECE):
            feed(piece)
            yield piece
    finally:
        os.close(opened)


def _open(root_fd: int, path: bytes, flags: int) -> int:
    """Open below the root on the root's mount, also what the build locked against its own user."""
    try:
        try:
            return open_beneath(root_fd, path, flags, one_mount=True)
        except PermissionError:
            _unlock(root_fd, path)
            return open_beneath(root_fd, path, flags, one_mount=True)
    except OSError as error:
        got = "a mount point" if error.errno == errno.EXDEV else error.strerror
        raise BuildError(f"output: {_show(path)}: expected to open it, got {got}") from error


def _unlock(root_fd: int, path: bytes) -> None:
    looked = open_beneath(root_fd, path, _LOOK, one_mount=True)
    try:
        status = os.fstat(looked)
        if not stat.S_ISLNK(status.st_mode):
            # Not fchmod: a descriptor for looking takes none, its name in /proc does.
            os.chmod(f"/proc/self/fd/{looked}", stat.S_IMODE(status.st_mode) | 0o700)  # noqa: PTH101
    finally:
        os.close(looked)
