"""The SHA-256 of what a compressed archive holds, made by a child that has given up its rights.

`inner_digest` starts this module as a program of its own: the bytes may be anybody's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from minid.errors import HostError, MinidError, UnpackError
from minid.formats.digest import Digest
from minid.host.confine import become, bind_to_parent, set_limits

_NOBODY = 65534
_MAX_ANSWER = 1 << 14
_CPU_S = 600
_MEMORY_BYTES = 1 << 30


def inner_digest(archive: Path, *, max_bytes: int = 4 << 30, wall_s: float = 900) -> Digest:
    """The digest of the archive's decompressed bytes (gz, bz2, xz, zst; others as they are).

    UnpackError for a damaged stream, for more than `max_bytes` and for a child that dies of its
    limits; HostError where the archive cannot be read.
    """
    from minid.host.process import run

    with contextlib.ExitStack() as opened:
        try:
            handle = opened.enter_context(archive.open("rb")).fileno()
        except OSError as error:
            raise HostError(f"{archive}: expected to read, got {error.strerror}") from error
        try:
            finished = run(
                [sys.executable, "-I", "-m", __name__, str(handle), str(max_bytes)],
                timeout_s=wall_s,
                cwd=Path("/"),
                pass_fds=(handle,),
                max_output=_MAX_ANSWER,
            )
        except HostError as error:
            raise UnpackError(f"{archive.name}: decompressor: {error.message}") from error
    word, _, rest = finished.stdout.decode("utf-8", "replace").strip().partition(" ")
    if word == "host":
        raise HostError(f"{archive.name}: {rest}")
    try:
        return Digest.parse(rest if word == "digest" else "")
    except ValueError:
        got = rest or f"exit status {finished.status}"
        raise UnpackError(f"{archive.name}: expected a sound archive, got: {got}") from None


def main() -> None:
    """The child: a descriptor and a limit as arguments, one line as answer."""
    try:
        answer = f"digest {_hash_inside(int(sys.argv[1]), int(sys.argv[2])).hex}"
    except HostError as error:
        answer = f"host {error.message}"
    except MinidError as error:
        answer = f"unpack {error.message}"
    except MemoryError:
        answer = f"unpack more memory needed than {_MEMORY_BYTES} bytes"
    sys.stdout.write(answer + "\n")


def _hash_inside(handle: int, max_bytes: int) -> Digest:
    import hashlib

    from minid.formats.compression import HEAD_BYTES, decompress, detect_compression, load_decoder

    compression = detect_compression(os.pread(handle, HEAD_BYTES, 0))
    if compression != "none":
        load_decoder(compression)
    _give_up_rights()
    hasher = hashlib.sha256()
    for piece in decompress(lambda size: os.read(handle, size), compression, max_bytes):
        hasher.update(piece)
    return Digest(hasher.hexdigest())


def _give_up_rights() -> None:
    """It reads one open file and writes a line: that needs nobody's rights."""
    import resource

    set_limits(
        {
            resource.RLIMIT_AS: _MEMORY_BYTES,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_CPU: _CPU_S,
            resource.RLIMIT_NOFILE: 64,
            resource.RLIMIT_CORE: 0,
        }
    )
    if os.geteuid() == 0:
        become(_NOBODY, _NOBODY)
    bind_to_parent()


if __name__ == "__main__":
    main()
