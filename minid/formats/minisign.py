"""minisign: whether a signature file holds under a public key, what its trusted comment says, and
signatures of our own.

The format is of https://jedisct1.github.io/minisign; the library py-minisign reads, checks and
makes it. Both kinds are read: of the bytes themselves (`Ed`), and of their BLAKE2b digest (`ED`),
which is what is made.
"""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from minisign import SecretKey

MAX_SIGNATURE_BYTES = 16 << 10
"""The program itself takes comments of up to 8 KiB."""
MAX_LEGACY_BYTES = 256 << 20
"""A signature of the bytes themselves is checked with all of them in memory."""
MAX_KEY_BYTES = 4 << 10


class BadSignatureError(ValueError):
    """The signature was read and does not hold."""


class LockedKeyError(ValueError):
    """A secret key needs a password, or another one."""


def parse_public_key(text: str) -> str:
    """The key in base64, from that or from a key file of two lines; ValueError otherwise."""
    from minisign import PublicKey

    lines = text.strip().splitlines()
    key = PublicKey.from_base64(lines[-1]) if len(lines) in (1, 2) else None
    if key is None:
        raise ValueError(f"expected a minisign public key, got {len(lines)} lines")
    return str(key.to_base64().decode())


def is_public_key(data: bytes) -> bool:
    """Whether these bytes are a public key's file, which looks like a secret one's."""
    try:
        return len(data) <= MAX_KEY_BYTES and bool(parse_public_key(data.decode("ascii")))
    except ValueError:
        return False


def check_minisign(key: str, signature: bytes, archive: BinaryIO) -> str:
    """The signature's trusted comment, once it holds for the open file `archive` by `key` (base64).

    BadSignatureError where it does not hold or another key made it, ValueError where it is no
    signature or cannot be checked.
    """
    return _check(key, signature, archive, os.fstat(archive.fileno()).st_size)


def _check(key: str, signature: bytes, archive: BinaryIO, size: int) -> str:
    from minisign import PublicKey, Signature, VerifyError

    if len(signature) > MAX_SIGNATURE_BYTES:
        raise ValueError(f"expected at most {MAX_SIGNATURE_BYTES} bytes, got more")
    parsed = Signature.from_bytes(signature)
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
    for part in trusted_comment.split("\t"):
        if part.startswith("file:"):
            return part.removeprefix("file:")
    return ""


def signature_key(signature: bytes) -> str:
    """The id of the key that a signature says made it, as `minisign` prints it; ValueError for what
    is no signature."""
    from minisign import Signature

    if len(signature) > MAX_SIGNATURE_BYTES:
        raise ValueError(f"expected at most {MAX_SIGNATURE_BYTES} bytes, got more")
    Signature.from_bytes(signature)
    return _key_id(signature.splitlines()[1])


def public_key_id(key: str) -> str:
    """The id of a public key (base64), as `minisign` prints it."""
    return _key_id(key.encode())


def _key_id(packed: bytes) -> str:
    """Both a key and a signature have it behind two bytes, its low byte first."""
    return base64.b64decode(packed)[2:10][::-1].hex().upper()


@dataclass(frozen=True, slots=True)
class MinisignKey:
    """A secret key that is open. Nothing shows it; `id` is the public key's."""

    id: str
    public: str
    _secret: SecretKey = field(repr=False)

    def sign(self, data: BinaryIO, trusted_comment: str) -> bytes:
        """A prehashed signature of what is left of `data`, as its file has it."""
        made = self._secret.sign(
            data,
            untrusted_comment=f"signature from minisign secret key {self.id}",
            trusted_comment=trusted_comment,
        )
        return bytes(made) + b"\n"


def open_secret_key(data: bytes, password: str | None) -> MinisignKey:
    """Open a secret key file. LockedKeyError where it needs a password and has none, or another;
    ValueError, which says nothing of what is in it, for anything else."""
    from minisign import Error, SecretKey

    try:
        if len(data) > MAX_KEY_BYTES:
            raise ValueError("too long")
        secret = SecretKey.from_bytes(data)
        locked = secret.is_encrypted()
    except (ValueError, Error):
        raise ValueError("expected a minisign secret key of two lines") from None
    if locked and password is None:
        raise LockedKeyError("expected a password for the key, got none")
    try:
        secret.decrypt(password or "")
        public = secret.get_public_key().to_base64().decode()
        key = MinisignKey(public_key_id(public), public, secret)
        check_minisign_bytes(public, key.sign(io.BytesIO(b""), "-"), b"")
    except (ValueError, Error, MemoryError):
        if locked:
            raise LockedKeyError("expected the key's password, got another") from None
        raise ValueError("expected a minisign secret key, got a damaged one") from None
    return key


def check_minisign_bytes(key: str, signature: bytes, data: bytes) -> str:
    """`check_minisign` of bytes."""
    return _check(key, signature, io.BytesIO(data), len(data))
