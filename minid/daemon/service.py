"""The service: keeps the images in step with the folder of recipes and with their upstreams.

Everything happens on one event loop: what changed in the folder, runs that ended, releases that
were taken and what people ask for become runs of the queue. The rooms do the work; this joins them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from minid.config import Config
from minid.daemon.catalogue import Catalogue, Change
from minid.daemon.foreman import Foreman
from minid.daemon.job import Result
from minid.errors import MinidError, StoreError
from minid.line.planning import Standing, assess, iterate_standings, recipe_order
from minid.recipe_lock import Lock
from minid.store.blobs import Blobs
from minid.store.events import EventRow, Events
from minid.store.queue import Queue
from minid.store.records import Records, RunRow
from minid.store.releases import Releases

Later = Callable[..., object]

# How long a broken recipe may take to be whole again before anybody is told.
_PATIENCE_S = 1.0
_STORE_AGAIN_S = 5.0
# The priority of what a person wants before all others.
FIRST = 100


@dataclass(frozen=True, slots=True)
class Desk:
    """What the service works with, opened once: the store, and who is told what happened."""

    blobs: Blobs
    records: Records
    queue: Queue
    events: Events
    releases: Releases
    clock: Callable[[], float]
    heard: Callable[[EventRow], None]

    def tell(
        self,
        kind: str,
        text: str,
        *,
        recipe: str = "",
        run: int | None = None,
        detail: Mapping[str, str] | None = None,
    ) -> None:
        """Record an event, and pass it on to the log and to notifications."""
        row = self.events.add(kind, text, self.clock(), recipe=recipe, run=run, detail=detail)
        self.heard(row)


class Service:
    """Recipes in, runs out. `start` first; then its methods, on the event loop's thread alone.

    `later` calls a function after so many seconds, on that thread.
    """

    def __init__(self, config: Config, desk: Desk, foreman: Foreman, later: Later) -> None:
        self._later = later
        self._told_broken: set[str] = set()
        self._current: set[str] = set()
        self._owed: set[str] = set()
        self._pays_later = False
        self.config = config
        self.desk = desk
        self.foreman = foreman
        self.catalogue = Catalogue(config, desk.releases.locks(), clock=desk.clock)
        self.catalogue_changed: Callable[[], None] = lambda: None
        self.recipe_moved: Callable[[], None] = lambda: None
        foreman.recipes = lambda: self.catalogue.recipes
        foreman.heard = desk.heard
        foreman.ended.append(self.run_ended)

    def start(self) -> None:
        """Read the folder, and queue all that is not up to date."""
        change = self.catalogue.scan()
        self._tell_problems(change)
        self.plan(self.catalogue.recipes)

    def folder_changed(self, names: frozenset[str] | None) -> None:
        """Recipes may have changed, or, with None, any of them."""
        change = self.catalogue.scan() if names is None else self.catalogue.update(names)
        self._take(change)

    def moved(self, name: str, lock: Lock | None) -> None:
        """A recipe was moved to another release, or back to its file's."""
        self.desk.releases.set_lock(name, lock, self.desk.clock())
        self._take(self.catalogue.set_lock(name, lock))
        self.recipe_moved()

    def run_ended(self, row: RunRow, _result: Result) -> None:
        """A run is over: what stands on its recipe may now be built, or is to be built anew."""
        if row.status == "ok":
            self.plan([row.recipe])

    def configure(self, config: Config) -> None:
        """Work with another configuration from now on; running builds keep theirs."""
        before = set(self.catalogue.recipes)
        self.config = config
        self.foreman.configure(config)
        self.catalogue = Catalogue(config, self.desk.releases.locks(), clock=self.desk.clock)
        self.start()
        for name in before - set(self.catalogue.recipes):
            self.foreman.forget(name)
        self.catalogue_changed()

    def plan(self, names: Iterable[str]) -> None:
        """Queue these recipes and those that stand on them, where they are not up to date and are
        not as they were when their last attempt failed. One that cannot be read is told.

        StoreError where the store takes nothing now; it is done later then."""
        self._owed.update(names)
        affected = self.catalogue.affected(self._owed)
        wanted = [name for name in affected if self.catalogue.sound(name)]
        try:
            with self.desk.records.database.batch():
                self._submit_each(wanted)
        except StoreError:
            if not self._pays_later:  # the catalogue tells of a change once
                self._pays_later = True
                self._later(_STORE_AGAIN_S, self._pay)
            raise
        self._owed.clear()

    def _pay(self) -> None:
        self._pays_later = False
        self.plan(())

    def _submit_each(self, wanted: Collection[str]) -> None:
        try:
            self._submit(wanted)
        except StoreError:
            raise
        except MinidError:
            for name in wanted:
                try:
                    self._submit([name])
                except StoreError:
                    raise
                except MinidError as error:
                    self.desk.tell("broken", str(error), recipe=name)

    def _submit(self, wanted: Collection[str]) -> None:
        """Of thousands of recipes only those are kept in memory that others stand on."""
        recipes, chosen = self.catalogue.recipes, set(wanted)
        standings: dict[str, Standing] = {}
        for standing in iterate_standings(
            recipe_order(recipes, wanted),
            recipes,
            config=self.config,
            blobs=self.desk.blobs,
            records=self.desk.records,
            machine=os.uname().machine,
            kept=standings,
        ):
            if standing.recipe.name in chosen:
                self._note(standing)
                self.foreman.submit(standing, standings=standings)

    def ask(
        self, names: Collection[str], *, forced: bool = False, first: bool = False
    ) -> dict[str, tuple[int | None, str]]:
        """Queue what a person asks for: these recipes and all they stand on, in order of building.

        The run of each, or None and its image's digest, if it has an image, where it is up to date.
        What failed is tried again. `forced` runs every stage of the named ones, `first` puts them
        before all others. RecipeError where one of them cannot be read.
        """
        standings = assess(
            recipe_order(self.catalogue.recipes, names),
            self.catalogue.recipes,
            config=self.config,
            blobs=self.desk.blobs,
            records=self.desk.records,
            machine=os.uname().machine,
        )
        asked: dict[str, tuple[int | None, str]] = {}
        with self.desk.records.database.batch():
            for name, standing in standings.items():
                run = self.foreman.submit(
                    standing,
                    standings=standings,
                    asked=True,
                    forced=forced and name in names,
                    priority=FIRST if first else 0,
                )
                image = standing.tagged if run is None else None
                asked[name] = (run, str(image.manifest) if image else "")
        return asked

    def versions(self) -> dict[str, tuple[str, bool]]:
        """Of each recipe the version that it is to be built at, and whether nothing is to be done
        for it."""
        recipes = self.catalogue.recipes.items()
        return {name: (made.source.version, name in self._current) for name, made in recipes}

    def _note(self, standing: Standing) -> None:
        if standing.current:
            self._current.add(standing.recipe.name)
        else:
            self._current.discard(standing.recipe.name)

    def _take(self, change: Change) -> None:
        if not change:
            return
        try:
            self._tell_problems(change)
            for name in change.removed:
                self.desk.tell("removed", "the recipe's file is gone; its images stay", recipe=name)
                self.foreman.forget(name)
        finally:
            self.catalogue_changed()
            self.plan({*change.changed, *change.mended})

    def _tell_problems(self, change: Change) -> None:
        for name in change.broken:
            self.foreman.forget(name)
            self._later(_PATIENCE_S, self._tell_broken, name)
        for name in change.mended:
            if name in self._told_broken:
                self._told_broken.discard(name)
                self.desk.tell("mended", "the recipe can be read again", recipe=name)

    def _tell_broken(self, name: str) -> None:
        """Tell of a recipe that is still broken: a checkout of many files is not done at once."""
        text = self.catalogue.problems.get(name)
        if text:
            self._told_broken.add(name)
            self.desk.tell("broken", text, recipe=name)
