"""OpenPGP as far as it must be read here: armor, packets, and which keys a file of keys holds.

No signature is checked here. The format is RFC 9580 (and RFC 4880, whose keys are the common ones).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

SHA1 = 2
DSA = 17
STRONG_HASHES = frozenset({8, 9, 10, 11, 12, 14})
"""SHA-256, -384, -512, -224, SHA3-256, SHA3-512 (RFC 9580, 9.5)."""

_MARKER, _SIGNATURE = 10, 2
_PUBLIC_KEY, _PUBLIC_SUBKEY = 6, 14
_KEYS = frozenset({_PUBLIC_KEY, _PUBLIC_SUBKEY})
_SECRET = frozenset({5, 7})
# Subkeys, signatures, trust, user ids, user attributes, padding: what may follow a key.
_OF_KEYS = frozenset({_PUBLIC_SUBKEY, 2, 12, 13, 17, 21})
# The first number of these keys' material is what their strength is told by.
_COUNTED_IN_BITS = frozenset({1, 2, 3, 16, 17})
_MAX_SIGNATURES = 32
_ARMOR = re.compile(rb"-----(BEGIN|END) PGP ([A-Z ]+)-----[ \t]*")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key or subkey. `fingerprint` is upper-case hex; `bits` is 0 for elliptic curves."""

    fingerprint: str
    algorithm: int
    bits: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """A primary key with what belongs to it; `packets` are all their bytes, fit for a keyring."""

    primary: PublicKey
    subkeys: tuple[PublicKey, ...]
    packets: bytes

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The primary key and its subkeys."""
        return (self.primary, *self.subkeys)


@dataclass(frozen=True, slots=True)
class _Packet:
    tag: int
    body: bytes
    raw: bytes


def read_certificates(data: bytes) -> tuple[Certificate, ...]:
    """The public keys in a binary or armored key file; ValueError where it holds anything else."""
    groups: list[list[_Packet]] = []
    for packet in _packets(_dearmored(data, b"PUBLIC KEY BLOCK")):
        if packet.tag == _MARKER:
            continue
        if packet.tag in _SECRET:
            raise ValueError("expected public keys, got a secret key")
        if packet.tag == _PUBLIC_KEY:
            groups.append([packet])
        elif groups and packet.tag in _OF_KEYS:
            groups[-1].append(packet)
        else:
            raise ValueError(f"expected public keys, got an OpenPGP packet of type {packet.tag}")
    if not groups:
        raise ValueError("expected public keys, got none")
    return tuple(map(_certificate, groups))


def read_signatures(data: bytes) -> tuple[bytes, ...]:
    """The packets of a detached signature file, binary or armored; ValueError for anything else.

    What is no signature is refused: a program that is handed a signed *message* may report on the
    message's own text instead of on the archive.
    """
    packets = [
        packet for packet in _packets(_dearmored(data, b"SIGNATURE")) if packet.tag != _MARKER
    ]
    for packet in packets:
        if packet.tag != _SIGNATURE:
            raise ValueError(f"expected a signature, got an OpenPGP packet of type {packet.tag}")
    if not 0 < len(packets) <= _MAX_SIGNATURES:
        raise ValueError(f"expected 1 to {_MAX_SIGNATURES} signatures, got {len(packets)}")
    return tuple(packet.raw for packet in packets)


def _certificate(packets: list[_Packet]) -> Certificate:
    keys = [_public_key(packet.body) for packet in packets if packet.tag in _KEYS]
    return Certificate(keys[0], tuple(keys[1:]), b"".join(packet.raw for packet in packets))


def _public_key(body: bytes) -> PublicKey:
    """RFC 9580, 5.5.2 and 5.5.4: version, time, algorithm, key material; and its fingerprint."""
    if len(body) < 12:
        raise ValueError(f"expected a public key, got {len(body)} bytes")
    version, algorithm = body[0], body[5]
    if version == 4:
        # The fingerprint of these keys *is* SHA-1: a name here, not a proof.
        head, material = b"\x99" + len(body).to_bytes(2, "big"), body[6:]
        digest = hashlib.sha1(head + body, usedforsecurity=False).hexdigest()
    elif version in (5, 6):
        head, material = bytes([0x95 + version]) + len(body).to_bytes(4, "big"), body[10:]
        digest = hashlib.sha256(head + body).hexdigest()
    else:
        raise ValueError(f"expected a public key of version 4 to 6, got version {version}")
    bits = int.from_bytes(material[:2], "big") if algorithm in _COUNTED_IN_BITS else 0
    return PublicKey(digest.upper(), algorithm, bits)


def _dearmored(data: bytes, kind: bytes) -> bytes:
    """Binary data as it is; of armored text (RFC 9580, 6) the blocks of that kind, joined."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data or data[0] & 0x80:
        return data
    blocks: list[bytes] = []
    lines: list[bytes] | None = None
    for line in data.split(b"\n"):
        border = _ARMOR.fullmatch(line.rstrip(b"\r"))
        if border is None:
            if lines is not None:
                lines.append(line.strip())
        elif border[1] == b"BEGIN":
            lines = [] if border[2] == kind else None
        elif lines is not None:
            blocks.append(_decoded(lines))
            lines = None
    if lines is not None:
        raise ValueError("expected the end of an armored block, got the end of the file")
    if not blocks:
        name = kind.decode().lower()
        raise ValueError(f"expected an OpenPGP {name}, binary or armored, got something else")
    return b"".join(blocks)


def _decoded(lines: list[bytes]) -> bytes:
    """The bytes of one block: headers, an empty line, base64, and maybe a checksum, not compared:
    RFC 9580 forbids to refuse a block for it."""
    if b"" not in lines:
        raise ValueError("expected an empty line behind the armor's headers, got none")
    body = lines[lines.index(b"") + 1 :]
    text = b"".join(line for line in body if not (len(line) == 5 and line.startswith(b"=")))
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"expected base64 in the armor, got {error}") from error


def _packets(data: bytes) -> Iterator[_Packet]:
    """RFC 9580, 4.2. Packets of no stated length are refused: keys and signatures have one."""
    position = 0
    while position < len(data):
        tag, start, size = _packet_header(data, position)
        end = start + size
        if end > len(data):
            raise ValueError("expected a whole OpenPGP packet, got a truncated one")
        yield _Packet(tag, data[start:end], data[position:end])
        position = end


def _packet_header(data: bytes, at: int) -> tuple[int, int, int]:
    """(type, where the body begins, its size)."""
    first = data[at]
    if not first & 0x80:
        raise ValueError("expected an OpenPGP packet, got other bytes")
    if not first & 0x40:
        width = 1 << (first & 3)
        if width == 8:
            raise ValueError("expected an OpenPGP packet of stated length, got another")
        return first >> 2 & 0xF, at + 1 + width, _number(data, at + 1, width)
    length = _number(data, at + 1, 1)
    if length < 192:
        return first & 0x3F, at + 2, length
    if length < 224:
        return first & 0x3F, at + 3, (length - 192 << 8) + _number(data, at + 2, 1) + 192
    if length < 255:
        raise ValueError("expected an OpenPGP packet in one piece, got a part")
    return first & 0x3F, at + 6, _number(data, at + 2, 4)


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise ValueError("expected a whole OpenPGP packet, got a truncated one")
    return int.from_bytes(data[at : at + width], "big")
