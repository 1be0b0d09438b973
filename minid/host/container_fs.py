"""Root file systems for containers, made as root of a user namespace: layers unpacked, laid, read.

Runs in `container_init`'s process. A layer is unpacked once into a cache folder and then serves as
an overlay's lower folder; where overlay cannot be mounted the layers are copied into one tree.
Layers are minid's own work and treated as data all the same: no name leads out of its folder.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH112, PTH115, PTH116, PTH208, PTH211

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import struct
from typing import TYPE_CHECKING

from minid.errors import HostError, UnpackError
from minid.host import launch
from minid.host.beneath import open_beneath

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator, Sequence

MAX_MEMBERS = 2_000_000
MAX_BYTES = 20 << 30
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 2, 16
_SYS_OPENAT2 = 437  # the same number on every architecture
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_TEMPORARY = ".new-"


def open_in_root(root: int, image_path: str, flags: int) -> int:
    """Open a path as a process whose root directory is `root` would: links cannot lead out."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(image_path)
    return launch.check(launch.syscall(_SYS_OPENAT2, root, name, how, len(how)), image_path)


def _open_folder(folder: int, name: str) -> int:
    return open_beneath(folder, os.fsencode(name or "."), _FOLDER)


def read_in_root(root: int, image_path: str, limit: int = 1 << 20) -> str:
    """A small text file of the image; empty where there is none or it is no regular file."""
    try:
        descriptor = open_in_root(root, image_path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(limit).decode("utf-8", "replace")


def unpack_layer(tar_fd: int, diff_id: str, cache: str) -> None:
    """Unpack an uncompressed layer into `cache`/`diff_id`, whole or not at all.

    UnpackError when the bytes are not those of `diff_id` or a member has no business in a layer;
    HostError when the machine refuses (an id outside the mapped range, a full disk).
    """
    _verify(tar_fd, diff_id)
    temporary = f"{cache}/{_TEMPORARY}{diff_id[:16]}-{os.urandom(6).hex()}"
    os.mkdir(temporary, 0o700)
    folder = os.open(temporary, _FOLDER)
    fcntl.flock(folder, fcntl.LOCK_EX)  # says that it is not abandoned, see sweep
    try:
        _Unpacker(tar_fd, folder).unpack()
        os.rename(temporary, f"{cache}/{diff_id}")
    except BaseException as error:
        remove_tree(temporary)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return  # another check was faster
        if isinstance(error, OSError):
            where = f"layer {diff_id[:12]}"
            raise HostError(f"{where}: {error.strerror}: {error.filename!r}") from error
        raise
    finally:
        os.close(folder)


def sweep(cache: str) -> None:
    """Remove what interrupted checks left in the cache."""
    for name in os.listdir(cache):
        if not name.startswith(_TEMPORARY):
            continue
        with contextlib.suppress(OSError):
            folder = os.open(f"{cache}/{name}", _FOLDER)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(f"{cache}/{name}")
            finally:
                os.close(folder)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2) with options; OSError that names the target."""
    done = launch._libc.mount(
        source.encode(),
        target.encode(),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    launch.check(done, f"mount {kind} on {target}")


def lay_root(layers: Sequence[str], work: str, target: str) -> str:
    """Make `target` a writable root of the layer folders, lowest first; says how it was done.

    `work` is an empty folder for what gets written.
    """
    upper, scratch = f"{work}/upper", f"{work}/work"
    for folder in (upper, scratch, target):
        os.mkdir(folder)
    shown = os.stat(layers[-1])  # the root directory itself takes its looks from the upper folder
    os.chmod(upper, stat.S_IMODE(shown.st_mode))
    lower = ":".join(reversed(layers))
    try:
        # Without user xattrs overlay could not make a folder anew that a lower layer has.
        os.setxattr(upper, "user.minid", b"")
        os.removexattr(upper, "user.minid")
        options = f"lowerdir={lower},upperdir={upper},workdir={scratch},userxattr"
        mount("overlay", target, "overlay", 0, options)
        return "overlay"
    except OSError:
        for layer in layers:
            copy_tree(layer, target)
        return "copy"


def copy_tree(source: str, target: str) -> None:
    """Copy a tree over another with owners, modes, times and hard links; files replace files."""
    links: dict[tuple[int, int], str] = {}
    _copy_folder(source, target, links)


def _copy_folder(source: str, target: str, links: dict[tuple[int, int], str]) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            _copy_entry(entry, f"{target}/{entry.name}", links)
    _copy_looks(source, target, os.lstat(source))


def _copy_entry(entry: os.DirEntry[str], target: str, links: dict[tuple[int, int], str]) -> None:
    seen = entry.stat(follow_symlinks=False)
    folder = entry.is_dir(follow_symlinks=False)
    _make_room(target, folder)
    if folder:
        if not os.path.isdir(target):
            os.mkdir(target)
        _copy_folder(entry.path, target, links)
        return
    known = links.get((seen.st_dev, seen.st_ino))
    if known:
        os.link(known, target, follow_symlinks=False)
        return
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
    else:
        _copy_bytes(entry.path, target)
    _copy_looks(entry.path, target, seen)
    if seen.st_nlink > 1:
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
    while done := _copy_some(incoming, outgoing, offset, 1 << 30):
        offset += done
    os.close(incoming)
    os.close(outgoing)


def remove_tree(folder: str) -> None:
    """Delete a folder and all below it; what cannot be deleted stays."""
    # Not shutil's: importing that costs every check as much as its own work here.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _verify(tar_fd: int, diff_id: str) -> None:
    import hashlib

    with os.fdopen(os.dup(tar_fd), "rb") as file:
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != diff_id:
        raise UnpackError(f"layer: expected the bytes of {diff_id!r}, got {found!r}")


class _Unpacker:
    """One layer on its way into one folder."""

    def __init__(self, tar_fd: int, folder: int) -> None:
        self._tar_fd, self._root = tar_fd, folder
        self._parent_name, self._parent = "", os.dup(folder)
        # Directories get their mode and time last: a read-only one could not be filled.
        self._folders: list[tuple[str, tarfile.TarInfo]] = []

    def unpack(self) -> None:
        try:
            for member in self._members():
                self._add(member, member.name.removeprefix("./").rstrip("/"))
            for name, member in reversed(self._folders):
                descriptor = _open_folder(self._root, name)
                _dress(descriptor, member)
                os.close(descriptor)
        finally:
            os.close(self._parent)

    def _members(self) -> Iterator[tarfile.TarInfo]:
        import tarfile

        count = size = 0
        with os.fdopen(os.dup(self._tar_fd), "rb") as file:
            file.seek(0)
            try:
                with tarfile.open(fileobj=file, mode="r:", errorlevel=2) as archive:
                    for member in archive:
                        archive.members = []  # type: ignore[attr-defined]
                        count, size = count + 1, size + member.size
                        if count > MAX_MEMBERS or size > MAX_BYTES:
                            raise UnpackError(f"layer: more than {count} members or {size} bytes")
                        yield member
            except tarfile.TarError as error:
                raise UnpackError(f"layer: expected a tar archive, got {error}") from error

    def _add(self, member: tarfile.TarInfo, name: str) -> None:
        if name in ("", ".") and member.isdir():
            self._folders.append(("", member))
            return
        _check_name(member.name, name)
        parent = self._open_parent(name)
        leaf = name.rpartition("/")[2]
        if member.isdir():
            os.mkdir(leaf, 0o700, dir_fd=parent)
            self._folders.append((name, member))
        elif member.issym():
            os.symlink(member.linkname, leaf, dir_fd=parent)
            os.chown(leaf, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        elif member.islnk():
            self._link(member, leaf, parent)
        elif member.isfile() and not member.issparse():
            self._copy(member, leaf, parent)
        else:
            raise UnpackError(f"layer: expected files, folders and links, got {member.name!r}")

    def _open_parent(self, name: str) -> int:
        parent = name.rpartition("/")[0]
        if parent != self._parent_name:
            os.close(self._parent)
            self._parent = _open_folder(self._root, parent)
            self._parent_name = parent
        return self._parent

    def _link(self, member: tarfile.TarInfo, leaf: str, parent: int) -> None:
        name = member.linkname.removeprefix("./").rstrip("/")
        _check_name(member.linkname, name)
        folder = _open_folder(self._root, name.rpartition("/")[0])
        try:
            os.link(
                name.rpartition("/")[2],
                leaf,
                src_dir_fd=folder,
                dst_dir_fd=parent,
                follow_symlinks=False,
            )
        finally:
            os.close(folder)

    def _copy(self, member: tarfile.TarInfo, leaf: str, parent: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        target = os.open(leaf, flags, 0o600, dir_fd=parent)
        try:
            offset, left = member.offset_data, member.size
            while left:
                done = _copy_some(self._tar_fd, target, offset, left)
                if not done:
                    raise UnpackError(f"layer: expected {left} more bytes of {member.name!r}")
                offset, left = offset + done, left - done
            _dress(target, member)
        finally:
            os.close(target)


def _copy_some(source: int, target: int, offset: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, offset_src=offset)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return os.write(target, os.pread(source, min(size, 1 << 20), offset))


def _dress(descriptor: int, member: tarfile.TarInfo) -> None:
    """Owner first: changing it clears set-user-id bits and capabilities."""
    os.fchown(descriptor, member.uid, member.gid)
    os.fchmod(descriptor, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            _set_xattr(descriptor, key.removeprefix("SCHILY.xattr."), value)
    os.utime(descriptor, (member.mtime, member.mtime))


def _set_xattr(descriptor: int, name: str, value: str) -> None:
    if name != "security.capability":
        raise UnpackError(f"layer: expected no xattr but security.capability, got {name!r}")
    with contextlib.suppress(PermissionError):  # a file system without them: the program will tell
        os.setxattr(descriptor, name, value.encode("utf-8", "surrogateescape"))


def _check_name(written: str, name: str) -> None:
    parts = name.split("/")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise UnpackError(f"layer: expected a path below the root, got {written!r}")
    if parts[-1].startswith(".wh."):
        raise UnpackError(f"layer: expected no whiteout, got {written!r}")
