"""Asks upstream pages, politely: what is due, one host at a time, with what the server said last.

A resource is a page, however many recipes look at it. Nothing is judged here but whether the bytes
are such a page at all; what it lists is for its reader.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from minid.config import Tracking
from minid.errors import MinidError, StoreError
from minid.host.git_tags import list_tags
from minid.host.http import StatusError
from minid.host.web import Answer, Web
from minid.store.polls import HostWait, PollRow, Polls, PollState
from minid.upstream import polling
from minid.upstream.hosts import BLOCKED, Hosts, host_of, name_of
from minid.upstream.page_bytes import SourceKind
from minid.upstream.poll_answer import (
    Polled,
    PollResult,
    read_answer,
    read_failure,
    validators,
)
from minid.upstream.poll_memory import PollMemory

BATCH = 100
BATCH_BYTES = 32 << 20
GIT_PARALLEL = 4
_KEPT_S = 30 * 24 * 3600.0
_AFTER_BREAKER_S = 600.0


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    """A page to ask: `every_s` is the shortest interval that one of its readers asks for, and
    `newest_at` when its newest release came out (seconds since the epoch). Where that is not
    known, 0, the last change of the page stands for it."""

    kind: SourceKind
    every_s: float
    newest_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Page:
    """A page that is asked, where, and whether its host is one of the operator's own."""

    spec: ResourceSpec
    host: str
    inside: bool


