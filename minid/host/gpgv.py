"""gpgv: checking a detached OpenPGP signature, and what its status lines say.

The exit status is not the verdict: it is 0 for an expired key, and 2 where one of two signatures is
good. What counts is on the status lines, described in GnuPG's doc/DETAILS.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from minid.errors import HostError
from minid.host.process import run

Result = Literal["good", "expired", "expired-key", "revoked-key", "bad", "no-key", "error"]

_PREFIX = b"[GNUPG:] "
_RESULTS: dict[str, Result] = {
    "GOODSIG": "good",
    "EXPSIG": "expired",
    "EXPKEYSIG": "expired-key",
    "REVKEYSIG": "revoked-key",
    "BADSIG": "bad",
    "ERRSIG": "error",
}
_NO_PUBLIC_KEY = "9"  # GPG_ERR_NO_PUBKEY
_MAX_OUTPUT = 1 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """What gpgv found about one signature.

    `expired` is the signature's own end, `no-key` a key that is not in the keyring, `error` what
    could not be checked. `key` names the key for people. `fingerprint` (of the key that signed),
    `primary` (of the key it belongs to), the algorithms' numbers (RFC 9580, 9), `text` (a signature
    over text, whatever its line ends) and `made` (seconds since the epoch) are proven, and empty
    for the results `bad`, `no-key` and `error`.
    """

    result: Result
    key: str
    fingerprint: str = ""
    primary: str = ""
    key_algorithm: int = 0
    hash_algorithm: int = 0
    text: bool = False
    made: int = 0


def check_signatures(
    archive: Path, signatures: Sequence[bytes], keyring: bytes, *, timeout_s: float = 120
) -> tuple[Signature, ...]:
    """What gpgv says of each of the binary, detached signatures of the file, by `keyring`'s keys.

    HostError when gpgv is missing, crashes, does not end in time, or when the archive cannot be
    read.
    """
    found = _run_gpgv(archive, b"".join(signatures), keyring, timeout_s)
    if len(found) == len(signatures):
        return found
    # Of several it goes no further than the first bad one, and leaves all out when it does not
    # know the version of one.
    each = [_run_gpgv(archive, signature, keyring, timeout_s) for signature in signatures]
    return tuple(one[0] if one else Signature("error", "unknown") for one in each)


def _run_gpgv(
    archive: Path, signature: bytes, keyring: bytes, timeout_s: float
) -> tuple[Signature, ...]:
    with contextlib.ExitStack() as open_files:
        try:
            handles = [
                open_files.enter_context(_in_memory("keyring", keyring)),
                open_files.enter_context(_in_memory("signature", signature)),
                open_files.enter_context(archive.open("rb")).fileno(),
            ]
        except OSError as error:
            raise HostError(f"{archive}: expected to read, got {error.strerror}") from error
        finished = run(
            _gpgv_argv(*handles), timeout_s=timeout_s, pass_fds=handles, max_output=_MAX_OUTPUT
        )
    if finished.status < 0:
        raise HostError(f"gpgv: expected an exit status, got signal {-finished.status}")
    return parse_status(finished.stdout)


def parse_status(output: bytes) -> tuple[Signature, ...]:
    """The signatures that the lines of `gpgv --status-fd` tell of; never raises.

    Text from keys and signatures stands percent-escaped at the end of a line, so that a line that
    begins with the prefix is gpgv's own.
    """
    found: list[Signature] = []
    current: Signature | None = None
    for line in output.split(b"\n"):
        if not line.startswith(_PREFIX):
            continue
        word, *fields = line.removeprefix(_PREFIX).decode("utf-8", "replace").split(" ")
        if word == "NEWSIG" or word in _RESULTS:
            found += _finished(current)
            current = _outcome(word, fields) if word in _RESULTS else None
        elif word == "VALIDSIG" and current is not None:
            current = _proven(current, fields)
    return (*found, *_finished(current))


def _gpgv_argv(keyring: int, signature: int, archive: int) -> list[str]:
    """Descriptors instead of names: nothing is left behind, and no name reads as an option."""
    files = [f"/proc/self/fd/{handle}" for handle in (keyring, signature, archive)]
    # Nothing is read from or written to a home folder when the keyring has a path.
    return ["gpgv", "--homedir", "/nonexistent", "--status-fd", "1", "--keyring", *files]


@contextlib.contextmanager
def _in_memory(name: str, data: bytes) -> Iterator[int]:
    handle = os.memfd_create(f"minid-{name}", os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        yield handle


def _outcome(word: str, fields: Sequence[str]) -> Signature:
    key = fields[0] if fields else ""
    result = _RESULTS[word]
    if word == "ERRSIG" and fields[5:6] == [_NO_PUBLIC_KEY]:
        result = "no-key"
    if word == "ERRSIG" and len(fields) > 6 and fields[6] != "-":
        key = fields[6]
    return Signature(result, key)


def _proven(signature: Signature, fields: Sequence[str]) -> Signature:
    """VALIDSIG: fingerprint, date, time, end, version, -, key algorithm, hash, class, primary."""
    try:
        return replace(
            signature,
            fingerprint=fields[0],
            primary=fields[9],
            key_algorithm=int(fields[6]),
            hash_algorithm=int(fields[7]),
            text=int(fields[8], 16) != 0,
            made=int(fields[2]),
        )
    except (IndexError, ValueError):
        return signature


def _finished(signature: Signature | None) -> tuple[Signature, ...]:
    """A signature that holds without a VALIDSIG line was not understood."""
    if signature is None:
        return ()
    proven = signature.result in ("bad", "no-key", "error") or signature.fingerprint
    return (signature if proven else replace(signature, result="error"),)
