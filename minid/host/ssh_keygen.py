"""ssh-keygen: making and checking OpenSSH's detached signatures (`-Y sign`, `-Y verify`).

The program opens the key itself, or has an agent sign: minid never sees the secret.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from minid.formats.ssh_signature import MAX_SIGNATURE_BYTES
from minid.host import process
from minid.host.files import remove_tree

NAMESPACES = ("minid", "file")
"""What a signature may be for: ours, and what ssh-keygen's manual takes for files."""
_TIMEOUT_S = 600.0


def sign_with_ssh(key: Path, data: BinaryIO, environ: Mapping[str, str]) -> bytes:
    """A signature of what is left of the open file `data`, in armour. ValueError with the program's
    own words where it makes none: the key is locked and no agent has it, say."""
    argv = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACES[0], "-f", str(key.absolute())]
    own = process.clean_environ()
    if agent := environ.get("SSH_AUTH_SOCK"):
        own["SSH_AUTH_SOCK"] = agent
    done = process.run(argv, timeout_s=_TIMEOUT_S, stdin=data.fileno(), environ=own)
    if done.status or not done.stdout:
        raise ValueError(_last_words(done.stderr) or f"status {done.status}")
    return done.stdout


def find_signers(signature: bytes, allowed: bytes) -> tuple[str, ...]:
    """The names that a file of allowed signers has for a signature's key; none where it has it
    not."""
    with _files(signature, allowed) as (named, listed):
        argv = ["ssh-keygen", "-Y", "find-principals", "-s", str(named), "-f", str(listed)]
        done = process.run(argv, timeout_s=_TIMEOUT_S, max_output=1 << 20)
    if done.status:
        return ()
    words = done.stdout.decode("utf-8", "replace").replace("\n", ",").split(",")
    return tuple(dict.fromkeys(word for word in words if word and not word.startswith("!")))


def check_with_ssh(
    signature: bytes, allowed: bytes, signer: str, namespace: str, data: BinaryIO
) -> str:
    """Empty where the signature is by this allowed signer and of what is left of the open file
    `data`, else why not."""
    with _files(signature, allowed) as (named, listed):
        argv = ["ssh-keygen", "-Y", "verify", "-f", str(listed), "-I", signer]
        argv += ["-n", namespace, "-s", str(named)]
        done = process.run(argv, timeout_s=_TIMEOUT_S, stdin=data.fileno(), max_output=1 << 20)
    if done.status == 0:
        return ""
    why = _last_words(done.stderr) or _last_words(done.stdout) or f"status {done.status}"
    return why.replace(str(listed), "the allowed signers")


@contextlib.contextmanager
def _files(signature: bytes, allowed: bytes) -> Iterator[tuple[Path, Path]]:
    """Both as files of a folder that nobody else can write to."""
    assert len(signature) <= MAX_SIGNATURE_BYTES
    folder = Path(tempfile.mkdtemp(prefix="minid-signature-"))
    try:
        named, listed = folder / "signature", folder / "allowed"
        named.write_bytes(signature)
        listed.write_bytes(allowed)
        yield named, listed
    finally:
        remove_tree(folder)


def _last_words(data: bytes) -> str:
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300].strip() if lines else ""
