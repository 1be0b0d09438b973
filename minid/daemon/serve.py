"""The process of the service: what is opened and in which order, signals, systemd, the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from minid.config import Config
from minid.daemon.answers import Answers
from minid.daemon.crew import worker_spawner
from minid.daemon.daily import Daily
from minid.daemon.folder_watch import FolderWatch, WatchState
from minid.daemon.foreman import Foreman
from minid.daemon.logging import configure_logging, get_logger
from minid.daemon.notify import Notifier as Notifications
from minid.daemon.server import Server
from minid.daemon.service import Desk, Service
from minid.daemon.upstreams import Upstreams
from minid.errors import ConfigError, MinidError
from minid.host.cgroup import enter_supervisor
from minid.host.systemd import Notifier, watchdog_timeout
from minid.line.workshop import Workshop, open_workshop
from minid.report import Silence
from minid.store.events import EventRow, Events
from minid.store.queue import Queue
from minid.store.releases import Releases

# Runs that should end within this are waited for when the service is told to stop.
STOP_S = 15.0
_ALARMING = frozenset(
    {
        *("failed", "infra", "broken", "held", "suspect", "refused", "rerolled", "notify-failed"),
        *("source-gone", "source-blocked", "archive-gone", "not-retried", "endless"),
    }
)


async def serve(
    load: Callable[[], Config],
    environ: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.time,
) -> int:
    """Run the service until it is told to stop; 0 then. `load` reads the configuration, now and at
    each reload. MinidError where the service cannot start."""
    configure_logging(environ)
    config = load()
    enter_supervisor()
    manager = Notifier.from_environ(environ)
    manager.status("waiting for the store")
    with open_workshop(config, {}, reporter=_Waiting(), clock=clock, role="daemon") as shop:
        process = _Process(shop, load, environ, manager)
        await process.run()
    return 0


class _Waiting(Silence):
    """Says that another minid is waited for."""

    def note(self, recipe: str, text: str) -> None:
        """Say it."""
        get_logger().warning(text, about=recipe)


class _Process:
    """One life of the service."""

    def __init__(
        self,
        shop: Workshop,
        load: Callable[[], Config],
        environ: Mapping[str, str],
        manager: Notifier,
    ) -> None:
        self._load = load
        self._environ = environ
        self._manager = manager
        self._log = get_logger()
        self._since = shop.clock()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._config = shop.config
        queue, events = Queue(shop.records.database), Events(shop.records.database)
        self._desk = Desk(
            shop.blobs,
            shop.records,
            queue,
            events,
            Releases(shop.records.database),
            shop.clock,
            self._heard,
        )
        spawn = worker_spawner(environ, shop.lock_fd)
        self._foreman = Foreman(
            shop.config, shop.records, queue, events, clock=shop.clock, spawn=spawn
        )
        self._service = Service(shop.config, self._desk, self._foreman, self._loop.call_later)
        self._notifications: Notifications | None = None
        self._upstreams: Upstreams | None = None
        self._watch: FolderWatch | None = None
        self._reloading = asyncio.Lock()
        self._parts = AsyncExitStack()

    async def run(self) -> None:
        """From the first scan to the last word."""
        self._loop.set_exception_handler(self._surprised)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked_to_stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        answers = Answers(
            self._service,
            lambda: self._need_upstreams().tracker,
            reload=self.reload,
            watch=self._watch_state,
            since=self._since,
        )
        tasks = []
        try:
            self._manager.status("reading the recipes")
            await self._open_parts()
            self._foreman.start_up()
            self._service.start()
            self._need_upstreams().recipes_changed()
            async with Server(self._config.socket, answers, on_fault=self._fault):
                tasks = [
                    asyncio.create_task(self._tell_progress(), name="progress"),
                    asyncio.create_task(self._feed_watchdog(), name="watchdog"),
                    asyncio.create_task(Daily(self._service, self._fault).run(), name="daily"),
                ]
                self._manager.ready(self._describe())
                self._log.info("ready", recipes=len(self._service.catalogue.recipes))
                await self._stop.wait()
                self._manager.stopping("stopping: runs end or are interrupted")
                self._manager.extend_timeout(STOP_S + 60)
                await self._close_parts()
                await self._foreman.stop(STOP_S)
        finally:
            for task in tasks:
                task.cancel()
            await self._close_parts()
            await self._foreman.stop(0.0)
            await self._hire_notifications(None)
            self._log.info("stopped")

    async def reload(self) -> Path | None:
        """Take config.toml and the recipes anew; ConfigError, and nothing changed, where the file
        is wrong."""
        async with self._reloading:
            self._manager.reloading()
            try:
                config = self._load()
                old = self._config
                _expect_same(config, "paths.state", old.paths.state, config.paths.state)
                _expect_same(config, "daemon.socket", old.socket, config.socket)
                await self._close_parts()
                self._config = config
                try:
                    self._service.configure(config)
                finally:
                    await self._open_parts()
                self._take_change(None)  # what was written while nobody watched
                self._desk.tell("reloaded", f"configuration of {config.file or 'the defaults'}")
            finally:
                self._manager.ready(self._describe())
        return config.file

    # the parts that a configuration shapes

    async def _open_parts(self) -> None:
        config, parts = self._config, AsyncExitStack()
        await self._hire_notifications(config)
        self._upstreams = await parts.enter_async_context(
            Upstreams(config, self._desk, self._service, self._fault)
        )
        self._service.catalogue_changed = self._upstreams.recipes_changed
        self._service.recipe_moved = self._upstreams.follow_now
        self._watch = parts.enter_context(
            FolderWatch(
                config.paths.recipes,
                self._folder_changed,
                poll_s=config.daemon.poll_s,
                clock=self._desk.clock,
            )
        )
        self._parts = parts

    async def _close_parts(self) -> None:
        parts, self._parts = self._parts, AsyncExitStack()
        await parts.aclose()

    async def _hire_notifications(self, config: Config | None) -> None:
        """Tell those whom this configuration names, nobody for None; what waits is told first."""
        if self._notifications is not None:
            await self._notifications.close()
        self._notifications = None
        if config is not None:
            notifications = Notifications(config.notify, socket.gethostname(), self._not_told)
            self._notifications = await notifications.__aenter__()

    def _need_upstreams(self) -> Upstreams:
        assert self._upstreams is not None
        return self._upstreams

    def _watch_state(self) -> WatchState:
        assert self._watch is not None
        return self._watch.state

    def _folder_changed(self, names: frozenset[str] | None) -> None:
        """On the watch's own thread."""
        self._loop.call_soon_threadsafe(self._take_change, names)

    def _take_change(self, names: frozenset[str] | None) -> None:
        if self._stop.is_set():
            return
        try:
            self._service.folder_changed(names)
        except MinidError as error:
            self._log.error("recipes not taken over", error=str(error))
            self._loop.call_later(5.0, self._take_change, None)

    # what others hear

    def _heard(self, event: EventRow) -> None:
        tell = self._log.warning if event.kind in _ALARMING else self._log.info
        tell(
            f"{event.kind}: {event.text}",
            kind=event.kind,
            recipe=event.recipe or None,
            run=event.run,
        )
        if self._notifications is not None:
            self._notifications.offer(event)

    def _not_told(self, event: EventRow, target: str, reason: str) -> None:
        self._desk.tell(
            "notify-failed",
            f"{target} was not told of {event.kind}: {reason}",
            recipe=event.recipe,
            run=event.run,
        )

    def _fault(self, error: BaseException) -> None:
        self._log.error("fault", error=repr(error), exc_info=error)

    def _surprised(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._log.error(str(context.get("message", "fault")), exc_info=error)

    async def _tell_progress(self) -> None:
        """Stages to the log, the queue's state to the manager."""
        with self._foreman.subscribe() as feed:
            async for message in feed:
                event = message.get("event")
                if event == "stage_finished" and not message.get("cached"):
                    self._log.info(
                        "stage finished",
                        recipe=message.get("recipe"),
                        run=message.get("run"),
                        stage=message.get("stage"),
                        seconds=message.get("seconds"),
                    )
                elif event in ("queued", "started", "ended"):
                    self._manager.status(self._describe())

    def _describe(self) -> str:
        """The service in one line, for `systemctl status`."""
        running = [item.recipe for item in self._foreman.progress()]
        words = [f"{len(self._service.catalogue.recipes)} recipes"]
        if running:
            words.append(f"building {', '.join(running)}")
        if waiting := self._foreman.count_queued():
            words.append(f"{waiting} queued")
        if broken := len(self._service.catalogue.problems):
            words.append(f"{broken} broken")
        if self._foreman.mode:
            words.append(self._foreman.mode)
        return ", ".join(words if len(words) > 1 else [*words, "idle"])

    async def _feed_watchdog(self) -> None:
        """Say that all is well, after having looked: at the store, and at what must be running."""
        timeout_s = watchdog_timeout(self._environ, os.getpid())
        while timeout_s:
            try:
                self._desk.records.has_running()
                self._desk.blobs.folder.stat()
                if self._watch is None or self._watch.state.mode != "stopped":
                    self._manager.watchdog()
            except (MinidError, OSError) as error:
                self._log.error("the store does not answer", error=str(error))
            await asyncio.sleep(timeout_s / 2)

    # signals

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            # The builds die with this process.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self._stop.set()

    def _hung_up(self) -> None:
        async def reload() -> None:
            try:
                await self.reload()
            except MinidError as error:
                self._log.error("configuration kept as it was", error=str(error))

        self._reload_task = self._loop.create_task(reload())


def _expect_same(config: Config, key: str, old: Path, new: Path) -> None:
    """ConfigError for what a running service cannot change."""
    if old != new:
        raise ConfigError(
            f"{config.file or 'the defaults'}: {key}: expected {old}, got {new}",
            hint="this takes a restart of the service",
        )
