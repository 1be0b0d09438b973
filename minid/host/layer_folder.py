"""Unpacking image layers into a cache folder, with owners and rights, once each.

Runs as root of a container's user namespace. Layers are minid's own work and treated as data all
the same: their digest is checked, and no name leads out of its folder.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH102, PTH104, PTH106, PTH108, PTH112, PTH208

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

from minid.errors import HostError, UnpackError
from minid.host.beneath import open_beneath

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator

MAX_MEMBERS = 2_000_000
MAX_BYTES = 20 << 30
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A name twice, a parent that is a link, a file or not there.
_LAYERS_FAULT = (errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.ENOENT)
_TEMPORARY = ".new-"


def unpack_layers(diff_ids: list[str], tars: dict[str, int], cache: str) -> None:
    """See that every layer is in `cache`, and hold it there until this process ends.

    `tars` are descriptors of the uncompressed layers that were missing. Each is unpacked whole or
    not at all; checks that need the same take turns. UnpackError when the bytes are not those of
    the diff ID or a member has no business in a layer; HostError when the machine refuses (an id
    outside the mapped range, a full disk).
    """
    with _locked(cache):
        if tars:
            _remove_abandoned(cache)
        for diff_id in diff_ids:
            if diff_id in tars and not os.path.isdir(f"{cache}/{diff_id}"):
                _unpack_layer(tars[diff_id], diff_id, cache)
            try:
                fcntl.flock(os.open(f"{cache}/{diff_id}", _FOLDER), fcntl.LOCK_SH)
            except FileNotFoundError:
                raise HostError(f"layer {diff_id[:12]}: removed just now", hint="again") from None


def hold_layers(diff_ids: list[str], cache: str) -> list[int]:
    """Descriptors that keep those layers in the cache that are there now, while they are open."""
    held = []
    for diff_id in diff_ids:
        try:
            folder = os.open(f"{cache}/{diff_id}", _FOLDER)
        except OSError:  # not there, or nobody's who may hold it
            continue
        fcntl.flock(folder, fcntl.LOCK_SH)
        # Whoever removed it had it locked until just now.
        if os.path.isdir(f"{cache}/{diff_id}"):
            held.append(folder)
        else:
            os.close(folder)
    return held


def list_layers(cache: str) -> list[str]:
    """The diff IDs of the layers in the cache."""
    return sorted(name for name in os.listdir(cache) if not name.startswith("."))


def remove_layer(cache: str, diff_id: str) -> bool:
    """Remove a layer from the cache; False when a check uses it or it is not there."""
    with _locked(cache):
        _remove_abandoned(cache)
        try:
            folder = os.open(f"{cache}/{diff_id}", _FOLDER)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(f"{cache}/{diff_id}", f"{cache}/{_TEMPORARY}{diff_id}")
        except BlockingIOError:
            return False
        finally:
            os.close(folder)
        remove_tree(f"{cache}/{_TEMPORARY}{diff_id}")
        return True


@contextlib.contextmanager
def _locked(cache: str) -> Iterator[None]:
    lock = os.open(cache, _FOLDER)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _remove_abandoned(cache: str) -> None:
    """What a killed check left. Only under the lock: nobody else unpacks then."""
    for name in os.listdir(cache):
        if name.startswith(_TEMPORARY):
            remove_tree(f"{cache}/{name}")


def _unpack_layer(tar_fd: int, diff_id: str, cache: str) -> None:
    _verify(tar_fd, diff_id)
    temporary = f"{cache}/{_TEMPORARY}{diff_id}"
    os.mkdir(temporary, 0o700)
    folder = os.open(temporary, _FOLDER)
    # A layer need not name its root, and services that change user must pass it.
    os.fchmod(folder, 0o755)
    try:
        _Unpacker(tar_fd, folder).unpack()
        os.rename(temporary, f"{cache}/{diff_id}")
    except BaseException as error:
        remove_tree(temporary)
        if isinstance(error, OSError):
            kind = UnpackError if error.errno in _LAYERS_FAULT else HostError
            where = f"layer {diff_id[:12]}"
            raise kind(f"{where}: {error.strerror}: {error.filename!r}") from error
        raise
    finally:
        os.close(folder)


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


def _open_folder(folder: int, name: str) -> int:
    return open_beneath(folder, os.fsencode(name or "."), _FOLDER)


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
            with _owner_told(member):
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
            opened = _open_folder(self._root, parent)
            os.close(self._parent)
            self._parent_name, self._parent = parent, opened
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
                done = copy_some(self._tar_fd, target, offset, left)
                if not done:
                    raise UnpackError(f"layer: expected {left} more bytes of {member.name!r}")
                offset, left = offset + done, left - done
            _dress(target, member)
        finally:
            os.close(target)


def copy_some(source: int, target: int, offset: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, offset_src=offset)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return os.write(target, os.pread(source, min(size, 1 << 20), offset))


def _dress(descriptor: int, member: tarfile.TarInfo) -> None:
    """Owner first: changing it clears set-user-id bits and capabilities."""
    with _owner_told(member):
        os.fchown(descriptor, member.uid, member.gid)
    os.fchmod(descriptor, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            _set_xattr(descriptor, key.removeprefix("SCHILY.xattr."), value)
    os.utime(descriptor, (member.mtime, member.mtime))


@contextlib.contextmanager
def _owner_told(member: tarfile.TarInfo) -> Iterator[None]:
    """HostError with the name of a member whose owner the namespace does not have."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise HostError(
            f"{member.name!r}: expected an owner among the ids of a container (0 to 65535), "
            f"got {member.uid}:{member.gid}"
        ) from error


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
