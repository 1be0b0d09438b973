"""The doors that the line works through, opened once and passed in: nothing is read deep inside."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minid.config import Config
from minid.recipe import Recipe
from minid.report import Reporter, Silence
from minid.store.blobs import Blobs
from minid.store.lock import writer_lock
from minid.store.records import Records


@dataclass(frozen=True, slots=True)
class Workshop:
    """Configuration, recipes, store and clock of one working folder, open for writing."""

    config: Config
    recipes: dict[str, Recipe]
    blobs: Blobs
    records: Records
    reporter: Reporter
    clock: Callable[[], float]
    machine: str
    cancel: threading.Event


@contextmanager
def open_workshop(
    config: Config,
    recipes: dict[str, Recipe],
    *,
    reporter: Reporter | None = None,
    clock: Callable[[], float] = time.time,
    cancel: threading.Event | None = None,
) -> Iterator[Workshop]:
    """Take the writer's lock, make what is missing, and clear what a killed minid left."""
    reporter = reporter or Silence()
    state = config.paths.state
    state.mkdir(parents=True, exist_ok=True)

    def tell(holder: str) -> None:
        reporter.note("minid", f"waiting for another minid (process {holder}) to end")

    with writer_lock(state / "lock", tell):
        blobs = Blobs(config.paths.store)
        blobs.prepare()
        records = Records(config.paths.records, writable=True)
        try:
            recover(config, blobs, records, clock)
            yield Workshop(
                config=config,
                recipes=recipes,
                blobs=blobs,
                records=records,
                reporter=reporter,
                clock=clock,
                machine=os.uname().machine,
                cancel=cancel or threading.Event(),
            )
        finally:
            records.close()


def recover(config: Config, blobs: Blobs, records: Records, clock: Callable[[], float]) -> None:
    """Clear what a minid that was killed left: runs, temporary blobs, job folders, the index.

    Only the holder of the lock may call this: nobody else can own what is found.
    """
    if records.has_running():
        from minid.steps.publish import write_layout

        # Tags may have moved in the records alone. The layout first: else a kill here loses track.
        write_layout(blobs, records, os.uname().machine)
        records.interrupt_running(clock())
    blobs.remove_leftovers()
    _clear_jobs(config.paths.jobs)
    _clear_unfinished(config)


def _clear_jobs(jobs: Path) -> None:
    if not jobs.is_dir():
        return
    leftovers = list(jobs.iterdir())
    if leftovers:
        from minid.host.files import remove_tree

        for path in leftovers:
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()


def _clear_unfinished(config: Config) -> None:
    from minid.host.files import remove_unfinished

    remove_unfinished(config.paths.store)
    remove_unfinished(config.paths.environments)
    if config.publish.export is not None:
        remove_unfinished(config.publish.export)
