"""Writing tar archives that are bit for bit the same for the same tree (POSIX.1-2001 pax).

Owners are numbers without names, times whole seconds (clamped to what ustar holds), and an extended
header appears only where ustar's fields cannot hold a name, link, size or owner. Reading archives
of others is `tar_reader`'s work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minid.model import Entry

BLOCK = 512
_TYPE = {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5"}
_MAX_OCTAL_11 = 0o77777777777
_MAX_OCTAL_7 = 0o7777777


def _pax_record(key: str, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts its own digits."""
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while length != len(str(length)) + len(body):
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def _split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """`(prefix, name)` as ustar wants them, or None where they do not fit."""
    if len(name) <= 100:
        return b"", name
    cut = name.rfind(b"/", 0, 156)
    if cut > 0 and 0 < len(name) - cut - 1 <= 100:
        return name[:cut], name[cut + 1 :]
    return None


def _header(
    name: bytes, kind: bytes, entry: Entry | None, size: int, link: bytes, prefix: bytes
) -> bytes:
    mode, uid, gid, mtime = (
        (entry.mode, entry.uid, entry.gid, entry.mtime) if entry else (0o644, 0, 0, 0)
    )
    fields = (
        name.ljust(100, b"\0")
        + b"%07o\0%07o\0%07o\0" % (mode & 0o7777, min(uid, _MAX_OCTAL_7), min(gid, _MAX_OCTAL_7))
        + b"%011o\0%011o\0" % (min(size, _MAX_OCTAL_11), max(0, min(mtime, _MAX_OCTAL_11)))
        + b" " * 8
        + kind
        + link.ljust(100, b"\0")
        + b"ustar\0"
        + b"00"
        + bytes(64)
        + b"0000000\0" * 2
        + prefix.ljust(155, b"\0")
        + bytes(12)
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def _extended(entry: Entry, name: bytes, link: bytes, size: int) -> bytes:
    """The pax records that `entry` needs beyond ustar, empty for nearly every file."""
    records: list[tuple[str, bytes]] = []
    if _split_name(name) is None:
        records.append(("path", name))
    if len(link) > 100:
        records.append(("linkpath", link))
    if size > _MAX_OCTAL_11:
        records.append(("size", str(size).encode()))
    if entry.uid > _MAX_OCTAL_7:
        records.append(("uid", str(entry.uid).encode()))
    if entry.gid > _MAX_OCTAL_7:
        records.append(("gid", str(entry.gid).encode()))
    records += [("SCHILY.xattr." + key, value) for key, value in entry.xattrs]
    return b"".join(_pax_record(key, value) for key, value in sorted(records))


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


class TarWriter:
    """Writes entries, in the order given, through `write`. The caller sorts them.

    `offset` counts the bytes written so far.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.offset = 0
        self._path, self._start, self._size = "", 0, 0

    def _put(self, data: bytes) -> None:
        self._write(data)
        self.offset += len(data)

    def begin(self, entry: Entry) -> int:
        """Write a member's header and return where its content begins in the archive."""
        name = entry.image_path.encode("utf-8", "surrogateescape")
        if entry.kind == "directory":
            name = name + b"/" if name else b"./"
        link = entry.target.encode("utf-8", "surrogateescape")
        size = entry.content.size if entry.kind == "file" and entry.content else 0
        extended = _extended(entry, name, link, size)
        if extended:
            self._put(_header(b"PaxHeaders/x", b"x", None, len(extended), b"", b""))
            self._put(extended + _padding(len(extended)))
        prefix, short = _split_name(name) or (b"", name[:100])
        self._put(_header(short, _TYPE[entry.kind], entry, size, link[:100], prefix))
        self._path, self._start, self._size = entry.image_path, self.offset, size
        return self._start

    def put_content(self, chunk: bytes) -> None:
        """Write part of the content of the member that was begun."""
        self._put(chunk)

    def finish(self) -> None:
        """End the member that was begun; ValueError unless it got exactly its content."""
        got = self.offset - self._start
        if got != self._size:
            raise ValueError(f"{self._path}: expected {self._size} bytes of content, got {got}")
        self._put(_padding(self._size))

    def add(self, entry: Entry, chunks: Iterable[bytes] = ()) -> int:
        """Write one whole member and return where its content begins in the archive.

        `chunks` must give exactly the bytes of a file's content; ValueError otherwise.
        """
        start = self.begin(entry)
        for chunk in chunks:
            self.put_content(chunk)
        self.finish()
        return start

    def close(self) -> None:
        """Write the end-of-archive marker: two blocks of zeros, no record padding."""
        self._put(bytes(2 * BLOCK))
