"""minisign: whether a signature file holds under a public key, and what its trusted comment says.

The format is of https://jedisct1.github.io/minisign; the library py-minisign reads and checks it.
Both kinds are read: of the bytes themselves (`Ed`), and of their BLAKE2b digest (`ED`).
"""

from __future__ import annotations

import os
from typing import BinaryIO

MAX_SIGNATURE_BYTES = 16 << 10
"""The program itself takes comments of up to 8 KiB."""
MAX_LEGACY_BYTES = 256 << 20
"""A signature of the bytes themselves is checked with all of them in memory."""


class BadSignatureError(ValueError):
    """The signature was read and does not hold."""


def parse_public_key(text: str) -> str:
    """The key in base64, from that or from a key file of two lines; ValueError otherwise."""
    from minisign import PublicKey

    lines = text.strip().splitlines()
    key = PublicKey.from_base64(lines[-1]) if len(lines) in (1, 2) else None
    if key is None:
        raise ValueError(f"expected a minisign public key, got {len(lines)} lines")
    return str(key.to_base64().decode())


def check_minisign(key: str, signature: bytes, archive: BinaryIO) -> str:
    """The signature's trusted comment, once it holds for the open file `archive` by `key` (base64).

    BadSignatureError where it does not hold or another key made it, ValueError where it is no
    signature or cannot be checked.
    """
    from minisign import PublicKey, Signature, VerifyError

    if len(signature) > MAX_SIGNATURE_BYTES:
        raise ValueError(f"expected at most {MAX_SIGNATURE_BYTES} bytes, got more")
    parsed = Signature.from_bytes(signature)
    size = os.fstat(archive.fileno()).st_size
    if not parsed.is_prehashed() and size > MAX_LEGACY_BYTES:
        raise ValueError(
            f"expected a prehashed signature of a file of {size} bytes, got a legacy one"
        )
    try:
        PublicKey.from_base64(key).verify(archive, parsed)
    except VerifyError as error:
        raise BadSignatureError(str(error)) from error
    return str(parsed.trusted_comment)


def named_file(trusted_comment: str) -> str:
    """The file that a trusted comment of the minisign program names; empty where it names none."""
    for field in trusted_comment.split("\t"):
        if field.startswith("file:"):
            return field.removeprefix("file:")
    return ""
