"""Follows the upstreams of all recipes: which pages are asked, what they mean, what is looked at.

The rules, the judging and the lives of candidates are pure and stand in modules of their own, as do
the ledger of what is known, visits to archives and what persons say; this joins them to a schedule.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

from minid.config import Tracking
from minid.recipe import Recipe
from minid.recipe_lock import Lock
from minid.store.releases import Releases
from minid.upstream.archives import Archives
from minid.upstream.ledger import Ledger, OnEvent, OnMove
from minid.upstream.orders import Orders
from minid.upstream.poll_answer import PollResult
from minid.upstream.poller import Poller, ResourceSpec
from minid.upstream.tracking import Decision, Tracked, decide
from minid.upstream.values import Verdict
from minid.upstream.visits import Visits, look_due

_LONGEST_TURN_S = 0.2
_ATTENTION = ("held", "suspect")
_FAILURES = {
    "failed": "its page could not be read",
    "gone": "its page is gone",
    "blocked": "its host wants to see a person",
    "waiting": "its host asked for patience",
}


class Tracker:
    """The upstreams of the recipes that `set_recipes` was last given. For one event loop.

    `on_event` gets a recipe's name and what a person may want to know; `on_move` a recipe and the
    release that it is to be built from now on, None for its file's own, which it must make durable
    before it returns. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        poller: Poller,
        archives: Archives,
        releases: Releases,
        *,
        tracking: Tracking,
        clock: Callable[[], float],
        on_event: OnEvent,
        on_move: OnMove,
    ) -> None:
        self._poller = poller
        self._clock = clock
        self._ledger = Ledger(
            releases,
            poller.stored,
            tracking=tracking,
            clock=clock,
            on_event=on_event,
            on_move=on_move,
        )
        self._visits = Visits(self._ledger, poller, archives, clock)
        self._orders = Orders(self._ledger, self._visits, archives)

    def set_recipes(self, recipes: Mapping[str, Recipe]) -> None:
        """Follow these recipes, each at the release that it is built from. One whose rules changed
        is judged by its stored page at once."""
        outdated = self._ledger.set_recipes(recipes)
        self._set_resources()
        for tracked in outdated:
            self._ledger.judge_stored(tracked)

    def _set_resources(self) -> None:
        specs: dict[str, ResourceSpec] = {}
        for tracked in self._ledger:
            rules = tracked.rules
            if rules.source == "none":
                continue
            known = specs.get(rules.url)
            every_s = min(rules.every_s, known.every_s) if known else rules.every_s
            specs[rules.url] = ResourceSpec(rules.source, every_s)
        self._poller.set_resources(specs)

    def next_due(self) -> float | None:
        """When `run_due` has something to do next, in seconds since the epoch; None for never."""
        times = (self._poller.next_due(), self._visits.next_due())
        return min((time for time in times if time is not None), default=None)

    async def run_due(self) -> None:
        """Ask the pages that are due, and begin to look at the archives that are; `quiet` waits for
        these."""
        results = await self._poller.poll_due()
        await self._take(deque(results))
        self._visits.begin_due()

    async def _take(self, results: deque[PollResult]) -> None:
        """Judge pages, many in a turn of the disk, and none for so long that others have to wait:
        one hostile page may take seconds."""
        time = asyncio.get_running_loop().time
        while results:
            end = time() + _LONGEST_TURN_S
            with self._ledger.releases.batch():
                while results and time() < end:
                    self._ledger.take(results.popleft())
            await asyncio.sleep(0)

    async def quiet(self) -> None:
        """Wait until no archive is looked at."""
        await self._visits.quiet()

    async def close(self) -> None:
        """End what is under way; it is due again at the next start."""
        await self._visits.close()
        self._poller.close()

    async def check(self, names: Iterable[str], *, unblock: bool = False) -> list[Decision]:
        """Ask the pages of these recipes now, and look at what is due; one decision each.

        `unblock` also asks hosts that wanted to see a person, since one is here."""
        wanted = [self._ledger.need(name) for name in names]
        failures: dict[str, str] = {}
        urls = dict.fromkeys(tracked.rules.url for tracked in wanted if tracked.rules.url)
        asked = [self._poller.poll(url, force=True, unblock=unblock) for url in urls]
        for url, result in zip(urls, await asyncio.gather(*asked), strict=True):
            self._ledger.take(result, anew=True)
            if result.outcome in _FAILURES:
                failures[url] = f"{_FAILURES[result.outcome]}: {result.reason}"
        decisions = []
        for tracked in wanted:
            name = tracked.recipe.name
            if self._ledger.find(name) is not None:
                await self._visits.visit(name)
            now = self._ledger.find(name) or tracked
            if now is not tracked:  # it has just moved: the page means something else to it
                self._ledger.judge_stored(now)
            decisions.append(_decide(now, failures.get(now.rules.url, "")))
        return decisions

    def summary(self) -> dict[str, object]:
        """Figures for `minid status`: how many upstreams are followed, which of them a person
        should look at and why, and which hosts are left alone until when."""
        decisions = self.decisions()
        waits = self._poller.waits().values()
        return {
            "followed": sum(item.decision != "untracked" for item in decisions),
            "attention": {
                item.recipe: item.note for item in decisions if item.decision in _ATTENTION
            },
            "hosts": [asdict(wait) for wait in waits],
        }

    def decisions(self) -> list[Decision]:
        """Where every upstream stands, without asking any."""
        return [_decide(tracked) for tracked in self._ledger]

    # what a person says; see `Orders`

    async def approve(self, name: str, version: str) -> Decision:
        """Take this release, though it is held, refused or below the high-water mark.

        UsageError where the page does not list it, FetchError where its archive has changed."""
        await self._orders.approve(name, version)
        return _decide(self._ledger.need(name))

    def reject(self, name: str, version: str) -> Decision:
        """Never take this release; a recipe that was moved to it goes back."""
        self._orders.reject(name, version)
        return _decide(self._ledger.need(name))

    def follow(self, name: str) -> Lock | None:
        """Let the recipe be what its file says, and follow its upstream again; the lock that it
        had."""
        return self._orders.follow(name)

    async def find_release(self, name: str, version: str) -> tuple[Lock, Verdict]:
        """The lock that pins a recipe to a version, and what verifying its archive came to; the
        archive is in the store then. FetchError where it cannot be fetched, UsageError where it is
        refused."""
        return await self._orders.find_release(name, version)

    def set_pinned(self, name: str) -> None:
        """A person keeps a recipe where it is, from now on."""
        tracked = self._ledger.find(name)
        if tracked is not None:
            tracked.pinned = True


def _decide(tracked: Tracked, failure: str = "") -> Decision:
    return decide(tracked, failure, look_due(tracked))
