"""What goes into a closure and what comes out, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minid.formats.dlopen_rules import DEFAULT_NSSWITCH
from minid.formats.elf import Elf
from minid.formats.elf_placement import Item
from minid.model import Reason


@dataclass(frozen=True, slots=True)
class ClosureOptions:
    """What shapes a closure besides its start.

    `listed` is the recipe's `contents.dlopen`, `nsswitch` the text of the nsswitch.conf that the
    image will have. `present` are the paths that the image has anyway: they get no item. With
    `conf` the folders of ld.so.conf are searched, which an image without a cache does not do.
    `dlopen_rules` False leaves only what the loader itself needs.
    """

    listed: tuple[str, ...] = ()
    nsswitch: str = DEFAULT_NSSWITCH
    present: frozenset[str] = frozenset()
    conf: bool = True
    dlopen_rules: bool = True


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that something needs and that is not there. `searched` is where it was looked for.

    `image_path` is empty where the recipe's own list asked for it.
    """

    image_path: str
    needs: str
    searched: str = ""
    hint: str = ""

    def __str__(self) -> str:
        where = f"/{show_path(self.image_path)}" if self.image_path else "contents.dlopen"
        searched = f", which is not in {self.searched}" if self.searched else ""
        return f"{where}: needs {self.needs!r}{searched}"


@dataclass(frozen=True, slots=True)
class Closure:
    """What was found. Paths are image paths; everything is sorted by path.

    `reasons` has each file once, the start included; `items` is what must be added to the image.
    `objects` are the ELF files of the closure, `bindings` which files each (object, NEEDED name)
    was bound to, by their paths in the view, and `placed` the image paths of those that move.
    """

    reasons: Mapping[str, Reason]
    items: tuple[Item, ...] = ()
    objects: Mapping[str, Elf] = field(default_factory=dict)
    bindings: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    placed: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()


def show_path(image_path: str) -> str:
    """A path for a message: control characters and undecodable bytes escaped."""
    return image_path if image_path.isprintable() else repr(image_path)[1:-1]
