"""Visits to archives: those of candidates, and those that recipes are built from already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from minid.errors import MinidError
from minid.store.polls import HostWait
from minid.upstream import candidate as life
from minid.upstream.archives import Archives
from minid.upstream.hosts import host_of
from minid.upstream.ledger import Ledger
from minid.upstream.looking import look
from minid.upstream.poller import Poller
from minid.upstream.rewatch import due_watch, watch_archive
from minid.upstream.tracking import Tracked
from minid.upstream.values import Event

# Archives that are fetched side by side; pages are asked beside them.
_VISITS = 4


class Visits:
    """One visit a recipe at a time. What is found goes into the ledger."""

    def __init__(
        self, ledger: Ledger, poller: Poller, archives: Archives, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._poller = poller
        self._archives = archives
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_VISITS)

    def next_due(self) -> float | None:
        """When the next visit is due that is not under way; None for never."""
        waits = self._poller.waits()
        times = [
            _due(tracked, waits) for tracked in self._ledger if not self._is_under_way(tracked)
        ]
        return min((time for time in times if time is not None), default=None)

    def begin_due(self) -> None:
        """Begin all that are due."""
        now, waits = self._clock(), self._poller.waits()
        for tracked in self._ledger:
            due = _due(tracked, waits)
            if due is not None and due <= now and not self._is_under_way(tracked):
                self._begin(tracked.recipe.name)

    async def visit(self, name: str) -> None:
        """Visit what is due of a recipe now, or wait for the visit that is under way."""
        task = self._tasks.get(name)
        if task is not None:
            await asyncio.wait([task])
        tracked = self._ledger.need(name)
        due = _due(tracked, self._poller.waits())
        if due is not None and due <= self._clock():
            task = self._begin(name)
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def quiet(self) -> None:
        """Wait until no visit is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def close(self) -> None:
        """End those that are under way; they are due again at the next start."""
        for task in self._tasks.values():
            task.cancel()
        await self.quiet()

    def _is_under_way(self, tracked: Tracked) -> bool:
        return tracked.recipe.name in self._tasks

    def _begin(self, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._visit(name), name=f"visit for {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda _task: self._tasks.pop(name, None))
        return task

    async def _visit(self, name: str) -> None:
        async with self._slots:
            for due_at, work in ((look_due, self._look), (due_watch, self._watch)):
                tracked = self._ledger.find(name)  # the one before may have moved the recipe
                due = due_at(tracked) if tracked is not None else None
                if tracked is not None and due is not None and due <= self._clock():
                    await work(tracked)

    async def _look(self, tracked: Tracked) -> None:
        """Look at the candidate; trouble of this machine has it tried again later as well."""
        candidate = tracked.memory.candidate
        assert candidate is not None
        try:
            if not life.page_needed(tracked.memory, tracked.rules) or await self._reread(tracked):
                step = self._ledger.step
                await look(tracked, self._archives, self._clock, lambda done: step(tracked, done))
        except (MinidError, OSError) as error:
            self._failed(tracked, candidate.version, str(error))
        except Exception as error:
            self._failed(tracked, candidate.version, repr(error))
            raise

    def _failed(self, tracked: Tracked, version: str, reason: str) -> None:
        step = life.note_failure(tracked.memory, version, reason, self._clock())
        self._ledger.step(tracked, step)

    async def _reread(self, tracked: Tracked) -> bool:
        """Read the page once more; whether the candidate is still to be looked at."""
        result = await self._poller.poll(tracked.rules.url, force=True)
        self._ledger.take(result)
        candidate = tracked.memory.candidate
        if candidate is None or not life.page_needed(tracked.memory, tracked.rules):
            return look_due(tracked) is not None
        if tracked.memory.suspects:
            return False
        reason = f"the page could not be read again: {result.reason}"
        if result.outcome in ("waiting", "blocked"):
            step = life.note_wait(tracked.memory, candidate.version, reason, result.until)
        else:
            step = life.note_failure(tracked.memory, candidate.version, reason, self._clock())
        self._ledger.step(tracked, step)
        return False

    async def _watch(self, tracked: Tracked) -> None:
        events: Iterable[Event] = ()
        with suppress(MinidError, OSError):  # tomorrow again
            events = await watch_archive(tracked, self._archives, self._clock())
        self._ledger.remember(tracked, events)


def look_due(tracked: Tracked) -> float | None:
    """When the candidate's archive is due; never for a recipe that a person pinned."""
    return None if tracked.pinned else life.look_due(tracked.memory, tracked.rules)


def _due(tracked: Tracked, waits: Mapping[str, HostWait]) -> float | None:
    """When a visit is due, with regard to the hosts that are left alone."""
    look, watch = look_due(tracked), due_watch(tracked)
    if waits:
        candidate = tracked.memory.candidate
        if look is not None and candidate is not None:
            look = max(look, _until(candidate.url, waits))
        if watch is not None:
            watch = max(watch, _until(tracked.archive_url, waits))
    return min((time for time in (look, watch) if time is not None), default=None)


def _until(url: str, waits: Mapping[str, HostWait]) -> float:
    wait = waits.get(host_of(url))
    return wait.until if wait is not None else 0.0
