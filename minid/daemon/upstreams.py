"""The tracker in the service: its network, its turn on the event loop, and what it moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from minid.config import Config
from minid.daemon.service import Desk, Service
from minid.upstream.opening import open_tracker
from minid.upstream.values import Event

_SLEEP_S = 300.0
_AFTER_FAULT_S = 60.0
_LEAST_S = 0.02
_FOLLOW_AFTER_S = 0.25


class Upstreams:
    """Follows the upstreams of a service's recipes as long as it is open. An asynchronous context
    manager; `on_fault` is told what nobody expected, and the tracker goes on a minute later."""

    def __init__(
        self,
        config: Config,
        desk: Desk,
        service: Service,
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._config = config
        self._desk = desk
        self._service = service
        self._on_fault = on_fault
        self._changed = asyncio.Event()
        self._parts = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Upstreams:
        desk = self._desk
        opening = open_tracker(
            self._config,
            desk.blobs,
            desk.records.database,
            clock=desk.clock,
            on_event=self._tell,
            on_move=self._service.moved,
        )
        self.tracker = await self._parts.enter_async_context(opening)
        self.follow_now()
        if self._config.track.enabled:
            self._task = asyncio.create_task(self._run(), name="upstreams")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._parts.aclose()

    def recipes_changed(self) -> None:
        """Follow the recipes as they are in a moment; one that is broken waits until it is mended.

        Not at once: of thousands that takes longer than the run of what changed should wait.
        """
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_FOLLOW_AFTER_S, self.follow_now)

    def follow_now(self) -> None:
        """As `recipes_changed`, at once: for a recipe that the tracker is at work on and moved."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.tracker.set_recipes(self._service.catalogue.recipes)
        self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.tracker.run_due()
                due = self.tracker.next_due()
                wait_s = _SLEEP_S if due is None else due - self._desk.clock()
            except Exception as error:  # one page's surprise must not end the tracking of all
                self._on_fault(error)
                wait_s = _AFTER_FAULT_S
            with suppress(TimeoutError):
                self._changed.clear()
                await asyncio.wait_for(self._changed.wait(), min(max(wait_s, _LEAST_S), _SLEEP_S))

    def _tell(self, recipe: str, event: Event) -> None:
        self._desk.tell(event.kind, event.text, recipe=recipe, detail=dict(event.detail))
