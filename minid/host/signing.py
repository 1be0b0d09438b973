"""Detached signatures of files and manifests by an operator's key, of minisign or OpenSSH.

What a secret key holds stays in this process (minisign) or in ssh-keygen and the agent (OpenSSH).
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from minid.errors import ConfigError, HostError
from minid.formats.minisign import LockedKeyError, MinisignKey, is_public_key, open_secret_key
from minid.formats.ssh_signature import parse_ssh_signature
from minid.host.ssh_keygen import sign_with_ssh

PASSWORD_CREDENTIAL = "sign.password"  # noqa: S105 (a file's name)
SUFFIXES = {"minisign": ".minisig", "openssh": ".sig"}
_MAX_KEY_BYTES = 64 << 10
_MINISIGN = b"untrusted comment:"
_OPENSSH = (b"-----BEGIN ", b"ssh-", b"ecdsa-", b"sk-")


class KeyFileError(ConfigError):
    """A key that was named is not there, is none, or is locked."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that is open. `key` names its public half: minisign's id, OpenSSH's fingerprint."""

    kind: Literal["minisign", "openssh"]
    key: str
    _sign: Callable[[BinaryIO, str], bytes] = field(repr=False)

    @property
    def suffix(self) -> str:
        """What a signature's file has behind the name of what is signed."""
        return SUFFIXES[self.kind]

    def sign_file(self, path: Path, name: str = "") -> bytes:
        """A signature of a file, as its own file has it; minisign's trusted comment says `name`."""
        with path.open("rb") as file:
            return self._sign(file, name or path.name)

    def sign_bytes(self, data: bytes, name: str) -> bytes:
        """A signature of bytes."""
        with open_bytes(data) as file:
            return self._sign(file, name)


@contextmanager
def open_bytes(data: bytes) -> Iterator[BinaryIO]:
    """Bytes as an open file: ssh-keygen reads a descriptor."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


def open_signer(
    key: Path, environ: Mapping[str, str], ask: Callable[[], str] | None = None
) -> Signer:
    """Open a secret key file. KeyFileError where that is not possible; nothing of its bytes is
    told. A password comes from systemd's credential `sign.password`, else from `ask`."""
    data = _read_key(key)
    if data.startswith(_MINISIGN):
        return _minisign_signer(key, data, environ, ask)
    if data.startswith(_OPENSSH):
        return _openssh_signer(key, environ)
    raise KeyFileError(f"{key}: expected a secret key of minisign or OpenSSH, got something else")


def _read_key(key: Path) -> bytes:
    try:
        if key.exists() and not key.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "something that is no file")
        with key.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        raise KeyFileError(
            f"{key}: expected a secret key to sign with, got {error.strerror or error}",
            hint="sign.key in config.toml, the credential sign.key of systemd, or --key names it",
        ) from error
    _refuse_open_key(key, data)
    return data


def _refuse_open_key(key: Path, data: bytes) -> None:
    """Secret keys are for who signs, and with minisign for a service's group; a public half is for
    all."""
    if data.startswith(_OPENSSH[1:]):
        return
    if is_public_key(data):
        raise KeyFileError(f"{key}: expected a secret key of minisign, got a public one")
    found = key.stat()
    # ssh-keygen itself takes no key of its user that a group can read, and says little of why.
    own_ssh = data.startswith(_OPENSSH[0]) and found.st_uid == os.geteuid()
    if found.st_mode & (0o077 if own_ssh else 0o007):
        raise KeyFileError(
            f"{key}: expected a secret key that others cannot read, got one they can",
            hint=f"chmod 600 {key}",
        )


def _minisign_signer(
    key: Path, data: bytes, environ: Mapping[str, str], ask: Callable[[], str] | None
) -> Signer:
    opened = _open_minisign(key, data, environ, ask)

    def sign(file: BinaryIO, name: str) -> bytes:
        # As the program words it; a comment has no room for other characters.
        shown = "".join(c if " " <= c < "\x7f" else "?" for c in name)
        return opened.sign(file, f"timestamp:{int(time.time())}\tfile:{shown}\thashed")

    return Signer("minisign", opened.id, sign)


def _open_minisign(
    key: Path, data: bytes, environ: Mapping[str, str], ask: Callable[[], str] | None
) -> MinisignKey:
    password = _given_password(environ)
    try:
        try:
            return open_secret_key(data, password)
        except LockedKeyError:
            if password is not None or ask is None:
                raise
            return open_secret_key(data, ask())
    except LockedKeyError as error:
        raise KeyFileError(
            f"{key}: {error}",
            hint="LoadCredential=sign.password:FILE for the service, `minid sign` on a terminal, "
            "or a key without one (minisign -G -W)",
        ) from None
    except ValueError as error:
        raise KeyFileError(f"{key}: {error}") from None


def _given_password(environ: Mapping[str, str]) -> str | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    try:
        data = Path(folder, PASSWORD_CREDENTIAL).read_bytes()[:1024]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(
            f"{folder}/{PASSWORD_CREDENTIAL}: expected to be read, got {error.strerror}"
        ) from error
    return data.decode("utf-8", "replace").rstrip("\r\n")


def _openssh_signer(key: Path, environ: Mapping[str, str]) -> Signer:
    def sign(file: BinaryIO, _: str) -> bytes:
        try:
            return sign_with_ssh(key, file, environ)
        except ValueError as error:
            raise KeyFileError(
                f"{key}: expected ssh-keygen to sign with it, got: {error}",
                hint="a key with a passphrase signs through an agent: ssh-add it, and name its "
                "public half",
            ) from None

    with open_bytes(b"") as nothing:
        made = sign(nothing, "")
    try:
        found = parse_ssh_signature(made)
    except ValueError as error:
        raise HostError(f"ssh-keygen: expected a signature, got another thing: {error}") from error
    return Signer("openssh", found.key, sign)
