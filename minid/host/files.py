"""The one door through which minid writes files that must survive: whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

# The process's id follows: others may write to the same folder.
_UNFINISHED = ".minid-new-"


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
    prefix = f"{_UNFINISHED}{os.getpid()}-"
    descriptor, temporary = tempfile.mkstemp(prefix=prefix, dir=path.parent)
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


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder among all threads and processes that ask for it this way."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock_if_free(path: Path) -> Iterator[int | None]:
    """Hold the lock file at `path`, which is made if it is not there, if nobody does: its
    descriptor, else None."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Delete what `write_file` of a process that was killed left in `folder`, if there is one.

    The caller must not be writing there itself.
    """
    for path in unfinished_files(folder):
        if _writer(path) == str(os.getpid()) or is_abandoned(path):
            path.unlink(missing_ok=True)


def unfinished_files(folder: Path) -> list[Path]:
    """What `write_file` has not given its name yet in `folder`, or never will."""
    return sorted(folder.glob(f"{_UNFINISHED}*")) if folder.is_dir() else []


def is_abandoned(unfinished: Path) -> bool:
    """Whether the process that wrote an unfinished file is gone."""
    return not Path("/proc", _writer(unfinished)).exists()


def _writer(unfinished: Path) -> str:
    return unfinished.name.removeprefix(_UNFINISHED).partition("-")[0]


def remove_tree(folder: Path) -> None:
    """Delete `folder` and all below it, however deep, also where a build took its own rights away.

    A folder that is not there is no error. Symlinks are removed, never followed; no process may
    still be working in the tree.
    """
    try:
        if not folder.is_symlink():
            folder.chmod(0o700)
        root = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return
    # A name that no tree holds on purpose: renaming onto a full folder would fail.
    prefix = f".gone-{os.urandom(8).hex()}-"
    moved = 0
    try:
        while folders := _remove_files(root):
            for name in folders:
                os.chmod(name, 0o700, dir_fd=root)
                inner = os.open(name, _FOLDER, dir_fd=root)
                try:
                    # A tree can be deeper than a path is long or Python recurses: lift what is
                    # inside to the top instead of going down.
                    for child in _remove_files(inner):
                        os.chmod(child, 0o700, dir_fd=inner)
                        moved += 1
                        os.rename(child, f"{prefix}{moved}", src_dir_fd=inner, dst_dir_fd=root)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=root)
    finally:
        os.close(root)
    folder.rmdir()


def _remove_files(folder: int) -> list[str]:
    """Unlink all but folders; the names of those."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A fresh 0700 folder below `parent` that is gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        remove_tree(folder)
