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
            copy_entry(entry.path, f"{target}/{entry.name}", links)
    copy_looks(source, target)


def copy_entry(source: str, target: str, links: _Links | None = None) -> None:
    """Copy whatever is at `source` to `target`, with all below it, as `copy_tree` does; `links`
    remembers files with several names."""
    seen = os.lstat(source)
    folder = stat.S_ISDIR(seen.st_mode)
    _make_room(target, folder)
    if folder:
        if not os.path.isdir(target):
            os.mkdir(target)
        _copy_folder(source, target, links)
        return
    known = links.get((seen.st_dev, seen.st_ino)) if links else None
    if known:
        os.link(known, target, follow_symlinks=False)
        return
    if stat.S_ISLNK(seen.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        _copy_bytes(source, target)
    copy_looks(source, target)
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


def copy_looks(source: str, target: str) -> None:
    """Owner, mode, xattrs and time of one file for another. Owner first: changing it clears
    set-user-id bits and capabilities."""
    seen = os.lstat(source)
    os.chown(target, seen.st_uid, seen.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(seen.st_mode):
        os.chmod(target, stat.S_IMODE(seen.st_mode))
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(seen.st_mtime_ns, seen.st_mtime_ns), follow_symlinks=False)


def _copy_bytes(source: str, target: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    incoming, outgoing = os.open(source, os.O_RDONLY | os.O_NOFOLLOW), os.open(target, flags, 0o600)
    offset = 0
    while done := copy_some(incoming, outgoing, offset, 1 << 30):
        offset += done
    os.close(incoming)
    os.close(outgoing)
