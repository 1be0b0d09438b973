"""Opening paths that are not trusted, below a folder that is: nothing leads out of it.

`openat2(2)` (Linux 5.6) lets the kernel refuse symlinks, magic links and `..` in one step that
nobody can race. Older kernels and seccomp filters without it get a walk by components.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os

_SYS_OPENAT2 = 437  # the same on every architecture that Linux 5.6 and later knows
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_SAFE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(
    root_fd: int, path: bytes, flags: int, mode: int = 0, *, one_mount: bool = False
) -> int:
    """Open `path`, relative to the folder `root_fd`, without following any symlink in it.

    The descriptor is close-on-exec. With O_PATH|O_NOFOLLOW a symlink itself can be opened.
    `one_mount` refuses to cross mount points. OSError otherwise: ELOOP or ENOTDIR where a symlink
    or a file is in the way, EXDEV where `path` leads out.
    """
    if openat2_works():
        return _openat2(root_fd, path, flags, mode, _SAFE | (_RESOLVE_NO_XDEV if one_mount else 0))
    return walk_beneath(root_fd, path, flags, mode, one_mount=one_mount)


@functools.cache
def openat2_works() -> bool:
    """Whether the kernel has openat2. Some seccomp filters answer EPERM to calls they lack."""
    root_fd = os.open("/", _FOLDER)
    try:
        os.close(_openat2(root_fd, b".", _FOLDER, 0, _SAFE))
    except OSError:
        return False
    finally:
        os.close(root_fd)
    return True


def walk_beneath(
    root_fd: int, path: bytes, flags: int, mode: int = 0, *, one_mount: bool = False
) -> int:
    """`open_beneath` for kernels without openat2: each component opened below the last."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if path.startswith(b"/") or b".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    folder = os.open(".", _FOLDER, dir_fd=root_fd)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        last = parts[-1] if parts else b"."
        opened = os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
    finally:
        os.close(folder)
    if one_mount and os.fstat(opened).st_dev != os.fstat(root_fd).st_dev:
        os.close(opened)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return opened


@functools.cache
def _syscall() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = [
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.POINTER(_OpenHow),
        ctypes.c_size_t,
    ]
    return function


def _openat2(root_fd: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    if b"\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    how = _OpenHow(flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, resolve)
    opened = int(_syscall()(_SYS_OPENAT2, root_fd, path, how, ctypes.sizeof(how)))
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return opened
