"""An archive of images taken apart: each of its files in a folder of its own, by number.

No name of the archive becomes a name on disk, sizes are bounded, and links are only looked up.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from minid.errors import UnpackError
from minid.formats.compression import HEAD_BYTES, decompress, detect_compression
from minid.formats.image_archive import MAX_SMALL_BYTES
from minid.formats.layer_tree import LIMITS
from minid.formats.tar_fields import show_name
from minid.formats.tar_reader import TarLimits, TarReader
from minid.host.beneath import open_beneath

PIECE = 1 << 20
# Of an archive of images each file is one of a few hundred layers, or small.
ARCHIVE = TarLimits(total_bytes=64 << 30, file_bytes=20 << 30, members=20_000, path_bytes=4096)
# The last is of Docker before 1.10: alone it is no image that can be read, and no root either.
_MARKS = ("manifest.json", "oci-layout", "repositories")
_LOOKED_AT = 100_000
_MAX_LINKS = 8


class Source(Protocol):
    """Where the files of images are read from, by their path in it."""

    def has(self, path: str) -> bool:
        """Whether there is a file of that path."""

    def read(self, path: str) -> bytes:
        """A small file's bytes; UnpackError where it is missing or large."""

    def iterate(self, path: str) -> Iterator[bytes]:
        """A file's bytes in pieces; UnpackError where it is missing."""


@dataclass(frozen=True, slots=True)
class _Spooled:
    path: Path
    size: int


class Spool:
    """The files of an archive in `folder`, by their path in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _Spooled] = {}
        self._links: dict[str, str] = {}

    def take(self, chunks: Iterator[bytes]) -> None:
        """Take a whole archive apart; UnpackError for what is none."""
        reader = TarReader(chunks, ARCHIVE)
        for number, member in enumerate(reader):
            name = member.name.decode("utf-8", "surrogateescape")
            if member.kind == "file":
                if name in self._files or name in self._links:
                    raise UnpackError(f"{show_name(member.name)}: expected each file once, got two")
                path = self._folder / str(number)
                with path.open("xb") as file:
                    for piece in reader.content():
                        file.write(piece)
                self._files[name] = _Spooled(path, member.size)
            elif member.kind in ("symlink", "hardlink"):
                target = member.target.decode("utf-8", "surrogateescape")
                if member.kind == "symlink":
                    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
                self._links[name] = target
            elif member.kind != "directory":
                raise UnpackError(f"{show_name(member.name)}: expected a file, got a {member.kind}")

    def has(self, path: str) -> bool:
        """Whether there is a file of that path."""
        return self._resolve(path) in self._files

    def read(self, path: str) -> bytes:
        """A small file's bytes; UnpackError where it is missing or large."""
        found = self._find(path)
        if found.size > MAX_SMALL_BYTES:
            raise UnpackError(f"{path}: expected at most {MAX_SMALL_BYTES} bytes, got {found.size}")
        return found.path.read_bytes()

    def iterate(self, path: str) -> Iterator[bytes]:
        """A file's bytes in pieces; UnpackError where it is missing."""
        yield from iterate_file(self._find(path).path)

    def _find(self, path: str) -> _Spooled:
        found = self._files.get(self._resolve(path))
        if found is None:
            raise UnpackError(f"{path[:200]}: expected a file of the archive, got nothing")
        return found

    def _resolve(self, path: str) -> str:
        """Archives of old Docker engines keep a layer once, with links to it."""
        for _ in range(_MAX_LINKS):
            if path not in self._links:
                return path
            path = self._links[path]
        return ""


class LayoutFolder:
    """The files of an OCI layout that lies in a folder; no link in it is followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, path: str) -> bool:
        """As `Source`."""
        try:
            with self._open(path):
                return True
        except UnpackError:
            return False

    def read(self, path: str) -> bytes:
        """As `Source`."""
        data = bytearray()
        for piece in self.iterate(path):
            data += piece
            if len(data) > MAX_SMALL_BYTES:
                raise UnpackError(f"{path}: expected at most {MAX_SMALL_BYTES} bytes, got more")
        return bytes(data)

    def iterate(self, path: str) -> Iterator[bytes]:
        """As `Source`."""
        with self._open(path) as file:
            while piece := file.read(PIECE):
                yield piece

    def _open(self, path: str) -> BinaryIO:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        root = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = open_beneath(root, os.fsencode(path), flags)
        except OSError as error:
            raise UnpackError(f"{path}: expected a file, got {error.strerror}") from None
        finally:
            os.close(root)
        file = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise UnpackError(f"{path}: expected a file, got something else")
        return file


def iterate_file(path: Path) -> Iterator[bytes]:
    """A file's bytes in pieces."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def open_tar(file: BinaryIO) -> Iterator[bytes]:
    """The decompressed bytes of a tar archive, from its beginning; UnpackError for what is none."""
    return plain_bytes(file, ARCHIVE.total_bytes)


def plain_bytes(file: BinaryIO, most: int = LIMITS.total_bytes) -> Iterator[bytes]:
    """The decompressed bytes of a file, from its beginning, at most so many."""
    file.seek(0)
    kind = detect_compression(file.read(HEAD_BYTES))
    file.seek(0)
    yield from decompress(file.read, kind, most)


def is_image_archive(chunks: Callable[[], Iterator[bytes]]) -> bool:
    """Whether a tar archive is one of images, and not a root file system: one of the files that
    mark it stands at its top. UnpackError for an empty archive."""
    number = 0
    for number, member in enumerate(TarReader(chunks(), LIMITS), 1):
        if member.kind == "file" and member.name.decode("utf-8", "replace") in _MARKS:
            return True
        if number > _LOOKED_AT:
            return False
    if not number:
        raise UnpackError("expected images or files, got an empty archive")
    return False
