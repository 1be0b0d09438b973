"""A foreman over a test's working folder, with real workers; as a program, one to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from minid.config import Config
from minid.config_reader import load_config
from minid.daemon.crew import worker_spawner
from minid.daemon.foreman import Foreman
from minid.daemon.job import Result
from minid.line.planning import assess, recipe_order
from minid.line.workshop import Workshop, open_workshop
from minid.recipe_reader import load_recipes
from minid.store.events import Events
from minid.store.queue import Queue
from minid.store.records import RunRow


class Yard:
    """A foreman at work, and what has ended."""

    def __init__(self, shop: Workshop, foreman: Foreman) -> None:
        self.shop = shop
        self.foreman = foreman
        self.ends: list[tuple[RunRow, Result]] = []
        foreman.ended.append(self._note)

    def plan(self, *names: str, **options: bool) -> dict[str, int | None]:
        """Submit the named recipes and all they stand on, or all; run ids by name."""
        recipes, _ = load_recipes(self.shop.config.paths.recipes)
        self.shop.recipes.clear()
        self.shop.recipes.update(recipes)
        standings = assess(
            recipe_order(recipes, names or recipes),
            recipes,
            config=self.shop.config,
            blobs=self.shop.blobs,
            records=self.shop.records,
            machine=self.shop.machine,
        )
        runs = {}
        for name, standing in standings.items():
            wanted = options if name in names else {}
            runs[name] = self.foreman.submit(standing, standings=standings, **wanted)
        return runs

    def _note(self, row: RunRow, result: Result) -> None:
        self.ends.append((row, result))

    def row(self, run: int | None) -> RunRow:
        found = self.shop.records.run(run or 0)
        assert found is not None
        return found

    def statuses(self) -> dict[str, str]:
        """How the last run of each recipe ended here."""
        return {row.recipe: row.status for row, _ in self.ends}

    def events(self) -> list[tuple[str, str]]:
        """Every event as kind and recipe."""
        rows = Events(self.shop.records.database).after(0)
        return [(row.kind, row.recipe) for row in rows]

    async def until(self, what: object, seconds: float = 60.0) -> None:
        """Wait until the callable is true."""
        assert callable(what)
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"waited in vain; {self.ends}"
            await asyncio.sleep(0.01)

    async def all_over(self) -> None:
        """Wait until nothing waits that could start, and nothing runs."""
        await self.until(lambda: not self.foreman.queued() and not self.foreman.progress())


def config_of(folder: Path) -> Config:
    """The folder's configuration, without a gate for free space."""
    config = load_config(folder / "config.toml", {"HOME": str(folder)}, start=folder)
    return replace(config, daemon=replace(config.daemon, min_free_bytes=0))


@asynccontextmanager
async def open_yard(folder: Path, *, config: Config | None = None) -> AsyncIterator[Yard]:
    """A foreman with real workers on the folder."""
    with open_workshop(config or config_of(folder), {}, role="daemon") as shop:
        environ = {**os.environ, "HOME": str(folder)}
        foreman = Foreman(
            shop.config,
            shop.records,
            Queue(shop.records.database),
            Events(shop.records.database),
            clock=time.time,
            spawn=worker_spawner(environ, shop.lock_fd),
        )
        foreman.recipes = lambda: shop.recipes
        yard = Yard(shop, foreman)
        recipes, _ = load_recipes(shop.config.paths.recipes)
        shop.recipes.update(recipes)
        foreman.start_up()
        try:
            yield yard
        finally:
            await foreman.stop()


async def _work(folder: Path) -> None:
    async with open_yard(folder) as yard:
        yard.plan()
        await yard.all_over()


if __name__ == "__main__":
    asyncio.run(_work(Path(sys.argv[1])))
