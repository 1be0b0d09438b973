"""Looking into a workbench's root, and bringing parts of it back as the image has them.

Runs in a child of `bench_server` whose root directory is the workbench's root, and whose working
directory is the folder with the image's own files: absolute paths are of the one, relative ones of
the other.
"""

# Not pathlib, as in container_server.
# ruff: noqa: PTH102, PTH108, PTH115, PTH208

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minid.errors import HostError
from minid.host import container_fs
from minid.host.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_ENTRIES = 1_000_000
_CAPABILITY = "security.capability"
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}
_PIECE = 1 << 20
_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430


def unlock_terminal(master: int) -> int:
    """Make the other end of a new pseudo terminal usable; its number (ptmx(4))."""
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return int(struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))[0])


def has_bytes(path: str) -> bool:
    """Whether something lies there that is no empty file."""
    try:
        seen = os.lstat(path)
    except OSError:
        return False
    return not stat.S_ISREG(seen.st_mode) or seen.st_size > 0


def processes_of(first: int) -> list[int]:
    """The processes in the process namespace whose first one this is."""
    try:
        space = os.readlink(f"/proc/{first}/ns/pid")
    except OSError:
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/pid") == space:
                    found.append(int(name))
    return found


def minds(pid: int, number: int) -> bool:
    """Whether the process catches or ignores that signal."""
    mask = 0
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(("SigCgt:", "SigIgn:")):
                mask |= int(line.split()[1], 16)
    return bool(mask >> (number - 1) & 1)


def list_upper(upper: str) -> set[str]:
    """The paths of files that an overlay has written."""
    return {path for path, seen in _walk(upper) if seen and stat.S_ISREG(seen.st_mode)}


def scan(own: set[str] | None) -> Iterator[bytes]:
    """A line of JSON for each path: path, kind, mode, uid, gid, mtime, size, target, capability in
    hex, own. `own` are the files that may not have the image's bytes; None: any."""
    for count, (path, seen) in enumerate(_walk("")):
        if count > MAX_ENTRIES:
            raise HostError(f"workbench: expected at most {MAX_ENTRIES} files, got more")
        yield json.dumps(_describe(path, seen, own)).encode() + b"\n"


def _describe(path: str, seen: os.stat_result | None, own: set[str] | None) -> list[Any]:
    if seen is None:
        return [f"{path}/…", "folder too deep to look into", 0, 0, 0, 0.0, 0, "", "", True]
    kind = _KINDS.get(stat.S_IFMT(seen.st_mode), "unknown")
    target = capability = ""
    with contextlib.suppress(OSError):
        if kind == "symlink":
            target = os.readlink(f"/{path}")
        elif kind == "file":
            capability = os.getxattr(f"/{path}", _CAPABILITY, follow_symlinks=False).hex()
    return [
        path,
        kind,
        stat.S_IMODE(seen.st_mode),
        seen.st_uid,
        seen.st_gid,
        seen.st_mtime,
        seen.st_size,
        target,
        capability,
        own is None or path in own,
    ]


def _walk(root: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Every path below the root, without a leading slash; what vanishes meanwhile is left out. A
    folder once more, with None, where what it holds lies deeper than a path is long."""
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        try:
            entries = os.scandir(f"{root}/{parent}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            yield parent, None
            continue
        with entries:
            for entry in entries:
                path = f"{parent}/{entry.name}" if parent else entry.name
                try:
                    seen = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno != errno.ENAMETOOLONG:
                        raise
                    yield parent, None
                    break
                yield path, seen
                if stat.S_ISDIR(seen.st_mode):
                    waiting.append(path)


def read_files(paths: Iterable[str]) -> Iterator[bytes]:
    """The bytes of each file in turn, in pieces with their length (four bytes, big-endian) before
    them; a piece of none ends the file, which may have vanished."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield from _read_file(path)
        yield struct.pack("!I", 0)


def _read_file(path: str) -> Iterator[bytes]:
    file = os.open(f"/{path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        seen = os.fstat(file)
        left = seen.st_size if stat.S_ISREG(seen.st_mode) else 0
        while left and (piece := os.read(file, min(left, _PIECE))):
            left -= len(piece)
            yield struct.pack("!I", len(piece)) + piece
    finally:
        os.close(file)


def restore(paths: Iterable[str]) -> Iterator[bytes]:
    """Bring each path, and all below it, back to what the image has there, also nothing."""
    for path in paths:
        if _restore_parents(path):
            _remove(f"/{path}")
            if os.path.lexists(path):
                container_fs.copy_entry(path, f"/{path}")
            _settle_parents(path)
    yield b""


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _restore_parents(path: str) -> bool:
    """See that the folders above are there; False if neither root nor image has them."""
    for parent in _parents(path):
        if _is_folder(f"/{parent}"):
            continue
        if not _is_folder(parent):
            return False
        _remove(f"/{parent}")
        os.mkdir(f"/{parent}")
        container_fs.copy_looks(parent, f"/{parent}")
    return True


def _settle_parents(path: str) -> None:
    """Give the folders above their old time, where they hold the same names as before."""
    for parent in reversed(["", *_parents(path)]):
        with contextlib.suppress(OSError):
            if set(os.listdir(f"/{parent}")) - _mounted(parent) == set(os.listdir(parent or ".")):
                seen = os.lstat(parent or ".")
                os.utime(f"/{parent}", ns=(seen.st_mtime_ns, seen.st_mtime_ns))


def _mounted(parent: str) -> set[str]:
    """Names that the container's mounts may have left in a folder."""
    names = {"": ("dev", "proc", "sys"), "etc": ("hosts", "hostname", "resolv.conf")}
    return {n for n in names.get(parent, ()) if not os.path.lexists(f"{parent}/{n}".lstrip("/"))}


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove(path: str) -> None:
    if _is_folder(path):
        remove_tree(Path(path))
    elif os.path.lexists(path):
        os.unlink(path)


def write_all(output: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(output, view) :]
