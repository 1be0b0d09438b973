"""The hosts that are asked, each politely: when one may be asked, one request after the other.

Pages, archives, signatures and the looks after old archives all take their turn here, so that a
host that asks to be left alone is left alone by all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from minid.errors import FetchError
from minid.formats.url import parse_web_address
from minid.host.http import StatusError
from minid.store.polls import HostWait
from minid.upstream.poll_memory import PollMemory
from minid.upstream.polling import MAX_WAIT_S, kept_wait

BLOCKED = "blocked: "


class WaitError(FetchError):
    """Nothing was asked, or no answer given, since the host wants to be left alone `until` then
    (seconds since the epoch)."""

    def __init__(self, reason: str, until: float) -> None:
        super().__init__(reason)
        self.until = until


@dataclass(slots=True)
class Host:
    """What is known of one host. `free_at` is the end of the gap after its last request; `lock` is
    held by who asks, `download` by who fetches an archive, which may take long."""

    wait: HostWait | None = None
    free_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    download: asyncio.Lock = field(default_factory=asyncio.Lock)

    def ready_at(self) -> float:
        """When it may be asked."""
        return max(self.free_at, self.wait.until if self.wait else 0.0)


class Hosts:
    """All hosts by `host_of`; `memory` outlives them. For one event loop."""

    def __init__(
        self,
        waits: Mapping[str, HostWait],
        memory: PollMemory,
        *,
        clock: Callable[[], float],
        gap_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hosts = {name: Host(wait) for name, wait in waits.items()}
        self._memory = memory
        self._clock = clock
        self._gap_s = gap_s
        self._sleep = sleep

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def add(self, name: str) -> None:
        """Know a host."""
        self._hosts.setdefault(name, Host())

    def ready(self) -> frozenset[str]:
        """The hosts that may be asked now."""
        now = self._clock()
        self._set_right(now)
        return frozenset(name for name, host in self._hosts.items() if host.ready_at() <= now)

    def _set_right(self, now: float) -> None:
        """Forget times that are too far off to be true: the clock was ahead when they were set."""
        for name, host in self._hosts.items():
            host.free_at = min(host.free_at, now + self._gap_s)
            if host.wait is not None and host.wait.until - now > 2 * MAX_WAIT_S:
                self._end_wait(name, host)

    def waits(self) -> dict[str, HostWait]:
        """The hosts that are left alone now, with the reason."""
        now = self._clock()
        return {
            name: host.wait
            for name, host in self._hosts.items()
            if host.wait is not None and host.wait.until > now
        }

    @asynccontextmanager
    async def turn(self, url: str) -> AsyncIterator[None]:
        """The host of `url` for one request, after the gap; WaitError where it is left alone. What
        the server says inside, as a StatusError, is heeded, and becomes a WaitError too."""
        host = self._known(host_of(url))
        async with host.lock:
            await self.begin(host)
            try:
                async with self.heeding(url):
                    yield
            finally:
                self.end(host)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[None]:
        """As `turn`, for an archive: one a host, and its pages may be asked meanwhile."""
        host = self._known(host_of(url))
        async with host.download:
            async with host.lock:
                await self.begin(host)
                self.end(host)
            try:
                async with self.heeding(url):
                    yield
            finally:
                self.end(host)

    async def begin(self, host: Host) -> None:
        """Wait for the end of the gap; WaitError where the host is left alone."""
        self._expect_welcome(host)
        await self.gap(host)

    async def gap(self, host: Host) -> None:
        """Wait for the end of the gap."""
        wait_s = host.free_at - self._clock()
        if wait_s > 0:
            await self._sleep(min(wait_s, self._gap_s))

    def _expect_welcome(self, host: Host) -> None:
        if host.wait is not None and host.wait.until > self._clock():
            raise WaitError(host.wait.reason, host.wait.until)

    def end(self, host: Host) -> None:
        """A request is over: the gap begins."""
        host.free_at = self._clock() + self._gap_s

    @asynccontextmanager
    async def heeding(self, url: str) -> AsyncIterator[None]:
        """Take a StatusError of 429, or of 503 with a time, as its host's wish: a WaitError."""
        try:
            yield
        except StatusError as error:
            timed = error.retry_after_s is not None
            if error.status != 429 and not (error.status == 503 and timed):
                raise
            now = self._clock()
            until = now + kept_wait(error.retry_after_s or 0.0)
            name = host_of(error.place or url)
            reason = asked_reason(name, until - now, error.status)
            self.leave_alone(HostWait(name, until, reason))
            self._memory.save()
            raise WaitError(reason, until) from error

    def leave_alone(self, wait: HostWait) -> None:
        """Never for a shorter time than it was to be."""
        host = self._known(wait.host)
        if host.wait is None or host.wait.until < wait.until:
            host.wait = wait
            self._memory.note_wait(wait)

    def welcome(self, name: str) -> None:
        """The host has answered: what it was left alone for is over, if it was blocked or its time
        has come."""
        host = self[name]
        wait = host.wait
        if wait is not None and (wait.until <= self._clock() or wait.reason.startswith(BLOCKED)):
            self._end_wait(name, host)

    def _end_wait(self, name: str, host: Host) -> None:
        host.wait = None
        self._memory.note_wait(HostWait(name, 0.0, ""))

    def forget(self, before: float) -> None:
        """Drop waits that were over by then."""
        for name, host in self._hosts.items():
            if host.wait is not None and host.wait.until < before:
                self.welcome(name)

    def _known(self, name: str) -> Host:
        self.add(name)
        return self._hosts[name]


def asked_reason(host: str, wait_s: float, status: int) -> str:
    """The reason of a wait that a host asked for."""
    return f"{host} asked to be left alone for {wait_s:.0f} s (status {status})"


def host_of(url: str) -> str:
    """Host and port, by which hosts are told apart; for a URL that is none, itself."""
    try:
        return parse_web_address(url).authority.lower()
    except FetchError:
        return url


def name_of(host: str) -> str:
    """The name alone of what `host_of` gave."""
    return urlsplit(f"//{host}").hostname or "" if "//" not in host else ""
