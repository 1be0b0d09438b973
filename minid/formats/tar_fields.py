"""The fields of one tar header block and the records of a pax header, parsed strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass

from minid.errors import UnpackError

BLOCK = 512
# What gzip's and many others' 32 bits hold; a time past it is a damaged header, not a date.
MAX_MTIME = (1 << 32) - 1

_OCTAL = re.compile(rb" *([0-7]*)[ \0]*")
_RECORD_LENGTH = re.compile(rb"([1-9][0-9]{0,7}) ")
_DIGITS = re.compile(rb"[0-9]{1,19}")
_PAX_TIME = re.compile(rb"(-?[0-9]{1,15})(?:\.[0-9]*)?")
_XATTR = b"SCHILY.xattr."
_SHOWN_BYTES = 120


@dataclass(frozen=True, slots=True)
class Header:
    """A header block whose checksum holds. `name` has the ustar prefix in front."""

    name: bytes
    link: bytes
    flag: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int


def show_name(raw: bytes) -> str:
    """A name in quotes, all but printable ASCII escaped: fit for a terminal, a log or a page."""
    shown = raw[:_SHOWN_BYTES].decode("utf-8", "surrogateescape")
    return ascii(shown) + ("…" if len(raw) > _SHOWN_BYTES else "")


def parse_header(block: bytes) -> Header:
    """Parse 512 bytes; UnpackError for a wrong checksum or a field that is no number."""
    _check_sum(block)
    name = _text(block[:100])
    where = f"member {show_name(name)}"
    prefix = _prefix(block)
    return Header(
        name=prefix + b"/" + name if prefix else name,
        link=_text(block[157:257]),
        flag=block[156:157],
        mode=parse_number(block[100:108], f"{where}: mode"),
        uid=_owner(block[108:116]),
        gid=_owner(block[116:124]),
        size=_size(block[124:136], where),
        mtime=parse_number(block[136:148], f"{where}: mtime"),
    )


def parse_number(field: bytes, where: str) -> int:
    """A number field: octal digits, or GNU's base-256 (big endian, two's complement).

    An empty field is 0. UnpackError for anything else.
    """
    if field[0] & 0x80:
        number = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return number - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else number
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise UnpackError(f"{where}: expected an octal number, got {show_name(field)}")
    return int(match[1] or b"0", 8)


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header (POSIX pax, "Extended Header").

    UnpackError for a record that does not fit, a key that comes twice, an empty value where it
    would delete a name or a size, and for sparse files, whose bytes are not the file's.
    """
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        match = _RECORD_LENGTH.match(data, position)
        end = position + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1] != 0x0A:
            shown = show_name(data[position : position + 20])
            raise UnpackError(f"pax header: expected 'LENGTH KEY=VALUE', got {shown}")
        key, equals, value = data[match.end() : end - 1].partition(b"=")
        _check_record(key, equals, value, records)
        records[key] = value
        position = end
    return records


def pax_number(pax: dict[bytes, bytes], key: bytes, default: int, where: str) -> int:
    """The record `key` as a number, `default` without one; UnpackError for other bytes."""
    value = pax.get(key)
    if value is None:
        return default
    if not _DIGITS.fullmatch(value):
        raise UnpackError(f"{where}: {key.decode()}: expected a number, got {show_name(value)}")
    return int(value)


def pax_mtime(pax: dict[bytes, bytes], default: int, where: str) -> int:
    """The record `mtime` in whole seconds, `default` without one, within 0 and `MAX_MTIME`."""
    mtime = default
    if b"mtime" in pax:
        match = _PAX_TIME.fullmatch(pax[b"mtime"])
        if match is None:
            raise UnpackError(f"{where}: expected a time, got {show_name(pax[b'mtime'])}")
        mtime = int(match[1])
    return max(0, min(mtime, MAX_MTIME))


def pax_xattrs(pax: dict[bytes, bytes]) -> tuple[tuple[str, bytes], ...]:
    """Extended attributes as `star` and GNU tar write them, sorted by name."""
    return tuple(
        (key[len(_XATTR) :].decode("utf-8", "surrogateescape"), value)
        for key, value in sorted(pax.items())
        if key.startswith(_XATTR)
    )


def _check_record(key: bytes, equals: bytes, value: bytes, records: dict[bytes, bytes]) -> None:
    if not key or not equals:
        raise UnpackError(f"pax header: expected a key and '=', got {show_name(key)}")
    if key in records:
        raise UnpackError(f"pax header: expected each key once, got {show_name(key)} twice")
    if key.startswith(b"GNU.sparse.") or key == b"SCHILY.realsize":
        raise UnpackError(f"pax header: expected no sparse file, got {show_name(key)}")
    if not value and key in (b"path", b"linkpath", b"size"):
        raise UnpackError(f"pax header: {show_name(key)}: expected a value, got nothing")


def _check_sum(block: bytes) -> None:
    """The sum of all bytes, the field itself counted as spaces; historic writers summed signed."""
    field = block[148:156]
    match = _OCTAL.fullmatch(field)
    total = sum(block) - sum(field) + 8 * 0x20
    if match is None or not match[1]:
        raise UnpackError("expected a tar header, got other bytes")
    written = int(match[1], 8)
    if written == total:
        return
    high = sum(1 for byte in block[:148] + block[156:] if byte >= 0x80)
    if written != total - 256 * high:
        raise UnpackError(f"tar header: expected checksum {total}, got {written}")


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _prefix(block: bytes) -> bytes:
    """ustar's prefix. GNU's old format and V7 keep other things there; star's is shorter."""
    if block[257:263] != b"ustar\0":
        return b""
    return _text(block[345:476] if block[508:512] == b"tar\0" else block[345:500])


def _size(field: bytes, where: str) -> int:
    size = parse_number(field, f"{where}: size")
    if size < 0:
        raise UnpackError(f"{where}: size: expected 0 or more, got {size}")
    return size


def _owner(field: bytes) -> int:
    """An owner's number; 0 where there is none: writers put all kinds of things here."""
    try:
        return max(0, parse_number(field, "owner"))
    except UnpackError:
        return 0
