"""What was touched in the recipes folder, gathered until it is to be told. Pure: time is passed in.

The first news is told almost at once; while more keeps coming it is told in batches that grow. A
file that somebody still writes is told when it is closed, or when nothing has happened to it for a
while.
"""

from __future__ import annotations

import math
import re
from typing import Literal

# An editor saves with several steps, and a checkout writes many files: all of it is one piece of
# news when it comes within this time.
GATHER_S = 0.01
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 0.8
# More names than this are told as "everything": a rescan is cheaper than it sounds, memory is not.
MAX_NAMES = 4096

# vim tries with this name whether it may write to a folder.
_TRIAL = "4913"
_OWN_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")

Nothing = Literal["nothing"]
NOTHING: Nothing = "nothing"


def recipe_of(relative: str) -> str:
    """The recipe that a path in the recipes folder may matter to, or "" for noise.

    Noise are editors' swap, lock, backup and trial files, hidden files, and what no recipe can
    name. `relative` has `/` between its parts.
    """
    first, *rest = relative.split("/")
    if not rest and first.endswith(".toml"):
        return "" if first.startswith((".", "#")) else first.removesuffix(".toml")
    noise = any(part == _TRIAL or not _OWN_FILE.fullmatch(part) for part in rest)
    return "" if noise or first.startswith((".", "#")) else first


class Gathering:
    """Recipe names on their way to be told. Not thread-safe; times are of one monotonic clock."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._names: set[str] = set()
        self._everything = False
        self._began = math.inf
        self._told = -math.inf
        self._pause = SHORTEST_PAUSE_S
        self._unsettled: dict[str, float] = {}

    def touch(self, relative: str, *, settled: bool, now: float) -> None:
        """Note that something happened to a path; not `settled`: somebody may still write it."""
        name = recipe_of(relative)
        if not name:
            return
        if not settled:
            self._unsettled[relative] = now
            if len(self._unsettled) > MAX_NAMES:
                self._unsettled.clear()
                self.touch_everything(now)
            return
        self._unsettled.pop(relative, None)
        self.touch_name(name, now)

    def is_unsettled(self, relative: str) -> bool:
        """Whether the path waits for being closed."""
        return relative in self._unsettled

    def touch_name(self, name: str, now: float) -> None:
        """Note that a recipe is to be read again."""
        self._begin(now)
        self._names.add(name)
        self._everything = self._everything or len(self._names) > MAX_NAMES

    def touch_everything(self, now: float) -> None:
        """Note that any recipe may have changed."""
        self._begin(now)
        self._everything = True

    def _begin(self, now: float) -> None:
        self._began = min(self._began, now)

    def due(self) -> float:
        """When `take` has something to give next; infinite when nothing waits."""
        settles = min(self._unsettled.values(), default=math.inf) + self._settle_s
        if self._began == math.inf:
            return settles
        return min(settles, max(self._began + GATHER_S, self._told + self._pause))

    def take(self, now: float) -> frozenset[str] | Nothing | None:
        """What is to be told now: names, None for everything, or NOTHING."""
        self._settle(now)
        if self._began == math.inf or now < max(self._began + GATHER_S, self._told + self._pause):
            return NOTHING
        stormy = self._began - self._told < 2 * self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S) if stormy else SHORTEST_PAUSE_S
        news = None if self._everything else frozenset(self._names)
        self._names.clear()
        self._everything, self._began, self._told = False, math.inf, now
        return news

    def _settle(self, now: float) -> None:
        quiet = [path for path, at in self._unsettled.items() if at + self._settle_s <= now]
        for path in quiet:
            self.touch(path, settled=True, now=now)
