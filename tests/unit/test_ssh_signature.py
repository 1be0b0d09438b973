"""What OpenSSH's signatures and public keys say of themselves."""

from __future__ import annotations

import base64
import random

import pytest

from minid.formats.ssh_signature import (
    MAX_SIGNATURE_BYTES,
    fingerprint,
    parse_ssh_public_key,
    parse_ssh_signature,
)


def text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


KEY = text(b"ssh-ed25519") + text(b"k" * 32)


def armoured(blob: bytes) -> bytes:
    packed = base64.encodebytes(blob)
    return b"-----BEGIN SSH SIGNATURE-----\n" + packed + b"-----END SSH SIGNATURE-----\n"


def blob(namespace: bytes = b"minid", version: int = 1) -> bytes:
    fields = (KEY, namespace, b"", b"sha512", text(b"ssh-ed25519") + text(b"s" * 64))
    return b"SSHSIG" + version.to_bytes(4, "big") + b"".join(map(text, fields))


def test_a_signature_names_key_and_namespace() -> None:
    said = parse_ssh_signature(armoured(blob()))
    assert (said.key, said.namespace, said.hash) == (fingerprint(KEY), "minid", "sha512")
    assert parse_ssh_signature(armoured(blob()).replace(b"\n", b"\r\n")) == said


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        armoured(blob(version=2)),
        armoured(blob()[:-1]),
        armoured(blob() + b"x"),
        armoured(blob(b"")),
        armoured(blob(b"a\nb")),
        armoured(blob(b"\xff")),
        armoured(b"SSHSIG\x00\x00\x00\x01\xff\xff\xff\xff"),
        armoured(blob()) * 2,
        b"x" * (MAX_SIGNATURE_BYTES + 1),
    ],
)
def test_what_is_no_signature(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_ssh_signature(data)


def test_mutants_raise_nothing_else() -> None:
    chosen, data = random.Random(7), armoured(blob())
    for _ in range(2000):
        mutant = bytearray(data)
        mutant[chosen.randrange(len(mutant))] = chosen.randrange(256)
        try:
            parse_ssh_signature(bytes(mutant))
        except ValueError:
            continue


def test_a_public_key_without_its_comment() -> None:
    packed = base64.b64encode(KEY).decode()
    line = f"ssh-ed25519 {packed}"
    assert parse_ssh_public_key(f"{line} ann@example\n") == (line, fingerprint(KEY))
    assert parse_ssh_public_key(line) == (line, fingerprint(KEY))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        f"ssh-rsa {base64.b64encode(KEY).decode()}",
        f"ssh-ed25519 {base64.b64encode(KEY).decode()}\nssh-ed25519 x",
        f"cert-authority ssh-ed25519 {base64.b64encode(KEY).decode()}",
        "ssh-ed25519 AAAAAAAAAAAAAAAA=A",
    ],
)
def test_what_is_no_public_key(line: str) -> None:
    with pytest.raises(ValueError):
        parse_ssh_public_key(line)
