"""Reading tar archives of others: strict about everything that two readers could read differently.

Understands V7, ustar, pax (POSIX.1-2001) and GNU's long names; sparse files, multi-volume and
other extensions are refused. Where the members go is the caller's work. Writing is `tar`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from minid.errors import UnpackError
from minid.formats.tar_fields import (
    BLOCK,
    Header,
    parse_header,
    parse_pax,
    pax_mtime,
    pax_number,
    pax_xattrs,
    show_name,
)

MemberKind = Literal["file", "directory", "symlink", "hardlink", "device", "fifo"]

_KINDS: dict[bytes, MemberKind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "device",
    b"4": "device",
    b"5": "directory",
    b"6": "fifo",
}
_REFUSED = {
    b"S": "a GNU sparse file",
    b"M": "a GNU multi-volume member",
    b"D": "a GNU dump directory",
    b"V": "a GNU volume label",
    b"N": "an old GNU long name",
    b"X": "a Solaris extended header",
}
_ZERO = bytes(BLOCK)
_COMPONENT = 255


@dataclass(frozen=True, slots=True)
class TarLimits:
    """What an archive may hold. `total_bytes` is of the whole decompressed archive."""

    total_bytes: int = 4 << 30
    file_bytes: int = 2 << 30
    members: int = 500_000
    depth: int = 100
    path_bytes: int = 2048
    header_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One member. `name` and a hard link's `target` are relative, without `.`, `..` or empty parts.

    Names are bytes and stay bytes: a name that is no UTF-8 is as harmless as any other to a kernel
    that never interprets it, and source archives hold such names in their tests. `name` is empty
    for the root. A symlink's `target` is its text, unchecked. `mode` holds all twelve bits.
    """

    name: bytes
    kind: MemberKind
    mode: int
    mtime: int
    uid: int
    gid: int
    size: int = 0
    target: bytes = b""
    xattrs: tuple[tuple[str, bytes], ...] = ()


class _Extended:
    """What the headers in front of a member say about it."""

    __slots__ = ("long_link", "long_name", "pax")

    def __init__(self) -> None:
        self.pax: dict[bytes, bytes] | None = None
        self.long_name: bytes | None = None
        self.long_link: bytes | None = None

    def __bool__(self) -> bool:
        return not (self.pax is None and self.long_name is None and self.long_link is None)


class TarReader:
    """Iterates the members of one archive; `content()` gives the current file's bytes.

    `chunks` are the archive's decompressed bytes. Iterating to the end is what proves the archive
    whole: UnpackError for a missing end marker, for anything but zeros behind it, and for every
    member that breaks a rule or a limit.
    """

    def __init__(self, chunks: Iterable[bytes], limits: TarLimits) -> None:
        self._stream = _ByteStream(iter(chunks))
        self._limits = limits
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        members = 0
        headers = 0
        extended = _Extended()
        while (block := self._stream.take(BLOCK)) != _ZERO:
            headers += 1
            # Bounds a stream of extended headers that never come to a member.
            if members >= self._limits.members or headers > 4 * self._limits.members:
                raise UnpackError(f"expected at most {self._limits.members} members, got more")
            header = parse_header(block)
            if self._take_extended(header, extended):
                continue
            member = self._build_member(header, extended)
            extended = _Extended()
            members += 1
            self._left, self._padding = member.size, -member.size % BLOCK
            yield member
            for _ in self.content():
                pass
        if extended:
            raise UnpackError("expected a member behind an extended header, got the end")
        self._take_end()

    @property
    def offset(self) -> int:
        """How many bytes of the archive were read: where the current file's bytes begin, before
        any of them is taken."""
        return self._stream.taken

    def content(self) -> Iterator[memoryview]:
        """The current file's bytes, in pieces, once. What is not taken is skipped."""
        while self._left:
            piece = self._stream.take_some(self._left)
            self._left -= len(piece)
            yield piece
        if self._padding:
            self._stream.take(self._padding)
            self._padding = 0

    def _take_end(self) -> None:
        if self._stream.take(BLOCK) != _ZERO:
            raise UnpackError("expected two blocks of zeros at the end of the archive, got one")
        for piece in self._stream.rest():
            if bytes(piece).strip(b"\0"):
                raise UnpackError("expected only zeros behind the end of the archive, got others")

    def _take_extended(self, header: Header, extended: _Extended) -> bool:
        """Read a header that describes another member into `extended`; False for a member."""
        flag = header.flag
        if flag not in (b"x", b"g", b"L", b"K"):
            return False
        data = self._take_header_data(header)
        if flag == b"g":
            _check_global(parse_pax(data), extended)
            return True
        if flag == b"x":
            _expect_first(extended.pax, header)
            extended.pax = parse_pax(data)
        elif flag == b"L":
            _expect_first(extended.long_name, header)
            extended.long_name = data.rstrip(b"\0")
        else:
            _expect_first(extended.long_link, header)
            extended.long_link = data.rstrip(b"\0")
        return True

    def _take_header_data(self, header: Header) -> bytes:
        if header.size > self._limits.header_bytes:
            raise UnpackError(
                f"extended header: expected at most {self._limits.header_bytes} bytes, "
                f"got {header.size}"
            )
        data = self._stream.take(header.size + -header.size % BLOCK)
        return data[: header.size]

    def _build_member(self, header: Header, extended: _Extended) -> Member:
        pax = extended.pax or {}
        raw_name = _choose(header.name, extended.long_name, pax.get(b"path"))
        where = f"member {show_name(raw_name)}"
        kind = _member_kind(header, raw_name, where)
        name = self._clean_name(raw_name, where)
        if not name and kind != "directory":
            raise UnpackError(f"{where}: expected a name, got the root itself")
        raw_target = _choose(header.link, extended.long_link, pax.get(b"linkpath"))
        size = self._member_size(header, pax, kind, where)
        return Member(
            name=name,
            kind=kind,
            mode=header.mode & 0o7777,
            mtime=pax_mtime(pax, header.mtime, where),
            uid=pax_number(pax, b"uid", header.uid, where),
            gid=pax_number(pax, b"gid", header.gid, where),
            size=size,
            target=self._clean_target(raw_target, kind, where),
            xattrs=pax_xattrs(pax),
        )

    def _member_size(
        self, header: Header, pax: dict[bytes, bytes], kind: MemberKind, where: str
    ) -> int:
        size = pax_number(pax, b"size", header.size, where)
        # Readers disagree on whether bytes follow such a member: an archive could show each of
        # them other members.
        if kind != "file" and size:
            raise UnpackError(f"{where}: expected size 0 for a {kind}, got {size}")
        if size > self._limits.file_bytes:
            raise UnpackError(
                f"{where}: expected at most {self._limits.file_bytes} bytes, got {size}"
            )
        return size

    def _clean_target(self, raw: bytes, kind: MemberKind, where: str) -> bytes:
        if kind == "hardlink":
            target = self._clean_name(raw, f"{where}: link target {show_name(raw)}")
            if not target:
                raise UnpackError(f"{where}: expected a link target, got the root itself")
            return target
        if kind != "symlink":
            return b""
        if not raw or b"\0" in raw or len(raw) > 4095:
            raise UnpackError(
                f"{where}: expected a link text of 1 to 4095 bytes, got {show_name(raw)}"
            )
        return raw

    def _clean_name(self, raw: bytes, where: str) -> bytes:
        """`raw` without `.` and empty components; UnpackError for names that could escape."""
        limits = self._limits
        if not raw:
            raise UnpackError(f"{where}: expected a name, got nothing")
        if raw.startswith(b"/"):
            raise UnpackError(f"{where}: expected a relative name, got an absolute one")
        if b"\0" in raw:
            raise UnpackError(f"{where}: expected a name without NUL bytes")
        if len(raw) > limits.path_bytes:
            raise UnpackError(
                f"{where}: expected a name of at most {limits.path_bytes} bytes, got {len(raw)}"
            )
        parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise UnpackError(f"{where}: expected a name without '..'")
        if len(parts) > limits.depth:
            raise UnpackError(f"{where}: expected a depth of {limits.depth}, got {len(parts)}")
        if any(len(part) > _COMPONENT for part in parts):
            raise UnpackError(f"{where}: expected components of at most {_COMPONENT} bytes")
        return b"/".join(parts)


