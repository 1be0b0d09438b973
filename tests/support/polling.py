"""A poller over a database of its own, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from minid.config import Fetching, Tracking
from minid.host.web import Web
from minid.store.database import Database
from minid.store.polls import Polls
from minid.upstream.poll_answer import PollResult
from minid.upstream.poller import Poller, ResourceSpec

T = TypeVar("T")
HOUR, DAY = 3600.0, 86400.0


class Bench:
    """`poller` asks loopback; `now` is its clock. `restart` is what a new process would see."""

    def __init__(
        self, database: Database, web: Web, *, gap_s: float = 0.0, inside: tuple[str, ...] = ()
    ) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []
        self.database = database
        self._web = web
        self._tracking = Tracking(gap_s=gap_s, inside=inside)
        self._chance = random.Random(7)
        self.specs: dict[str, ResourceSpec] = {}
        self.restart()

    def restart(self) -> None:
        self.poller = Poller(
            self._web,
            Polls(self.database),
            clock=lambda: self.now,
            random=self._chance.random,
            tracking=self._tracking,
            sleep=self._sleep,
        )
        self.poller.set_resources(self.specs)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def track(self, *urls: str, kind: str = "index", every_s: float = 6 * HOUR, newest_at=0.0):
        self.specs |= {url: ResourceSpec(kind, every_s, newest_at) for url in urls}  # type: ignore[arg-type]
        self.poller.set_resources(self.specs)

    async def go(self, seconds: float) -> list[PollResult]:
        """Let that time pass, polling whatever comes due at its time."""
        end, results = self.now + seconds, []
        while (due := self.poller.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            results += await self.poller.poll_due()
        self.now = end
        return results

    def wait_s(self) -> float:
        """Seconds until the next poll."""
        due = self.poller.next_due()
        assert due is not None
        return due - self.now


def run_bench(
    folder: Path,
    test: Callable[[Bench], Awaitable[T]],
    *,
    limits: Fetching | None = None,
    gap_s: float = 0.0,
    inside: tuple[str, ...] = (),
    page_timeout_s: float = 30.0,
) -> T:
    """Run a test with a poller whose database is in the folder. All loopback hosts may be asked;
    `inside` are those that count as the operator's own."""

    async def main() -> T:
        database = Database(folder / "records.sqlite", writable=True)
        web = Web(
            limits or Fetching(allow_private=True), inside=inside, page_timeout_s=page_timeout_s
        )
        try:
            async with web:
                return await test(Bench(database, web, gap_s=gap_s, inside=inside))
        finally:
            database.close()

    return asyncio.run(main())
