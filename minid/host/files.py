"""The one door through which minid writes files that must survive: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; a rename without this was lost in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path` through a temporary neighbour: readers see the old or the new file.

    When this returns the bytes and the name are on disk. OSError passes through.
    """
    write_stream(path, (data,), mode=mode)


def write_stream(path: Path, chunks: Iterable[bytes], *, mode: int = 0o644) -> None:
    """`write_file` for bytes that come in pieces; what `chunks` raises leaves the old file."""
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    sync_folder(path.parent)


def remove_tree(folder: Path) -> None:
    """Delete `folder` and all below it, also where a build took its own write permissions away.

    A folder that is not there is no error. Symlinks are removed, never followed.
    """
    if not folder.exists():
        return
    for directory, names, _files in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)  # noqa: PTH118 (hot loop over build trees)
            with contextlib.suppress(OSError):
                if not os.path.islink(path):  # noqa: PTH114
                    os.chmod(path, 0o700)  # noqa: PTH101
    shutil.rmtree(folder)


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A fresh 0700 folder below `parent` that is gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        remove_tree(folder)
