"""minisign signatures, made with keys of the test's own."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pytest
from minisign import KeyPair

from minid.formats import minisign
from minid.formats.minisign import (
    BadSignatureError,
    LockedKeyError,
    check_minisign,
    check_minisign_bytes,
    named_file,
    open_secret_key,
    parse_public_key,
    public_key_id,
    signature_key,
)

# The example of the program's own page: `minisign -Vm myfile.txt -P RW…`.
PAGES_KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
PAIR = KeyPair.generate()
KEY = PAIR.public_key.to_base64().decode()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "x-1.0.tar.gz"
    path.write_bytes(b"archive" * 1000)
    return path


def sign(data: bytes, *, prehash: bool = True, comment: str = "timestamp:1\tfile:x") -> bytes:
    return bytes(PAIR.secret_key.sign(data, prehash=prehash, trusted_comment=comment)) + b"\n"


def check(archive: Path, signature: bytes, key: str = KEY) -> str:
    with archive.open("rb") as opened:
        return check_minisign(key, signature, opened)


@pytest.mark.parametrize("prehash", [True, False])
def test_good_signature_gives_its_trusted_comment(archive: Path, prehash: bool):
    signature = sign(archive.read_bytes(), prehash=prehash)
    assert check(archive, signature) == "timestamp:1\tfile:x"
    assert check(archive, signature.replace(b"\n", b"\r\n")) == "timestamp:1\tfile:x"


@pytest.mark.parametrize("prehash", [True, False])
def test_other_bytes(archive: Path, prehash: bool):
    signature = sign(archive.read_bytes() + b"!", prehash=prehash)
    with pytest.raises(BadSignatureError, match="failed"):
        check(archive, signature)


def test_changed_trusted_comment(archive: Path):
    signature = sign(archive.read_bytes()).replace(b"file:x", b"file:y")
    with pytest.raises(BadSignatureError):
        check(archive, signature)


def test_signature_by_another_key(archive: Path):
    other = KeyPair.generate().public_key.to_base64().decode()
    with pytest.raises(BadSignatureError, match="key identifiers"):
        check(archive, sign(archive.read_bytes()), other)


def test_another_key_with_the_same_id(archive: Path):
    other = base64.b64decode(KeyPair.generate().public_key.to_base64())
    mixed = base64.b64encode(base64.b64decode(KEY)[:10] + other[10:]).decode()
    with pytest.raises(BadSignatureError, match="failed"):
        check(archive, sign(archive.read_bytes()), mixed)


def test_kind_of_signature_cannot_be_swapped(archive: Path):
    lines = sign(archive.read_bytes(), prehash=True).splitlines()
    raw = base64.b64decode(lines[1])
    lines[1] = base64.b64encode(b"Ed" + raw[2:])
    with pytest.raises(BadSignatureError):
        check(archive, b"\n".join(lines))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\n" * 4,
        os.urandom(500),
        b"\xff" * 10_000,
        b"untrusted comment: x\n!!!\ntrusted comment: x\n!!!\n",
        b"untrusted comment: x\nRW==\ntrusted comment: x\nRW==\n",
        b"untrusted comment: x\n" + base64.b64encode(b"XX" + bytes(72)) + b"\ntrusted comment: \n"
        b"" + base64.b64encode(bytes(64)),
        b"untrusted comment: \xff\nRW\ntrusted comment: \xff\nRW\n",
        b"x" * (10 << 20),
    ],
    ids=["empty", "lines", "random", "ones", "base64", "short", "algorithm", "utf-8", "10 MB"],
)
def test_garbage_is_a_value_error(archive: Path, signature: bytes):
    with pytest.raises(ValueError, match=r".") as caught:
        check(archive, signature)
    assert not isinstance(caught.value, BadSignatureError)


def test_large_file_with_a_legacy_signature(archive: Path, monkeypatch: pytest.MonkeyPatch):
    legacy, prehashed = (sign(archive.read_bytes(), prehash=kind) for kind in (False, True))
    monkeypatch.setattr(minisign, "MAX_LEGACY_BYTES", 100)
    with pytest.raises(ValueError, match="legacy"):
        check(archive, legacy)
    assert check(archive, prehashed)


def test_public_keys():
    assert parse_public_key(PAGES_KEY) == PAGES_KEY
    assert parse_public_key(f"untrusted comment: key\r\n{PAGES_KEY}\r\n") == PAGES_KEY
    for text in ("", "RWQ", PAGES_KEY + "A", f"a\nb\n{PAGES_KEY}", "é" * 56, PAGES_KEY[:-4]):
        with pytest.raises(ValueError, match=r"."):
            parse_public_key(text)


def test_file_that_a_trusted_comment_names():
    assert named_file("timestamp:1\tfile:x-1.0.tar.gz\thashed") == "x-1.0.tar.gz"
    assert named_file("timestamp:1") == ""
    assert named_file("about file:x") == ""


# signing


def test_what_is_signed_holds(archive: Path):
    opened = open_secret_key(bytes(PAIR.secret_key), None)
    with archive.open("rb") as file:
        made = opened.sign(file, "timestamp:1\tfile:x")
    assert check(archive, made) == "timestamp:1\tfile:x"
    assert (opened.public, signature_key(made)) == (KEY, opened.id)
    assert public_key_id(PAGES_KEY) == "E7620F1842B4E81F"  # as the program prints it
    assert str(PAIR.secret_key.to_base64()) not in repr(opened)


def test_a_locked_key_wants_its_password():
    pair = KeyPair.generate()
    pair.secret_key.encrypt("canary", opslimit=1, memlimit=1)
    data = bytes(pair.secret_key)
    for password in (None, "", "canary-not"):
        with pytest.raises(LockedKeyError) as caught:
            open_secret_key(data, password)
        assert "canary" not in str(caught.value)
    opened = open_secret_key(data, "canary")
    made = opened.sign(io.BytesIO(b"x"), "c")
    assert check_minisign_bytes(pair.public_key.to_base64().decode(), made, b"x") == "c"


def test_damaged_secret_keys_are_refused_without_their_bytes():
    data = bytes(PAIR.secret_key)
    packed = bytearray(base64.b64decode(data.splitlines()[1]))
    packed[70] ^= 1  # in the seed: the key's checksum is not looked at where there is no password
    damaged = data.splitlines()[0] + b"\n" + base64.b64encode(bytes(packed)) + b"\n"
    for bad in (b"", data[:-9], b"x" * 9000, bytes(PAIR.public_key), damaged):
        with pytest.raises(ValueError) as caught:
            open_secret_key(bad, None)
        assert len(str(caught.value)) < 100
        assert caught.value.__suppress_context__
