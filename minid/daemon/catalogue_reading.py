"""One recipe's files as they were read last, and whether they have to be read again."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from minid.errors import MinidError
from minid.formats.digest import Digest
from minid.recipe import Recipe
from minid.recipe_reader import load_recipe, named_files
from minid.steps.plan import load_own_files

# A file that was written just before it was read may be written again within one tick of the file
# system's clock, and look the same.
_RACY_NS = 2_000_000_000

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """A recipe's file and the files that it names. Exactly one of `recipe` and `error` is set.

    `own` is the digest of the named files' bytes, empty where none is named. `links` are the paths
    that symbolic links in the places of the file and of the recipe's folder lead to. `stamps` tell
    whether all of it is as it was; they are empty where it has to be read again anyway.
    """

    recipe: Recipe | None
    error: str
    own: str
    links: tuple[str, ...]
    stamps: tuple[Stamp, ...]


def read_recipe(file: Path, now: float) -> Reading | None:
    """Read a recipe and what it names; None where there is no such file. `now` in seconds since
    the epoch."""
    try:
        leads_to = os.readlink(file)  # noqa: PTH115 (ten thousand of them)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        leads_to = ""  # the usual case: a file that is no link
    links = tuple(filter(None, (leads_to, _link_of(file.with_suffix("")))))
    before = _stamp(file)
    try:
        recipe = load_recipe(file)
        named = [recipe.folder / name for _, name in named_files(recipe)]
        stamps = [before, *(_stamp(path) for path in named)]
        own = _own_digest(recipe) if named else ""
    except MinidError as error:
        return Reading(None, error.message, "", links, ())
    return Reading(recipe, "", own, links, _trusted(stamps, now))


def _link_of(folder: Path) -> str:
    """Where a symbolic link in the place of a recipe's folder leads to, if it is one."""
    try:
        return os.readlink(folder)  # noqa: PTH115
    except OSError:
        return ""


def is_same(reading: Reading, file: Path) -> bool:
    """Whether the files are certainly those that were read."""
    if reading.recipe is None or not reading.stamps:
        return False
    folder = reading.recipe.folder
    paths = [file, *(folder / name for _, name in named_files(reading.recipe))]
    return all(_stamp(path) == stamp for path, stamp in zip(paths, reading.stamps, strict=True))


def _own_digest(recipe: Recipe) -> str:
    own = load_own_files(recipe)
    parts = [*own.patches, *own.files.items()]
    return Digest.of(b"".join(Digest.of(data).hex.encode() for _, data in parts)).hex


def _stamp(path: Path) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116 (ten thousand of them)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _trusted(stamps: list[Stamp | None], now: float) -> tuple[Stamp, ...]:
    limit = int(now * 1e9) - _RACY_NS
    known = tuple(stamp for stamp in stamps if stamp and max(stamp[:2]) < limit)
    return known if len(known) == len(stamps) else ()
