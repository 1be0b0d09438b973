"""A container's root file system: layer folders laid over each other, and reading files of it.

Runs as root of the container's user namespace. Where overlay cannot be mounted the layers are
copied into one tree.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH115, PTH116, PTH211

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from typing import TYPE_CHECKING

from minid.host import launch
from minid.host.layer_folder import copy_some, remove_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    _Links = dict[tuple[int, int], str]

_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 2, 16
_OPTION_BYTES = 4096
_SYS_OPENAT2 = 437  # the same number on every architecture


def open_in_root(root: int, image_path: str, flags: int) -> int:
    """Open a path as a process whose root directory is `root` would: links cannot lead out."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(image_path)
    return launch.check(launch.syscall(_SYS_OPENAT2, root, name, how, len(how)), image_path)


def read_in_root(root: int, image_path: str, limit: int = 1 << 20) -> str:
    """A small text file of the image; empty where there is none or it is no regular file."""
    try:
        descriptor = open_in_root(root, image_path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, limit).decode("utf-8", "replace") if regular else ""
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2) with options; OSError that names the target."""
    if len(data.encode()) >= _OPTION_BYTES:
        # The kernel would cut them off without a word, and the cut may be a valid mount.
        raise OSError(errno.E2BIG, f"mount {kind} on {target}: {os.strerror(errno.E2BIG)}")
    done = launch._libc.mount(
        source.encode(),
        target.encode(),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    launch.check(done, f"mount {kind} on {target}")


def lay_root(
    layers: Sequence[str], work: str, target: str, *, copied: bool = False, linked: bool = True
) -> str:
    """Make `target` a writable root of the layer folders, lowest first; says how it was done.

    `work` is an empty folder for what gets written. `copied` lays a copy also where an overlay
    could be had. Without `linked` a copy has no hard links: writing to one name leaves the others
    alone there, as it does in an overlay.
    """
    upper, scratch = f"{work}/upper", f"{work}/work"
    for folder in (upper, scratch, target):
        os.mkdir(folder)
    shown = os.stat(layers[-1])  # the root directory itself takes its looks from the upper folder
    os.chmod(upper, stat.S_IMODE(shown.st_mode))
    lower = ":".join(reversed(layers))
    try:
        if copied:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        # Without user xattrs overlay could not make a folder anew that a lower layer has.
        os.setxattr(upper, "user.minid", b"")
        os.removexattr(upper, "user.minid")
        options = f"lowerdir={lower},upperdir={upper},workdir={scratch},userxattr"
        mount("overlay", target, "overlay", 0, options)
        return "overlay"
    except OSError:
        for layer in layers:
            copy_tree(layer, target, linked=linked)
        return "copy"


def copy_tree(source: str, target: str, *, linked: bool = True) -> None:
    """Copy a tree over another with owners, modes and times; files replace files.

    Hard links stay such, or become files of their own when not `linked`.
    """
    links: _Links | None = {} if linked else None
    _copy_folder(source, target, links)


def _copy_folder(source: str, target: str, links: _Links | None) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            _copy_entry(entry, f"{target}/{entry.name}", links)
    _copy_looks(source, target, os.lstat(source))


def _copy_entry(entry: os.DirEntry[str], target: str, links: _Links | None) -> None:
    seen = entry.stat(follow_symlinks=False)
    folder = entry.is_dir(follow_symlinks=False)
    _make_room(target, folder)
    if folder:
        if not os.path.isdir(target):
            os.mkdir(target)
        _copy_folder(entry.path, target, links)
        return
    known = links.get((seen.st_dev, seen.st_ino)) if links else None
    if known:
        os.link(known, target, follow_symlinks=False)
        return
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
    else:
        _copy_bytes(entry.path, target)
    _copy_looks(entry.path, target, seen)
    if links is not None and seen.st_nlink > 1:
        links[seen.st_dev, seen.st_ino] = target


def _make_room(target: str, folder: bool) -> None:
    """Take away what is at `target` unless both are folders."""
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        os.unlink(target)
    elif not folder:
        remove_tree(target)


def _copy_looks(source: str, target: str, seen: os.stat_result) -> None:
    os.chown(target, seen.st_uid, seen.st_gid, follow_symlinks=False)
    if stat.S_ISLNK(seen.st_mode):
        return
    os.chmod(target, stat.S_IMODE(seen.st_mode))
    for name in os.listxattr(source):
        os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(seen.st_mtime_ns, seen.st_mtime_ns))


def _copy_bytes(source: str, target: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    incoming, outgoing = os.open(source, os.O_RDONLY | os.O_NOFOLLOW), os.open(target, flags, 0o600)
    offset = 0
    while done := copy_some(incoming, outgoing, offset, 1 << 30):
        offset += done
    os.close(incoming)
    os.close(outgoing)
