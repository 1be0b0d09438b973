"""Whether a pinned key signed exactly these bytes. What a signature says of itself decides nothing.

SignatureError is what everything ends with that is not a signature which holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from minid.errors import SignatureError
from minid.formats.minisign import (
    MAX_SIGNATURE_BYTES as MAX_MINISIGN_BYTES,
)
from minid.formats.minisign import (
    check_minisign,
    parse_public_key,
    public_key_id,
    signature_key,
)
from minid.formats.ssh_signature import (
    BEGIN,
    MAX_SIGNATURE_BYTES,
    parse_ssh_public_key,
    parse_ssh_signature,
)
from minid.host.signing import KeyFileError
from minid.host.ssh_keygen import NAMESPACES, check_with_ssh, find_signers

MAX_BYTES = max(MAX_SIGNATURE_BYTES, MAX_MINISIGN_BYTES)
_MAX_ALLOWED_BYTES = 1 << 20
_LITERAL = re.compile(r"RW[A-Za-z0-9+/]{54}|(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*.*")
_OWN_NAME = "pinned"


@dataclass(frozen=True, slots=True)
class Pinned:
    """Whose signatures are taken: a public key of minisign (base64), or OpenSSH's allowed signers.
    `name` is for people."""

    kind: Literal["minisign", "openssh"]
    name: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A signature that holds. `signer` is the allowed signer's name, `comment` minisign's trusted
    one; both may be empty."""

    kind: str
    key: str
    signer: str = ""
    comment: str = ""


def load_public_key(text: str) -> Pinned:
    """A public key, of minisign or OpenSSH: a file's name, or the key itself. KeyFileError for
    anything else."""
    shown, data = text, text.encode()
    if not _LITERAL.fullmatch(text):
        data = _read(Path(text), "a public key")
    try:
        lines = data.decode("ascii")
        if re.match(r"(sk-)?(ssh|ecdsa)-", lines):
            line, key = parse_ssh_public_key(lines)
            options = f'namespaces="{",".join(NAMESPACES)}"'
            return Pinned("openssh", key, f"{_OWN_NAME} {options} {line}\n".encode())
        key = parse_public_key(lines)
        return Pinned("minisign", public_key_id(key), key.encode())
    except ValueError:
        raise KeyFileError(
            f"{shown}: expected a public key of minisign or OpenSSH, got something else"
        ) from None


def load_allowed_signers(path: Path) -> Pinned:
    """A file of allowed signers (ssh-keygen(1)). KeyFileError where it cannot be read."""
    return Pinned("openssh", str(path), _read(path, "allowed signers"))


def _read(path: Path, what: str) -> bytes:
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "no such file")
        with path.open("rb") as file:
            data = file.read(_MAX_ALLOWED_BYTES + 1)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise KeyFileError(f"{path}: expected {what}, got {got}") from error
    if len(data) > _MAX_ALLOWED_BYTES:
        raise KeyFileError(f"{path}: expected {what}, got more than {_MAX_ALLOWED_BYTES} bytes")
    return data


def check_any(where: str, pinned: Pinned, signatures: Iterable[bytes], data: BinaryIO) -> Held:
    """What the first of the signatures that holds says; SignatureError where none does."""
    found = list(signatures)
    refused = []
    for signature in [one for one in found if _is_of(pinned, one)] or found:
        data.seek(0)
        try:
            return check_signature(where, pinned, signature, data)
        except SignatureError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    raise SignatureError(
        f"{where}: expected a signature by {pinned.name}, got none",
        hint="`minid sign` makes one",
    )


def check_signature(where: str, pinned: Pinned, signature: bytes, data: BinaryIO) -> Held:
    """What a signature says, once it holds for all that is left of the open file `data` by a pinned
    key. SignatureError otherwise, be it no signature at all."""
    try:
        if len(signature) > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes, got more")
        if not _is_of(pinned, signature):
            raise ValueError(f"expected one of {pinned.kind}, got another kind")
        if pinned.kind == "openssh":
            return _check_openssh(pinned, signature, data)
        return _check_minisign(pinned, signature, data)
    except ValueError as error:
        raise SignatureError(
            f"{where}: expected a signature by {pinned.name} that holds, got: {error}"
        ) from error


def _is_of(pinned: Pinned, signature: bytes) -> bool:
    """Whether a signature looks like one of the pinned kind."""
    return signature.lstrip().startswith(BEGIN) == (pinned.kind == "openssh")


def _check_minisign(pinned: Pinned, signature: bytes, data: BinaryIO) -> Held:
    key = signature_key(signature)
    if key != pinned.name:
        raise ValueError(f"one by the key {key}")
    comment = check_minisign(pinned.value.decode(), signature, data)
    return Held("minisign", key, comment=comment)


def _check_openssh(pinned: Pinned, signature: bytes, data: BinaryIO) -> Held:
    said = parse_ssh_signature(signature)
    if said.namespace not in NAMESPACES:
        raise ValueError(f"one for the namespace {said.namespace!a}")
    signers = find_signers(signature, pinned.value)
    if not signers:
        raise ValueError(f"one by the key {said.key}")
    why = ""
    for signer in signers:
        data.seek(0)
        why = check_with_ssh(signature, pinned.value, signer, said.namespace, data)
        if not why:
            return Held("openssh", said.key, "" if signer == _OWN_NAME else signer)
    raise ValueError(why)
