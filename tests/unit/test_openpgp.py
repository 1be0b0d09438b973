"""OpenPGP key and signature files: read, or refused, whatever bytes they are."""

from __future__ import annotations

import base64
import hashlib
import os
import random

import pytest

from minid.formats.openpgp import read_certificates, read_signatures

DSA_KEY = b"\x04\x5f\x00\x00\x00\x11" + (1024).to_bytes(2, "big") + b"\xff" * 128 + bytes(50)
RSA_KEY = b"\x04\x5f\x00\x00\x00\x01" + (4096).to_bytes(2, "big") + b"\xff" * 512 + b"\0\x11\1\0\1"
EC_KEY = b"\x04\x5f\x00\x00\x00\x16" + bytes([9]) + bytes(9) + b"\1\7@" + bytes(32)


def old(tag: int, body: bytes, width: int = 2) -> bytes:
    """A packet with the header of before RFC 4880."""
    kind = {1: 0, 2: 1, 4: 2}[width]
    return bytes([0x80 | tag << 2 | kind]) + len(body).to_bytes(width, "big") + body


def new(tag: int, body: bytes, width: int = 1) -> bytes:
    size = len(body)
    length = {
        1: lambda: bytes([size]),
        2: lambda: bytes([192 + (size - 192 >> 8), size - 192 & 0xFF]),
        5: lambda: b"\xff" + size.to_bytes(4, "big"),
    }[width]()
    return bytes([0xC0 | tag]) + length + body


def armor(kind: str, data: bytes, *headers: str, end: str = "\n") -> bytes:
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    head = [f"-----BEGIN PGP {kind}-----", *headers, ""]
    return end.join([*head, *lines, "=AAAA", f"-----END PGP {kind}-----", ""]).encode()


def fingerprint(body: bytes) -> str:
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()


KEYS = old(6, DSA_KEY) + old(13, b"a", 1) + old(2, b"s", 1) + new(14, RSA_KEY, 2) + new(2, b"s")


def test_primary_key_and_subkey():
    (found,) = read_certificates(KEYS)
    assert [(key.fingerprint, key.algorithm, key.bits) for key in found.keys] == [
        (fingerprint(DSA_KEY), 17, 1024),
        (fingerprint(RSA_KEY), 1, 4096),
    ]
    assert found.packets == KEYS


def test_curves_have_no_bits():
    assert read_certificates(new(6, EC_KEY))[0].primary.bits == 0


@pytest.mark.parametrize(
    "packet", [old(6, RSA_KEY), old(6, RSA_KEY, 4), new(6, RSA_KEY, 2), new(6, RSA_KEY, 5)]
)
def test_lengths_of_packets(packet: bytes):
    assert read_certificates(packet)[0].primary.fingerprint == fingerprint(RSA_KEY)


def test_version_six_has_a_longer_fingerprint():
    body = b"\x06\0\0\0\0\x1b" + (32).to_bytes(4, "big") + bytes(32)
    expected = hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    assert read_certificates(new(6, body))[0].primary.fingerprint == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_armored_blocks_in_a_text(end: str):
    blocks = armor("PUBLIC KEY BLOCK", KEYS, "Version: 1", "Comment: x", end=end)
    other = armor("PUBLIC KEY BLOCK", old(6, RSA_KEY), end=end)
    found = read_certificates(b"\xef\xbb\xbfsome text\n" + blocks + b"more text\n" + other)
    assert [item.primary.fingerprint for item in found] == [
        fingerprint(DSA_KEY),
        fingerprint(RSA_KEY),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "got none"),
        (b"text", "something else"),
        (armor("SIGNATURE", KEYS), "something else"),
        (armor("PUBLIC KEY BLOCK", KEYS)[:200], "end of the file"),
        (armor("PUBLIC KEY BLOCK", KEYS).replace(b"-----\n\n", b"-----\n"), "empty line"),
        (armor("PUBLIC KEY BLOCK", KEYS).replace(b"A", b"!", 1), "base64"),
        (armor("PUBLIC KEY BLOCK", b""), "got none"),
        (old(5, DSA_KEY), "secret key"),
        (old(6, DSA_KEY) + old(7, DSA_KEY), "secret key"),
        (old(2, b"s"), "type 2"),
        (old(6, DSA_KEY) + old(11, b"text"), "type 11"),
        (KEYS[:-1], "truncated"),
        (old(6, DSA_KEY)[:2], "truncated"),
        (b"\xc6", "truncated"),
        (b"\x9b" + DSA_KEY, "stated length"),
        (b"\xc6\xe1" + DSA_KEY, "in one piece"),
        (old(6, b"\x03" + DSA_KEY), "version 3"),
        (old(6, b"\x04"), "1 bytes"),
        (KEYS + b"\0", "other bytes"),
    ],
)
def test_what_is_no_file_of_public_keys(data: bytes, reason: str):
    with pytest.raises(ValueError, match=reason):
        read_certificates(data)


def test_signatures_are_taken_apart():
    one, two = old(2, b"one"), new(2, b"two")
    assert read_signatures(one + two) == (one, two)
    assert read_signatures(armor("SIGNATURE", one) + armor("SIGNATURE", two)) == (one, two)
    assert read_signatures(new(10, b"PGP") + one) == (one,)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "got 0"),
        (new(4, b"x") + new(11, b"text") + new(2, b"s"), "type 4"),
        (new(8, b"compressed"), "type 8"),
        (new(2, b"s") + new(11, b"text"), "type 11"),
        (armor("MESSAGE", new(2, b"s")), "something else"),
        (new(2, b"") * 33, "got 33"),
        (new(10, b"PGP"), "got 0"),
    ],
)
def test_what_is_no_detached_signature(data: bytes, reason: str):
    with pytest.raises(ValueError, match=reason):
        read_signatures(data)


def test_damaged_files_raise_nothing_else():
    chance = random.Random(1)
    for _ in range(2000):
        data = bytearray(chance.choice([KEYS, armor("PUBLIC KEY BLOCK", KEYS)]))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        for read in (read_certificates, read_signatures):
            try:
                read(bytes(data[: chance.randrange(len(data))]))
            except ValueError:
                continue


@pytest.mark.parametrize(
    "data",
    [b"\x88\0" * (1 << 16), b"\n" * (1 << 17), os.urandom(1 << 17), KEYS + b"\x88\0" * (1 << 16)],
    ids=["packets", "lines", "random", "a key with many"],
)
def test_large_files_are_read_in_one_go(data: bytes):
    for read in (read_certificates, read_signatures):
        try:
            read(data)
        except ValueError:
            continue
