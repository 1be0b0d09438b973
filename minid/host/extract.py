"""Placing the members of an archive below one folder, and nowhere else.

Runs in the child that `minid.host.unpack` starts. What may be in an archive is `tar_reader`'s
matter; here it is laid on disk with folder descriptors, and no symlink is ever followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from minid.errors import HostError, UnpackError
from minid.formats.tar_fields import show_name
from minid.formats.tar_reader import Member, TarLimits, TarReader
from minid.host.beneath import open_beneath

Profile = Literal["source", "rootfs"]

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was unpacked. `bytes` counts file contents; `skipped` devices and FIFOs left out.

    `newest_mtime` is of regular files, 0 without any. `top_folder` is the one folder that all
    members shared and that was taken away, empty where there was none.
    """

    members: int
    bytes: int
    newest_mtime: int
    top_folder: str
    skipped: int = 0


def extract(
    chunks: Iterable[bytes], root_fd: int, *, limits: TarLimits, profile: Profile
) -> Unpacked:
    """Unpack the decompressed archive `chunks` into the empty folder `root_fd` (see `unpack`).

    Needs umask 0. UnpackError for a bad archive, HostError when the disk is full.
    """
    extractor = _Extractor(root_fd, limits, profile)
    reader = TarReader(chunks, limits)
    try:
        for member in reader:
            extractor.place(member, reader.content())
        top_folder = extractor.lift_top_folder() if profile == "source" else b""
    finally:
        extractor.close()
    if not extractor.members:
        raise UnpackError("expected members, got an empty archive")
    return Unpacked(
        members=extractor.members,
        bytes=extractor.bytes,
        newest_mtime=extractor.newest_mtime,
        top_folder=top_folder.decode("utf-8", "surrogateescape"),
        skipped=extractor.skipped,
    )


