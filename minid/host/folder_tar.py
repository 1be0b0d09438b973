"""A folder of the machine as a tar of a root file system: what is there, as data, nothing more."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from minid.errors import HostError
from minid.formats.digest import Digest
from minid.formats.tar import TarWriter
from minid.model import Content, Entry

_PIECE = 1 << 20
_CAPABILITY = "security.capability"
_UNKNOWN = Digest("0" * 64)


def write_folder(folder: Path, write: Callable[[bytes], object]) -> int:
    """Write all below `folder` as a tar, sorted by name, links as they are and never followed.

    Owners are numbers; of an ordinary user's own files they are root's, whom such a root file
    system is meant for. Devices, sockets and FIFOs, as bootstrapped roots have them below /dev, are
    left out: returns how many. HostError for a name that is no UTF-8, and for what changes or
    cannot be read meanwhile.
    """
    writer = TarWriter(write)
    names: dict[tuple[int, int], str] = {}
    left_out = 0
    for image_path, path in _walk(folder, ""):
        facts = path.lstat()
        if not any(kind(facts.st_mode) for kind in (stat.S_ISDIR, stat.S_ISLNK, stat.S_ISREG)):
            left_out += 1
            continue
        entry = _entry(image_path, path, facts)
        key = (facts.st_dev, facts.st_ino)
        if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1 and key in names:
            writer.add(_replaced(entry, names[key]))
            continue
        names[key] = image_path
        writer.add(entry, _read(path) if entry.kind == "file" else ())
    writer.close()
    return left_out


def _replaced(entry: Entry, target: str) -> Entry:
    return Entry(
        entry.image_path, "hardlink", entry.mode, entry.mtime, entry.uid, entry.gid, target=target
    )


def _walk(folder: Path, above: str) -> Iterator[tuple[str, Path]]:
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208 (sorted as bytes)
    except OSError as error:
        raise HostError(f"{folder}: expected a folder to read, got {error.strerror}") from error
    for name in names:
        path, image_path = folder / name, f"{above}{name}"
        try:
            name.encode()
        except UnicodeEncodeError:
            raise HostError(f"{folder}: expected names in UTF-8, got {name!r}") from None
        yield image_path, path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, f"{image_path}/")


def _entry(image_path: str, path: Path, facts: os.stat_result) -> Entry:
    mode = stat.S_IMODE(facts.st_mode)
    mtime = max(0, int(facts.st_mtime))
    uid, gid = facts.st_uid, facts.st_gid
    if os.geteuid() and uid == os.geteuid():
        uid = gid = 0
    if stat.S_ISDIR(facts.st_mode):
        return Entry(image_path, "directory", mode, mtime, uid, gid)
    if stat.S_ISLNK(facts.st_mode):
        return Entry(image_path, "symlink", 0o777, mtime, uid, gid, target=str(path.readlink()))
    content = Content(_UNKNOWN, facts.st_size)
    xattrs = _capability(path)
    return Entry(image_path, "file", mode, mtime, uid, gid, content=content, xattrs=xattrs)


def _capability(path: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        return ((_CAPABILITY, os.getxattr(path, _CAPABILITY, follow_symlinks=False)),)
    except OSError:
        return ()


def _read(path: Path) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise HostError(f"{path}: expected a file to read, got {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece
