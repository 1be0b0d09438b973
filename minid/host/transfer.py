"""Files from places that the operator named: `file:` folders and web servers alike.

What a recipe names goes through `http.download` alone, which knows no `file:`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minid.config import Fetching
from minid.errors import FetchError
from minid.formats.url import refusal
from minid.host.http import AbsentError, Progress, download

_CHUNK = 1 << 18


def transfer(
    url: str,
    sink: Callable[[bytes], object],
    limits: Fetching,
    *,
    progress: Progress | None = None,
) -> None:
    """Hand the bytes at a `file:`, http or https URL to `sink`, once, as `http.download` does."""
    if url.startswith("file:"):
        copy_file(local_path(url), sink, limits.max_bytes, progress=progress)
    else:
        download(url, sink, limits, progress=progress)


def local_path(url: str) -> Path:
    """The path of a `file:` URL. FetchError unless it is absolute and on this machine."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise refusal(url, "an absolute path on this machine", repr(parts.netloc + path))
    return Path(path)


def copy_file(
    path: Path,
    sink: Callable[[bytes], object],
    max_bytes: int,
    *,
    progress: Progress | None = None,
) -> None:
    """Hand a regular file's bytes to `sink`. AbsentError where there is none, else FetchError."""
    try:
        # Not blocking: a FIFO in the place of a file must not hold a build up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise AbsentError(f"file:{path}", 404) from None
    except OSError as error:
        raise FetchError(f"file:{path}: expected a file, got {error.strerror}") from error
    try:
        size_bytes = _check_file(descriptor, path, max_bytes)
        done = 0
        while chunk := _read(descriptor, path):
            done += len(chunk)
            sink(chunk)
            if progress is not None:
                progress(done, size_bytes)
    finally:
        os.close(descriptor)
    if done != size_bytes:
        raise FetchError(f"file:{path}: expected {size_bytes} bytes, got {done}")


def _check_file(descriptor: int, path: Path, max_bytes: int) -> int:
    """The size of a regular file that is not too large; FetchError for anything else."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise refusal(f"file:{path}", "a regular file", stat.filemode(state.st_mode))
    if state.st_size > max_bytes:
        raise refusal(f"file:{path}", f"at most {max_bytes} bytes", str(state.st_size))
    return state.st_size


def _read(descriptor: int, path: Path) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError as error:
        raise FetchError(f"file:{path}: expected bytes, got {error.strerror}") from error