class _ByteStream:
    """Exact and partial reads over an iterator of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._position = 0
        self._before = 0  # the bytes of all chunks before this one

    @property
    def taken(self) -> int:
        """The bytes that were taken."""
        return self._before + self._position

    def take_some(self, most: int) -> memoryview:
        """At least one byte and at most `most`; UnpackError at the end."""
        while self._position >= len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                raise UnpackError("expected more of the archive, got its end: it was cut short")
            self._before += len(self._chunk)
            self._chunk, self._position = memoryview(chunk), 0
        piece = self._chunk[self._position : self._position + most]
        self._position += len(piece)
        return piece

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes; UnpackError at the end."""
        end = self._position + size
        if end <= len(self._chunk):
            piece = bytes(self._chunk[self._position : end])
            self._position = end
            return piece
        parts = []
        while size:
            part = self.take_some(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def rest(self) -> Iterator[memoryview]:
        """All that is left."""
        yield self._chunk[self._position :]
        for chunk in self._chunks:
            yield memoryview(chunk)


def _expect_first(present: object, header: Header) -> None:
    if present is not None:
        raise UnpackError(
            f"extended header: expected one {show_name(header.flag)} header a member, got two"
        )


def _check_global(records: dict[bytes, bytes], extended: _Extended) -> None:
    """Global headers may comment (git does): one that renames every member is refused."""
    if extended:
        raise UnpackError("expected a member behind an extended header, got a global header")
    for key in (b"path", b"linkpath", b"size"):
        if key in records:
            raise UnpackError(f"global header: expected no {show_name(key)} record, got one")


def _choose(plain: bytes, long: bytes | None, pax: bytes | None) -> bytes:
    if long is not None and pax is not None:
        raise UnpackError(
            f"member {show_name(pax)}: expected one long name, got one of pax and one of GNU"
        )
    if long is not None:
        return long
    return plain if pax is None else pax


def _member_kind(header: Header, raw_name: bytes, where: str) -> MemberKind:
    kind = _KINDS.get(header.flag)
    if kind is None:
        got = _REFUSED.get(header.flag, f"type {show_name(header.flag)}")
        raise UnpackError(f"{where}: expected a file, folder or link, got {got}")
    # V7 has no type for folders: a trailing slash says it.
    if kind == "file" and raw_name.endswith(b"/"):
        return "directory"
    return kind
