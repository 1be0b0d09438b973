"""Key files in a recipe's folder: read from there and from nowhere else, links or not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from minid.errors import RecipeError
from minid.host.beneath import open_beneath

_MAX_BYTES = 1 << 20
_MAX_FILES = 64
_SUFFIXES = (".asc", ".gpg", ".key", ".pgp")


def read_key_file(folder: Path, name: str) -> bytes:
    """The bytes of the regular file `name` in the recipe's folder, up to 1 MiB.

    A symlink may lead to another file in the folder. RecipeError for anything else.
    """
    try:
        root = folder.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise ValueError("a link that leads out of it")
        return _read(root, path.relative_to(root))
    # A loop of links is a RuntimeError up to Python 3.12.
    except (ValueError, OSError, RuntimeError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(
            f"{folder / name}: expected a key file in the recipe's folder, got: {got}",
            hint="that folder lies beside the recipe and has its name",
        ) from error


def list_key_files(folder: Path) -> tuple[str, ...]:
    """Names in the folder that look like key files, sorted, 64 at most; none without a folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIXES))  # noqa: PTH208
    except OSError:
        return ()
    return tuple(names[:_MAX_FILES])


def _read(root: Path, path: Path) -> bytes:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        opened = open_beneath(root_fd, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(root_fd)
    with os.fdopen(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise ValueError("something that is no regular file")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES} bytes")
    return data
