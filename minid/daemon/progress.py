"""What running builds do, told to whoever listens: a feed with bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

Message = Mapping[str, object]
_KEPT = 1000
# What may be left out for a listener that is slow.
_PASSING = ("log", "fetched")
_END = "ended"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running build does now. Times in seconds since the epoch; `expected_end` is None where
    no earlier run tells; `fetched` is a file's name, the bytes that came and their number if known;
    `reason` is why it runs.
    """

    run: int
    recipe: str
    version: str
    started: float
    stage: str = ""
    line: str = ""
    fetched: tuple[str, int, int | None] | None = None
    expected_end: float | None = None
    reason: str = ""


class Feed:
    """Passes messages on to all who have subscribed."""

    def __init__(self) -> None:
        self._listeners: set[Subscription] = set()

    def publish(self, message: Message) -> None:
        """Give a message to all."""
        for listener in self._listeners:
            listener.put(message)

    def subscribe(self) -> Subscription:
        """What is published from now on. To be closed."""
        listener = Subscription(self)
        self._listeners.add(listener)
        return listener

    def remove(self, listener: Subscription) -> None:
        """Give it no more."""
        self._listeners.discard(listener)


class Subscription:
    """An asynchronous iterator over messages, for one listener; a context manager. Of a listener
    that is too slow, old log lines go first, then whatever is oldest, but never the end of a run,
    which somebody may wait for."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._messages: deque[Message] = deque()
        self._ends = 0
        self._arrived = asyncio.Event()
        self._closed = False

    def put(self, message: Message) -> None:
        """Keep a message until it is asked for."""
        if message.get("event") == _END:
            self._ends += 1
        elif len(self._messages) - self._ends >= _KEPT:
            others = [item for item in self._messages if item.get("event") != _END]
            passing = (item for item in others if item.get("event") in _PASSING)
            self._messages.remove(next(passing, others[0]))
        self._messages.append(message)
        self._arrived.set()

    def close(self) -> None:
        """End the iteration once what is kept was given."""
        self._feed.remove(self)
        self._closed = True
        self._arrived.set()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._ends -= message.get("event") == _END
        return message
