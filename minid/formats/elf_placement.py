"""Where the files of a closure go in an image, so that its loader finds them without a cache.

The rules are explained in docs/reference/closure.md: files keep their real path in the view, a
chain of symlinks in front of a file comes along, symlinked folders (a merged `/usr`) do not, and a
file that an image's loader would not find gets a symlink where it will look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from minid.formats.elf_search import Hit
from minid.formats.file_view import join, normalize, relative_target
from minid.formats.ldconf import Loader


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that an image gets: the file at `source` in the view, or a symlink to `target`."""

    image_path: str
    source: str = ""
    target: str = ""


def place_hit(hit: Hit, loader: Loader, present: frozenset[str]) -> Iterator[Item]:
    """The file of a hit, the symlinks in front of it, and one more where the loader needs it.

    What is `present` is in the image already and is left out.
    """
    chain = hit.found.chain
    if chain[-1] not in present:
        yield Item(chain[-1], source=chain[-1])
    for link, following in pairwise(chain):
        if link not in present:
            yield Item(link, target=relative_target(link, following))
    searched = _searched_path(hit, loader, present)
    if searched != chain[0] and searched not in present:
        yield Item(searched, target=relative_target(searched, chain[0]))


def _searched_path(hit: Hit, loader: Loader, present: frozenset[str]) -> str:
    """The path at which an image's loader will look, without symlinked folders it may lack."""
    asked_for = hit.found.chain[0]
    if present.issuperset(hit.found.links) and hit.how not in ("conf", "default"):
        return asked_for
    if hit.how in ("path", "rpath", "runpath"):
        return join(normalize(hit.folder), hit.name)
    if asked_for.rpartition("/")[0] in loader.default_folders:
        return asked_for
    if hit.how == "default":
        return join(normalize(hit.folder), hit.name)
    return join(preferred_folder(loader), hit.name)


def preferred_folder(loader: Loader) -> str:
    """The default folder for additions: the first in /usr's own lib, else the first."""
    folders = loader.default_folders
    return next((folder for folder in folders if folder.startswith("usr/lib")), folders[0])