class Poller:
    """Owns the schedule. `clock` gives seconds since the epoch, `random` numbers from 0 to 1.

    For one event loop and one caller of `poll_due` at a time; `poll` may be called beside it.
    `hosts` is for those who ask the same hosts for other things than pages.
    `sleep` is for the gap before a poll that a person asked for. StoreError passes everywhere.
    """

    def __init__(
        self,
        web: Web,
        polls: Polls,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        tracking: Tracking,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._web = web
        self._memory = PollMemory(polls)
        self._clock = clock
        self._random = random
        self._tracking = tracking
        self._pages: dict[str, _Page] = {}
        self.hosts = Hosts(
            polls.waits(), self._memory, clock=clock, gap_s=tracking.gap_s, sleep=sleep
        )
        self._slots = asyncio.Semaphore(tracking.parallel)
        # Not the loop's own threads: those resolve names, for which nobody should have to wait.
        self._git = ThreadPoolExecutor(GIT_PARALLEL, "git ls-remote")
        self._began = False

    def close(self) -> None:
        """Ask git nothing more; what it was asked ends by itself."""
        self._git.shutdown(wait=False, cancel_futures=True)

    def set_resources(self, specs: Mapping[str, ResourceSpec]) -> None:
        """From now on, ask these pages and no others. A new one is due at once; one whose interval
        became shorter is due within that. What was overdue when minid started is spread."""
        now = self._clock()
        before, memory = self._pages, self._memory
        self._pages = {url: self._place(url, spec, before.get(url)) for url, spec in specs.items()}
        overdue = [url for url in specs if memory.row(url) and memory.next_poll(url) <= now]
        for url, page in self._pages.items():
            if before.get(url) is not page:
                due_at = memory.next_poll(url) if memory.row(url) else now
                memory.schedule(url, min(due_at, self._latest(page, memory.state(url), now)))
        if specs and not self._began:
            self._began = True
            window_s = polling.spread_window(len(overdue))
            for url in overdue:
                memory.schedule(url, now + window_s * self._random())
        self._forget(now - _KEPT_S)

    def due(self, now: float) -> list[str]:
        """The pages to ask now, the longest overdue first; none of a host that is left alone."""
        ready = self.hosts.ready()
        self._set_right(now)
        found = [
            (due_at, url)
            for url, page in self._pages.items()
            if page.host in ready and (due_at := self._memory.next_poll(url)) <= now
        ]
        return [url for _, url in sorted(found)]

    def _set_right(self, now: float) -> None:
        """Spread the pages that the clock has put off for years, since it was ahead for a while."""
        for url, page in self._pages.items():
            if polling.is_too_far(self._memory.next_poll(url), page.spec.every_s, now):
                self._memory.schedule(url, now + polling.MAX_SPREAD_S * self._random())

    def next_due(self) -> float | None:
        """When `poll_due` has something to do; None where there is no page."""
        return min(
            (
                max(self._memory.next_poll(url), self.hosts[page.host].ready_at())
                for url, page in self._pages.items()
            ),
            default=None,
        )

    def waits(self) -> dict[str, HostWait]:
        """The hosts that are left alone now, with the reason."""
        return self.hosts.waits()

    def row(self, url: str) -> PollRow | None:
        """The page's state, and when it is asked next unless its host is left alone longer."""
        return self._memory.row(url)

    def stored(self, url: str) -> PollResult | None:
        """The last whole page, without a request; None where there is none. One that cannot be read
        any more is asked for soon."""
        state = self._memory.state(url)
        if not state.whole_at:
            return None
        body = self._memory.body(url)
        if body is None:
            self._memory.schedule(url, self._clock())
            return None
        return PollResult(url, "not-modified", body, state.content_type, state.final_url)

    async def poll_due(self) -> list[PollResult]:
        """Ask what is due, up to `BATCH` pages and about `BATCH_BYTES` of them: `next_due` says
        whether more is. With a gap between requests, each host is asked for one page."""
        results: list[PollResult] = []
        chosen: dict[str, list[str]] = {}
        for url in self.due(self._clock())[: None if self._tracking.gap_s else BATCH]:
            urls = chosen.setdefault(self._pages[url].host, [])
            if not urls or not self._tracking.gap_s:
                urls.append(url)
            if len(chosen) == BATCH:
                break
        try:
            await _together(self._visit(host, urls, results) for host, urls in chosen.items())
        finally:
            self._memory.save()
        return results

    async def poll(self, url: str, *, force: bool = True, unblock: bool = False) -> PollResult:
        """Ask one of the set pages now, or without `force` only if it is due. Heeds the gap, and a
        host that is left alone; with `unblock` not because of a captcha or 403, but still where
        the host asked for it."""
        page = self._pages[url]
        host = self.hosts[page.host]
        async with host.lock:
            now, wait = self._clock(), host.wait
            if wait and wait.until > now and not (unblock and wait.reason.startswith(BLOCKED)):
                return PollResult(url, "waiting", reason=wait.reason, until=wait.until)
            due_at = self._memory.next_poll(url)
            if not force and due_at > now:
                return PollResult(url, "waiting", reason="not due yet", until=due_at)
            await self.hosts.gap(host)
            async with self._slots:
                result = await self._ask(url, page)
        self._memory.save()
        return result

    async def _visit(self, name: str, urls: Iterable[str], results: list[PollResult]) -> None:
        """Ask a host for pages, one after the other, as long as that is welcome."""
        host = self.hosts[name]
        async with host.lock, self._slots:
            for url in urls:
                page = self._pages.get(url)
                full = sum(len(result.body) for result in results) > BATCH_BYTES
                if page is None or full or host.ready_at() > self._clock():
                    return
                results.append(await self._ask(url, page))

    async def _ask(self, url: str, page: _Page) -> PollResult:
        """One poll; the caller holds the host."""
        state, host = self._memory.state(url), self.hosts[page.host]
        try:
            polled = await self._request(url, page.spec.kind, state)
        except StoreError:
            raise
        except MinidError as error:
            polled = read_failure(url, state, error, self._clock())
        finally:
            self.hosts.end(host)
        self._note(url, page, polled)
        return polled.result

    async def _request(self, url: str, kind: SourceKind, state: PollState) -> Polled:
        if kind == "git-tags":
            answer = await self._list_tags(url)
            return read_answer(url, kind, state, answer, self._clock())
        headers = validators(state, self._clock())
        answer = await self._web.get(url, headers=headers)
        if answer.status == 304 and (not headers or self._memory.body(url) is None):
            answer = await self._web.get(url)
            if answer.status == 304:
                answer = replace(answer, status=500)
        return read_answer(url, kind, state, answer, self._clock())

    async def _list_tags(self, url: str) -> Answer:
        """The tags as a page of lines."""
        web = self._web
        try:
            ask = functools.partial(list_tags, url, web.insiders, proxy=web.proxy)
            tags = await asyncio.get_running_loop().run_in_executor(self._git, ask)
        except StatusError as error:
            return Answer(error.status, {}, b"", url)
        return Answer(200, {}, "\n".join(tags).encode(), url)

    def _note(self, url: str, page: _Page, polled: Polled) -> None:
        """Remember what a poll came to, and when the next one is."""
        now, result = self._clock(), polled.result
        body = result.body if result.outcome == "fresh" else None
        self._memory.note(url, polled.state, self._next_poll(page, polled, now), body)
        if polled.wait is not None:
            self.hosts.leave_alone(polled.wait)
        elif result.outcome != "failed":
            self.hosts.welcome(page.host)

    def _next_poll(self, page: _Page, polled: Polled, now: float) -> float:
        chance, result = self._random(), polled.result
        if result.outcome == "failed":
            return now + polling.backoff(polled.state.failures, chance)
        if result.outcome == "waiting":
            return result.until
        if result.outcome == "blocked":
            return result.until + _AFTER_BREAKER_S * chance
        interval_s = _interval(page, polled.state, now)
        if result.outcome == "gone":
            interval_s = max(interval_s, polling.MAX_INTERVAL_S)
        return now + polling.jittered(interval_s, chance)

    def _place(self, url: str, spec: ResourceSpec, before: _Page | None) -> _Page:
        """The page; the very one from before where nothing changed, and so for 10,000 at once."""
        if before is not None:
            return before if before.spec == spec else replace(before, spec=spec)
        host = host_of(url)
        self.hosts.add(host)
        return _Page(spec, host, self._web.insiders.lists(name_of(host)))

    def _latest(self, page: _Page, state: PollState, now: float) -> float:
        """When a page is due at the latest by its interval as it is now."""
        if state.failures or not state.polled_at:
            return now + 2 * polling.MAX_INTERVAL_S
        return state.polled_at + polling.jittered(_interval(page, state, now), 1.0)

    def _forget(self, before: float) -> None:
        """Drop what nobody has asked for since then."""
        self._memory.forget(self._pages, before)
        self.hosts.forget(before)


def _interval(page: _Page, state: PollState, now: float) -> float:
    newest_at = page.spec.newest_at or state.changed_at
    age_s = now - newest_at if newest_at else None
    return polling.base_interval(page.spec.every_s, age_s, inside=page.inside)


async def _together(visits: Iterable[Awaitable[None]]) -> None:
    """Run them side by side; where one fails, or this is cancelled, end the others first."""
    tasks = [asyncio.ensure_future(visit) for visit in visits]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
