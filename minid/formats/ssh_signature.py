"""Signatures of OpenSSH (`ssh-keygen -Y sign`): what one says of itself, before it is checked.

The format is of PROTOCOL.sshsig in OpenSSH's sources: a blob in armour, which names its key, its
namespace and the hash of what was signed. `host.ssh_keygen` has the program check it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

MAX_SIGNATURE_BYTES = 64 << 10
"""Of a key of 16 kbit RSA it is 5 KiB."""
BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_ARMOUR = re.compile(
    rb"\s*-----BEGIN SSH SIGNATURE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END SSH SIGNATURE-----\s*"
)
_PUBLIC_KEY = re.compile(
    r"(?P<type>(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]{1,60}) (?P<blob>[A-Za-z0-9+/]{16,22000}={0,2})"
    r"(?: [^\r\n]*)?\r?\n?"
)
_MAX_FIELD = 32 << 10


@dataclass(frozen=True, slots=True)
class SshSignature:
    """What a signature says of itself; `key` is the fingerprint as ssh-keygen prints it."""

    key: str
    namespace: str
    hash: str


def fingerprint(blob: bytes) -> str:
    """`SHA256:…` of a public key's bytes, as ssh-keygen prints it."""
    packed = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{packed.rstrip('=')}"


def parse_ssh_signature(data: bytes) -> SshSignature:
    """Read a signature's own words; ValueError for what is none."""
    if len(data) > MAX_SIGNATURE_BYTES:
        raise ValueError(f"expected at most {MAX_SIGNATURE_BYTES} bytes, got more")
    armour = _ARMOUR.fullmatch(data)
    if armour is None:
        raise ValueError("expected an OpenSSH signature in armour")
    try:
        blob = base64.b64decode(re.sub(rb"[\r\n]", b"", armour[1]), validate=True)
    except binascii.Error as error:
        raise ValueError(f"expected base64: {error}") from error
    if blob[:10] != b"SSHSIG\x00\x00\x00\x01":
        raise ValueError("expected an OpenSSH signature of version 1")
    fields, rest = [], blob[10:]
    for _ in range(5):
        field, rest = _take(rest)
        fields.append(field)
    if rest:
        raise ValueError("expected five fields, got more")
    key, namespace, _, named_hash, _ = fields
    return SshSignature(fingerprint(key), _text(namespace), _text(named_hash))


def _take(data: bytes) -> tuple[bytes, bytes]:
    """A string of RFC 4251 and what follows it."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 or size > _MAX_FIELD or len(data) < 4 + size:
        raise ValueError("expected a whole field, got a part")
    return data[4 : 4 + size], data[4 + size :]


def _text(data: bytes) -> str:
    text = data.decode("ascii", "strict") if data.isascii() else ""
    if not text or not text.isprintable() or len(text) > 100:
        raise ValueError("expected a word, got other bytes")
    return text


def parse_ssh_public_key(text: str) -> tuple[str, str]:
    """`TYPE BASE64` and the fingerprint of a public key file's one line; ValueError otherwise."""
    found = _PUBLIC_KEY.fullmatch(text)
    if found is None:
        raise ValueError("expected the one line of an OpenSSH public key")
    try:
        blob = base64.b64decode(found["blob"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"expected base64: {error}") from error
    if _take(blob)[0] != found["type"].encode():
        raise ValueError("expected a key of the type that it names")
    return f"{found['type']} {found['blob']}", fingerprint(blob)
