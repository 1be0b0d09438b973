"""Tar archives built by hand, so that every field can lie."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)
MTIME = 1_700_000_000


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def base256(number: int, width: int = 12) -> bytes:
    """GNU's form of numbers that octal cannot hold."""
    if number < 0:
        return (number + (1 << (8 * width))).to_bytes(width, "big")
    return bytes([0x80]) + number.to_bytes(width - 1, "big")


def octal(number: int, width: int = 12) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def header(
    name: bytes,
    flag: bytes = b"0",
    *,
    size: int | bytes = 0,
    link: bytes = b"",
    mode: int | bytes = 0o644,
    mtime: int | bytes = MTIME,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    signed: bool = False,
    checksum: bytes | None = None,
) -> bytes:
    """One block; bytes instead of a number go into the field as they are."""
    block = (
        name.ljust(100, b"\0")
        + (mode if isinstance(mode, bytes) else octal(mode, 8)).ljust(8, b"\0")
        + octal(0, 8) * 2
        + (size if isinstance(size, bytes) else octal(size)).ljust(12, b"\0")
        + (mtime if isinstance(mtime, bytes) else octal(mtime)).ljust(12, b"\0")
        + b" " * 8
        + flag
        + link.ljust(100, b"\0")
        + magic
        + bytes(64 + 16)
        + prefix.ljust(155, b"\0")
        + bytes(12)
    )
    assert len(block) == BLOCK, len(block)
    total = sum(byte - 256 if signed and byte >= 128 else byte for byte in block)
    field = checksum if checksum is not None else b"%06o\0 " % total
    return block[:148] + field + block[156:]


def file(name: bytes, data: bytes = b"data", **fields: object) -> bytes:
    return header(name, **{"size": len(data), **fields}) + padded(data)  # type: ignore[arg-type]


def folder(name: bytes, mode: int = 0o755) -> bytes:
    return header(name, b"5", mode=mode)


def symlink(name: bytes, target: bytes) -> bytes:
    return (
        header(name, b"2", link=target)
        if len(target) <= 100
        else (long("K", target) + header(name, b"2", link=target[:100]))
    )


def hardlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", link=target)


def long(flag: str, text: bytes) -> bytes:
    """GNU's long name (L) or long link (K)."""
    data = text + b"\0"
    name = b"././@LongLink"
    return header(name, flag.encode(), size=len(data), magic=b"ustar  \0") + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while length != len(b"%d" % length) + len(body):
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def pax(data: bytes, flag: bytes = b"x") -> bytes:
    """An extended header with these records, or with whatever bytes."""
    return header(b"PaxHeaders/x", flag, size=len(data)) + padded(data)


def named(name: bytes, data: bytes = b"data") -> bytes:
    """A file with its name in a pax header."""
    return pax(record(b"path", name)) + file(b"short", data)
