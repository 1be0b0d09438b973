"""A service that only pretends to work, behind the real socket, in a loop of its own thread."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minid.daemon.requests import Request
from minid.daemon.server import Server

Answers = Callable[[Request], AsyncIterator[dict[str, Any]]]


class Pretender:
    """A handler that notes requests; `answers` says what they get, `faults` what went wrong."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.requests: list[Request] = []
        self.faults: list[BaseException] = []

    async def handle(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """Note it and answer."""
        self.requests.append(request)
        async for answer in self.answers(request):
            yield answer


@contextmanager
def short_folder() -> Iterator[Path]:
    """A new folder whose path is short enough for the address of a socket."""
    place = Path(tempfile.mkdtemp(prefix="minid-", dir="/var/tmp"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def serving(path: Path, answers: Answers, **limits: float) -> Iterator[Pretender]:
    """A server at `path` while the context is open."""
    handler = Pretender(answers)
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    failed: list[BaseException] = []

    async def serve() -> None:
        async with Server(path, handler, on_fault=handler.faults.append, **limits):
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            loop.run_until_complete(serve())
            loop.run_until_complete(asyncio.sleep(0.01))
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(30)
    if failed:
        thread.join()
        raise failed[0]
    try:
        yield handler
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive()
    if failed:
        raise failed[0]