class _Extractor:
    """One archive's way to disk. Folders are never removed, so the cached descriptor stays true."""

    def __init__(self, root_fd: int, limits: TarLimits, profile: Profile) -> None:
        self.members = self.bytes = self.newest_mtime = self.skipped = 0
        self._root_fd = root_fd
        self._limits = limits
        self._rootfs = profile == "rootfs"
        self._tops: set[bytes] = set()
        self._folders = 0
        self._folder_name: bytes | None = None
        self._folder_fd = -1

    def close(self) -> None:
        """Close the cached folder."""
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
        self._folder_fd, self._folder_name = -1, None

    def place(self, member: Member, content: Iterable[memoryview]) -> None:
        """Lay one member; UnpackError when it cannot lie where the archive wants it."""
        try:
            self._place(member, content)
        except OSError as error:
            where = f"member {show_name(member.name)}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise HostError(
                    f"{where}: expected room on the disk, got {error.strerror}"
                ) from error
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
                raise UnpackError(
                    f"{where}: expected folders above it, got a link or a file in the way"
                ) from error
            raise UnpackError(f"{where}: expected to create it, got {error.strerror}") from error

    def _place(self, member: Member, content: Iterable[memoryview]) -> None:
        self.members += 1
        if not member.name:
            return  # the root: it stands, and its mode is not the archive's to set
        if member.kind in ("device", "fifo"):
            self._skip(member)
            return
        self._tops.add(member.name.split(b"/", 1)[0])
        parent, _, name = member.name.rpartition(b"/")
        folder_fd = self._open_folder(parent)
        if member.kind == "directory":
            self._place_folder(member, name, folder_fd)
        elif member.kind == "file":
            self._place_file(member, name, folder_fd, content)
        elif member.kind == "symlink":
            self._place_symlink(member, name, folder_fd)
        else:
            self._place_hardlink(member, name, folder_fd)

    def _skip(self, member: Member) -> None:
        if not self._rootfs:
            raise UnpackError(
                f"member {show_name(member.name)}: expected a file, folder or link, "
                f"got a {member.kind}"
            )
        self.skipped += 1

    def _place_folder(self, member: Member, name: bytes, folder_fd: int) -> None:
        mode = member.mode & 0o755 | 0o700
        try:
            self._make_folder(name, mode, folder_fd)
            return
        except FileExistsError:
            pass
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder_fd).st_mode):
            raise UnpackError(
                f"member {show_name(member.name)}: expected nothing or a folder at this name, "
                "got another kind"
            )
        # The folder was made for a member inside it, before its own came.
        opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder_fd)
        try:
            os.fchmod(opened, mode)
        finally:
            os.close(opened)

    def _place_file(
        self, member: Member, name: bytes, folder_fd: int, content: Iterable[memoryview]
    ) -> None:
        mode = member.mode & 0o755 | (0o600 if self._rootfs else 0)
        try:
            opened = os.open(name, _CREATE, mode, dir_fd=folder_fd)
        except FileExistsError:
            self._remove(member, name, folder_fd)
            opened = os.open(name, _CREATE, mode, dir_fd=folder_fd)
        try:
            for piece in content:
                _write_all(opened, piece)
            os.utime(opened, ns=(member.mtime * 10**9, member.mtime * 10**9))
        finally:
            os.close(opened)
        self.bytes += member.size
        self.newest_mtime = max(self.newest_mtime, member.mtime)

    def _place_symlink(self, member: Member, name: bytes, folder_fd: int) -> None:
        try:
            os.symlink(member.target, name, dir_fd=folder_fd)
        except FileExistsError:
            self._remove(member, name, folder_fd)
            os.symlink(member.target, name, dir_fd=folder_fd)

    def _place_hardlink(self, member: Member, name: bytes, folder_fd: int) -> None:
        """Link to a regular file that this archive brought; nothing else is there to be found."""
        parent, _, source = member.target.rpartition(b"/")
        where = f"member {show_name(member.name)}: link target {show_name(member.target)}"
        try:
            source_fd = open_beneath(self._root_fd, parent or b".", _FOLDER)
        except OSError as error:
            raise UnpackError(f"{where}: expected a file of this archive, got none") from error
        try:
            self._link(member, where, source, source_fd, name, folder_fd)
        finally:
            os.close(source_fd)

    def _link(
        self, member: Member, where: str, source: bytes, source_fd: int, name: bytes, folder_fd: int
    ) -> None:
        try:
            found = os.lstat(source, dir_fd=source_fd)
        except OSError as error:
            raise UnpackError(f"{where}: expected a file of this archive, got none") from error
        if not stat.S_ISREG(found.st_mode):
            raise UnpackError(f"{where}: expected a regular file, got another kind")
        with suppress(FileNotFoundError):
            if os.path.samestat(found, os.lstat(name, dir_fd=folder_fd)):
                return
            self._remove(member, name, folder_fd)
        os.link(source, name, src_dir_fd=source_fd, dst_dir_fd=folder_fd, follow_symlinks=False)

    def _remove(self, member: Member, name: bytes, folder_fd: int) -> None:
        """Make way for a later member of the same name: the last one counts, as with tar."""
        if stat.S_ISDIR(os.lstat(name, dir_fd=folder_fd).st_mode):
            raise UnpackError(
                f"member {show_name(member.name)}: expected nothing at this name or something to "
                f"replace by a {member.kind}, got a folder"
            )
        os.unlink(name, dir_fd=folder_fd)

    def _open_folder(self, path: bytes) -> int:
        """The folder `path`, made if it is missing. The last one stays open: members come so."""
        if not path:
            return self._root_fd
        if path != self._folder_name:
            self.close()
            try:
                self._folder_fd = open_beneath(self._root_fd, path, _FOLDER)
            except FileNotFoundError:
                self._folder_fd = self._make_folders(path)
            self._folder_name = path
        return self._folder_fd

    def _make_folders(self, path: bytes) -> int:
        """Make the folders of `path` that are missing; a descriptor of the last."""
        folder_fd = os.open(".", _FOLDER, dir_fd=self._root_fd)
        for part in path.split(b"/"):
            try:
                with suppress(FileExistsError):
                    self._make_folder(part, 0o755, folder_fd)
                deeper = open_beneath(folder_fd, part, _FOLDER | os.O_DIRECTORY)
            finally:
                os.close(folder_fd)
            folder_fd = deeper
        return folder_fd

    def _make_folder(self, name: bytes, mode: int, folder_fd: int) -> None:
        # Members may imply a hundred folders each: they count as members.
        if self._folders >= self._limits.members:
            raise UnpackError(f"expected at most {self._limits.members} folders, got more")
        os.mkdir(name, mode, dir_fd=folder_fd)
        self._folders += 1

    def lift_top_folder(self) -> bytes:
        """Take away the one folder that holds everything and return its name, empty if none does.

        Its contents move up by renames. The folder gets another name first, because it may hold
        one of its own name.
        """
        self.close()
        if len(self._tops) != 1:
            return b""
        (top,) = self._tops
        if not stat.S_ISDIR(os.lstat(top, dir_fd=self._root_fd).st_mode):
            return b""
        top_fd = open_beneath(self._root_fd, top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            names = os.listdir(top_fd)  # noqa: PTH208 (a descriptor)
            moved = _unused_name(set(names))
            os.rename(top, moved, src_dir_fd=self._root_fd, dst_dir_fd=self._root_fd)
            for name in names:
                os.rename(name, name, src_dir_fd=top_fd, dst_dir_fd=self._root_fd)
            os.rmdir(moved, dir_fd=self._root_fd)
        finally:
            os.close(top_fd)
        return top


def _unused_name(names: set[str]) -> str:
    moved = ".top"
    while moved in names:
        moved += "_"
    return moved


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
