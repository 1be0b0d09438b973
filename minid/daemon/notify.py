"""Telling people: a webhook and a command, for the events that config.toml names.

Nothing here holds up who offers an event, and nothing is lost in silence: what does not arrive is
reported. docs/reference/events.md says what goes over the wire.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from minid.config import Notifying
from minid.errors import MinidError
from minid.store.events import EventRow

if TYPE_CHECKING:
    from aiohttp import ClientSession

QUEUED = 200
TRIES = 3
POST_S = 10.0
COMMAND_S = 30.0
_FIRST_PAUSE_S = 1.0
_MAX_OUTPUT = 64 << 10
_ENDS = "the service ends"
# Kind of event → the word of `notify.events` under which it is told.
TOLD = {
    "failed": "failed",
    "endless": "failed",
    "recovered": "recovered",
    "built": "built",
    "release": "release",
    "held": "held",
    "refused": "held",
    "rerolled": "held",
    "suspect": "suspect",
    "source-suspect": "suspect",
    "source-blocked": "suspect",
    "source-gone": "suspect",
    "archive-gone": "suspect",
}

Lost = Callable[[EventRow, str, str], None]
Pause = Callable[[float], Awaitable[None]]


class NotToldError(Exception):
    """A target did not take an event. `again` says that another try may help. The text shows
    nothing of what a target's address may keep secret."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


class Target(Protocol):
    """Where notifications go."""

    name: str

    async def tell(self, body: bytes) -> None:
        """Deliver one JSON object; NotToldError where that fails."""

    async def close(self) -> None:
        """Let go of connections."""


def notification(event: EventRow, host: str) -> dict[str, object]:
    """What targets get of an event, as JSON values."""
    facts = asdict(event)
    del facts["id"]
    return {**facts, "detail": dict(event.detail), "host": host}


class Notifier:
    """Hands events to the targets of `settings`, to each in turn and in its own time.

    `lost` is told of each event that a target did not get, with the target's name and the reason;
    it runs on the event loop. Open it on that loop, as an asynchronous context manager.
    """

    def __init__(
        self, settings: Notifying, host: str, lost: Lost, *, pause: Pause = asyncio.sleep
    ) -> None:
        self._events = frozenset(settings.events)
        self._host = host
        self._lost = lost
        self._pause = pause
        self._targets = make_targets(settings)
        self._queues: list[asyncio.Queue[EventRow]] = [asyncio.Queue(QUEUED) for _ in self._targets]
        self._workers: list[asyncio.Task[None]] = []
        self._closed = False

    async def __aenter__(self) -> Notifier:
        self._workers = [
            asyncio.create_task(self._work(target, queue))
            for target, queue in zip(self._targets, self._queues, strict=True)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def offer(self, event: EventRow) -> None:
        """Tell of this event, if it is one that people want to hear of; returns at once."""
        if TOLD.get(event.kind) not in self._events:
            return
        for target, queue in zip(self._targets, self._queues, strict=True):
            if self._closed:
                self._lost(event, target.name, _ENDS)
                continue
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._lost(event, target.name, f"{QUEUED} others wait already")

    async def close(self, deadline_s: float = 5.0) -> None:
        """Deliver what waits, within `deadline_s`; the rest is lost, and reported."""
        if self._closed:
            return
        self._closed = True
        ending = [asyncio.create_task(queue.join()) for queue in self._queues]
        if ending:
            await asyncio.wait(ending, timeout=deadline_s)
        for task in (*ending, *self._workers):
            task.cancel()
        await asyncio.gather(*ending, *self._workers, return_exceptions=True)
        for target, queue in zip(self._targets, self._queues, strict=True):
            while not queue.empty():
                self._lost(queue.get_nowait(), target.name, _ENDS)
            await target.close()

    async def _work(self, target: Target, queue: asyncio.Queue[EventRow]) -> None:
        while True:
            event = await queue.get()
            try:
                await self._tell(target, event)
            except asyncio.CancelledError:
                self._lost(event, target.name, _ENDS)
                raise
            except Exception as error:  # one surprise must not end the telling of all that follows
                words = {"message": f"{target.name}: not told", "exception": error}
                asyncio.get_running_loop().call_exception_handler(words)
            finally:
                queue.task_done()

    async def _tell(self, target: Target, event: EventRow) -> None:
        body = json.dumps(notification(event, self._host)).encode()
        for attempt in range(1, TRIES + 1):
            try:
                await target.tell(body)
            except NotToldError as error:
                if not error.again or attempt == TRIES:
                    self._lost(event, target.name, str(error))
                    return
                await self._pause(_FIRST_PAUSE_S * 4 ** (attempt - 1))
            else:
                return


def make_targets(settings: Notifying) -> list[Target]:
    """What the settings name."""
    targets: list[Target] = []
    if settings.webhook:
        targets.append(Webhook(settings.webhook))
    if settings.command:
        targets.append(Command(settings.command))
    return targets


class Webhook:
    """POSTs to a URL. Its path, its query and its user may be secrets: the name has none of it."""

    def __init__(self, url: str, *, timeout_s: float = POST_S) -> None:
        self.name = f"webhook {_shown(url)}"
        self._url = url
        self._timeout_s = timeout_s
        self._session: ClientSession | None = None

    async def tell(self, body: bytes) -> None:
        """See `Target`."""
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout)
        headers = {"Content-Type": "application/json", "User-Agent": "minid"}
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
        except TimeoutError:
            raise NotToldError(f"no answer within {self._timeout_s:g} s", again=True) from None
        except aiohttp.InvalidURL:
            raise NotToldError("expected a URL that can be asked", again=False) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Its text may hold the URL.
            raise NotToldError(f"no connection: {type(error).__name__}", again=True) from None
        if not 200 <= status < 300:
            again = status == 429 or status >= 500
            raise NotToldError(f"expected status 200 to 299, got {status}", again=again)

    async def close(self) -> None:
        """See `Target`."""
        if self._session is not None:
            await self._session.close()


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "of no address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Command:
    """Runs a program with the event on its standard input."""

    def __init__(self, argv: tuple[str, ...], *, timeout_s: float = COMMAND_S) -> None:
        self.name = f"command {argv[0]}"
        self._argv = argv
        self._timeout_s = timeout_s

    async def tell(self, body: bytes) -> None:
        """See `Target`. A command that failed has had the event: it is not run again."""
        from minid.host.process import run

        try:
            done = await asyncio.to_thread(
                run,
                self._argv,
                timeout_s=self._timeout_s,
                input_bytes=body + b"\n",
                max_output=_MAX_OUTPUT,
            )
        except MinidError as error:
            raise NotToldError(error.message, again=False) from None
        if done.status != 0:
            said = _last_line(done.stderr or done.stdout)
            raise NotToldError(f"expected status 0, got {done.status}{said}", again=False)

    async def close(self) -> None:
        """See `Target`."""


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
