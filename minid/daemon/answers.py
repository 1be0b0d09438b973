"""What the service answers to each request; `daemon.requests` says what an answer holds."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import minid
from minid.daemon import requests
from minid.daemon.folder_watch import WatchState
from minid.daemon.foreman import Foreman
from minid.daemon.requests import Request
from minid.daemon.service import Service
from minid.errors import MinidError, RecipeError, UsageError
from minid.line.planning import recipe_order
from minid.recipe_graph import unknown_recipe
from minid.upstream.tracker import Tracker
from minid.upstream.tracking import Decision

Answer = Mapping[str, object]


class Answers:
    """The handler of the service's socket. `reload` reads config.toml and returns its path,
    `watch` says how the folder is watched."""

    def __init__(
        self,
        service: Service,
        tracker: Callable[[], Tracker],
        *,
        reload: Callable[[], Awaitable[Path | None]],
        watch: Callable[[], WatchState],
        since: float,
    ) -> None:
        self._service = service
        self._tracker = tracker
        self._reload = reload
        self._watch = watch
        self._since = since

    @property
    def _foreman(self) -> Foreman:
        return self._service.foreman

    async def handle(self, request: Request) -> AsyncIterator[Answer]:
        """The answers to a request, without the closing one; a MinidError becomes the last."""
        match request:
            case requests.Ping():
                yield {"pid": os.getpid(), "version": minid.__version__}
            case requests.Status():
                yield self._status()
            case requests.Build():
                yield self._build(request)
            case requests.Follow():
                async for answer in self._follow(request.runs):
                    yield answer
            case requests.Cancel():
                yield await self._cancel(request.run)
            case requests.Next():
                yield self._next(request.run)
            case requests.Pause():
                self._foreman.pause()
                yield {"paused": self._foreman.mode}
            case requests.Resume():
                self._foreman.resume()
                yield {"paused": self._foreman.mode}
            case requests.Drain():
                async for answer in self._drain(wait=request.wait):
                    yield answer
            case requests.Reload():
                yield {"file": str(await self._reload() or "")}
            case requests.Check():
                names = request.names or tuple(self._service.catalogue.recipes)
                tracker, named = self._tracker(), bool(request.names)
                for decision in await tracker.check(names, unblock=named):
                    yield decision.as_json()
            case requests.Approve():
                decision = await self._tracker().approve(request.recipe, request.version)
                yield _told(decision)
            case requests.Reject():
                yield self._reject(request)
            case requests.Pin():
                yield await self._pin(request)
            case requests.Unpin():
                yield self._unpin(request.recipe)

    def _status(self) -> Answer:
        state, service = self._watch(), self._service
        return {
            "pid": os.getpid(),
            "version": minid.__version__,
            "since": self._since,
            "ready": True,
            "paused": self._foreman.mode,
            "watch": {"mode": state.mode, "reason": state.reason},
            "running": [asdict(item) for item in self._foreman.progress()],
            "queued": [
                {
                    "run": row.id,
                    "recipe": row.recipe,
                    "version": row.version,
                    "reason": row.reason,
                    "waits": waits,
                    "priority": row.priority,
                    "queued": row.queued,
                }
                for row, waits in self._foreman.queued()
            ],
            "problems": dict(service.catalogue.problems),
            "recipes": {
                name: {"version": version, "current": current}
                for name, (version, current) in service.versions().items()
            },
            "upstreams": self._tracker().summary(),
        }

    def _build(self, request: requests.Build) -> Answer:
        catalogue = self._service.catalogue
        passed_over: list[str] = []
        if request.names:
            # What was written a moment ago may not have been told yet.
            self._service.folder_changed(frozenset(request.names))
            self._need(request.names)
            names = list(request.names)
        else:
            names = [name for name in catalogue.recipes if catalogue.sound(name)]
            passed_over = [text for name, text in catalogue.problems.items() if text]
        asked = self._service.ask(names, forced=request.force, first=request.next)
        recipes = catalogue.recipes
        return {
            "recipes": [
                {
                    "recipe": name,
                    "version": recipes[name].source.version,
                    "run": run,
                    "manifest": manifest,
                }
                for name, (run, manifest) in asked.items()
            ],
            "passed_over": passed_over,
        }

    def _need(self, names: tuple[str, ...]) -> None:
        """The errors of `minid build` without a service."""
        catalogue = self._service.catalogue
        for name in names:
            if name not in catalogue.recipes and name not in catalogue.problems:
                raise unknown_recipe(name, catalogue.recipes)
        about = [name for name in names if name in catalogue.recipes]
        try:
            below = recipe_order(catalogue.recipes, about)
        except MinidError:
            below = tuple(about)
        wrong = dict.fromkeys([*names, *below])
        texts = [catalogue.problems[name] for name in wrong if name in catalogue.problems]
        if texts or not all(catalogue.sound(name) for name in names):
            raise RecipeError(
                "\n".join(texts) or f"{', '.join(names)}: what it stands on is broken"
            )

    async def _follow(self, runs: tuple[int, ...]) -> AsyncIterator[Answer]:
        with self._foreman.subscribe() as feed:
            waiting = set(runs)
            for run in runs:
                row = self._service.desk.records.run(run)
                if row is None or row.status not in ("queued", "running"):
                    waiting.discard(run)
                    status, error = (row.status, row.error) if row else ("unknown", "no such run")
                    recipe = row.recipe if row else ""
                    yield {
                        "event": "ended",
                        "run": run,
                        "recipe": recipe,
                        "status": status,
                        "error": error,
                    }
            if not waiting:
                return
            async for message in feed:
                if message.get("run") not in waiting:
                    continue
                yield message
                if message.get("event") == "ended":
                    waiting.discard(int(str(message["run"])))
                    if not waiting:
                        return

    async def _cancel(self, run: int) -> Answer:
        row = self._service.desk.records.run(run)
        was = await self._foreman.cancel(run)
        if row is None or not was:
            got = f"run {run}, which is over ({row.status})" if row else f"{run}"
            raise UsageError(f"cancel: expected a queued or running run, got {got}")
        ended = self._service.desk.records.run(run)
        if ended is not None and ended.status in ("ok", "unchanged"):
            raise UsageError(f"cancel: run {run} ended first ({ended.status})")
        return {"run": run, "recipe": row.recipe, "was": was}

    def _next(self, run: int) -> Answer:
        row = self._service.desk.records.run(run)
        if row is None or not self._foreman.set_next(run):
            raise UsageError(f"next: expected a run that waits, got {run}")
        return {"run": run, "recipe": row.recipe}

    async def _drain(self, *, wait: bool) -> AsyncIterator[Answer]:
        with self._foreman.subscribe() as feed:
            self._foreman.start_draining()
            running = {item.run for item in self._foreman.progress()}
            yield {"running": len(running)}
            while wait and running:
                message = await anext(feed)
                if message.get("event") == "ended" and message.get("run") in running:
                    running.discard(int(str(message["run"])))
                    yield {"running": len(running)}
        if wait:
            await self._foreman.wait_idle()

    def _reject(self, request: requests.Reject) -> Answer:
        return _told(self._tracker().reject(request.recipe, request.version))

    async def _pin(self, request: requests.Pin) -> Answer:
        lock, verdict = await self._tracker().find_release(request.recipe, request.version)
        self._service.moved(request.recipe, lock)
        self._service.desk.tell(
            "pinned", f"pinned to {lock.version}: {verdict.reason}", recipe=request.recipe
        )
        self._tracker().set_pinned(request.recipe)
        return {**lock.as_json(request.recipe), "text": verdict.reason}

    def _unpin(self, name: str) -> Answer:
        lock = self._tracker().follow(name)
        recipe = self._service.catalogue.recipes.get(name)
        version = recipe.source.version if recipe else ""
        text = f"back to the file's {version}" if lock else "was not moved"
        return {"recipe": name, "version": version, "text": text}


def _told(decision: Decision) -> Answer:
    return {**decision.as_json(), "text": decision.note}
