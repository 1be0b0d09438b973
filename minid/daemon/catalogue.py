"""The recipes in memory: what they mean, what is wrong with them, who stands on whom.

Kept in step with the folder one change after the other: of ten thousand recipes a change of one
reads one file. Not thread-safe.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType

from minid.config import Config
from minid.daemon.catalogue_checks import Checks
from minid.daemon.catalogue_reading import Reading, is_same, read_recipe
from minid.daemon.folder_gather import recipe_of
from minid.formats.table import show_text
from minid.recipe import Recipe
from minid.recipe_graph import references
from minid.recipe_lock import Lock, apply_lock
from minid.recipe_reader import is_recipe_file


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the recipes, by name and sorted.

    `changed` are those that mean something else, new ones among them: another `Recipe`, or other
    bytes of the files that it names. `removed` are those whose file went. `broken` are those with
    a problem that they had not, `mended` those without the one that they had.
    """

    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.broken or self.mended)


class Catalogue:
    """The recipes of `config.paths.recipes`, moved to other releases by `locks`.

    `problems` has what is wrong with a recipe, or under "" with the folder, harmless to a terminal
    as are all names that are told; a recipe whose file is broken is not in `recipes`, and has its
    meaning remembered until the file goes. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        config: Config,
        locks: Mapping[str, Lock] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = config.paths.recipes
        self._locks = dict(locks or {})
        self._clock = clock
        self._readings: dict[str, Reading] = {}
        self._meant: dict[str, tuple[Recipe | None, str]] = {}  # of recipes that are broken
        self._broken: set[str] = set()
        self._links: dict[str, set[str]] = {}
        self._recipes: dict[str, Recipe] = {}
        self._problems: dict[str, str] = {}
        self._checks = Checks(config, self._recipes)
        self.recipes: Mapping[str, Recipe] = MappingProxyType(self._recipes)
        self.problems: Mapping[str, str] = MappingProxyType(self._problems)

    def scan(self) -> Change:
        """Read what may have changed anywhere in the folder.

        Where there is no folder nothing is taken for removed: it may be about to come back.
        """
        try:
            with os.scandir(self._folder) as entries:
                names = [entry.name[:-5] for entry in entries if is_recipe_file(entry.name)]
        except OSError as error:
            reason = (error.strerror or "an error").lower()
            problem = f"{self._folder}: expected a folder of recipes, got {reason}"
            had = self._problems.get("")
            self._problems[""] = problem
            return Change() if had == problem else Change(broken=("",))
        mended = ("",) if self._problems.pop("", None) else ()
        with _nothing_collected():
            told = self._read(sorted({*names, *self._readings}), trust=True)
        return Change(told.changed, told.removed, told.broken, (*mended, *told.mended))

    def update(self, names: Iterable[str]) -> Change:
        """Read the named recipes again, and those whose file or folder is a link to theirs."""
        if "" in self._problems:
            return self.scan()
        wanted = {name for name in names if _may_be_recipe(name)}
        for name in tuple(wanted):
            wanted |= self._links.get(name, set())
        return self._read(sorted(wanted), trust=False)

    def set_lock(self, name: str, lock: Lock | None) -> Change:
        """Move a recipe to another release, or with None back to the one of its file."""
        if lock is None:
            self._locks.pop(name, None)
        else:
            self._locks[name] = lock
        reading = self._readings.get(name)
        return self._take({name: reading}) if reading else Change()

    def sound(self, name: str) -> bool:
        """Whether nothing is wrong with the recipe, nor with anything it stands on."""
        if "" in self._problems:
            return False
        return all(
            below in self._recipes and below not in self._problems for below in self._below(name)
        )

    def affected(self, names: Iterable[str]) -> tuple[str, ...]:
        """These recipes and all that need them or are based on them, each after what it needs.

        Names that are no recipes are not among them, but who refers to them is.
        """
        found = dict.fromkeys(names)
        waiting = list(found)
        while waiting:
            for user in self._checks.users(waiting.pop()):
                if user not in found:
                    found[user] = None
                    waiting.append(user)
        return tuple(self._in_order(found))

    def _read(self, names: Iterable[str], *, trust: bool) -> Change:
        """Read these files; `trust`: not those that are certainly the same."""
        now = self._clock()
        readings: dict[str, Reading | None] = {}
        for name in names:
            file = self._folder / f"{name}.toml"
            known = self._readings.get(name)
            if trust and known and is_same(known, file):
                continue
            reading = read_recipe(file, now)
            if reading or known:
                readings[name] = reading
        return self._take(readings)

    def _take(self, readings: Mapping[str, Reading | None]) -> Change:
        """Take over what was read, and see what follows from it."""
        changed, removed = [], []
        before: dict[str, Recipe | None] = {}
        for name, reading in readings.items():
            known = name in self._readings
            meant = self._meaning(name)
            before[name] = self._recipes.pop(name, None)
            self._keep(name, reading)
            if reading is None:
                removed.append(show_text(name))
            elif reading.recipe is None:
                if known:
                    self._meant[name] = meant
            else:
                self._recipes[name] = apply_lock(reading.recipe, self._locks.get(name))
                self._meant.pop(name, None)
                if not known or self._meaning(name) != meant:
                    changed.append(name)
        touched = self._checks.update(before, self._broken)
        bad, mended = self._tell_problems({*touched, *before})
        return Change(tuple(changed), tuple(removed), bad, mended)

    def _keep(self, name: str, reading: Reading | None) -> None:
        old = self._readings.pop(name, None)
        for link in old.links if old else ():
            self._links.get(_led_to(link), set()).discard(name)
        self._broken.discard(name)
        if reading is None:
            self._meant.pop(name, None)
            return
        if reading.recipe is None:
            self._broken.add(name)
        self._readings[name] = reading
        for link in reading.links:
            self._links.setdefault(_led_to(link), set()).add(name)

    def _meaning(self, name: str) -> tuple[Recipe | None, str]:
        """What the recipe means, or meant before its file was broken."""
        recipe = self._recipes.get(name)
        if recipe is None:
            return self._meant.get(name, (None, ""))
        return recipe, self._readings[name].own

    def _tell_problems(self, names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        broken, mended = [], []
        for name in sorted(names):
            reading = self._readings.get(name)
            error = reading.error if reading else ""
            text = "\n".join(filter(None, [error, *self._checks.problems(name)]))
            text, shown = "\n".join(map(show_text, text.split("\n"))), show_text(name)
            had = self._problems.pop(shown, "")
            if text:
                self._problems[shown] = text
            if text and text != had:
                broken.append(shown)
            elif had and not text and reading:
                mended.append(shown)
        return tuple(broken), tuple(mended)

    def _below(self, name: str) -> Iterator[str]:
        """The recipe and all it stands on, in no order."""
        seen = {name}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            yield current
            recipe = self._recipes.get(current)
            for other in references(recipe) if recipe else ():
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)

    def _in_order(self, names: Mapping[str, None]) -> Iterator[str]:
        """Those of the names that are recipes, each after those that it refers to."""
        done: set[str] = set()
        for start in sorted(names):
            waiting = [(start, False)]
            while waiting:
                name, below_done = waiting.pop()
                recipe = self._recipes.get(name)
                if recipe is None or name not in names:
                    continue
                if below_done:
                    yield name
                elif name not in done:
                    done.add(name)
                    waiting.append((name, True))
                    waiting += [(other, False) for other in reversed(references(recipe))]


def _led_to(link: str) -> str:
    """The recipe whose file or folder a symbolic link in the recipes folder leads to."""
    return recipe_of(PurePath(link).name)


def _may_be_recipe(name: str) -> bool:
    """Whether a recipe's file could have this name, which anybody may have made up."""
    return "/" not in name and "\0" not in name and is_recipe_file(f"{name}.toml")


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """What is read here stays: looking for garbage among it costs a fifth of a first scan."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
