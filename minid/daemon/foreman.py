"""The foreman: holds the queue, and lets a worker do each run when its time has come.

All methods belong to the event loop's thread. The foreman alone changes the queue; workers write
what they make, and the foreman how their runs ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from minid.config import Config
from minid.daemon.crew import Crew, Spawn
from minid.daemon.job import Result
from minid.daemon.progress import Feed, Progress, Subscription
from minid.daemon.retry import interrupted_delay_s, judge_attempt, judge_end
from minid.daemon.schedule import Facts, all_below, make_schedule
from minid.daemon.waiting import WaitingList
from minid.errors import HostError, MinidError, StoreError
from minid.line.attempt import attempt_key, reason_of
from minid.line.planning import Standing, recipe_order
from minid.recipe import Recipe
from minid.recipe_graph import references
from minid.store.events import EventRow, Events
from minid.store.queue import Queue
from minid.store.records import Records, RunRow

PAUSED, DRAINING = "paused", "draining"
_MODE = "queue.mode"
_LOOK_AGAIN_S = 10.0
_MAX_SLEEP_S = 60.0


class Foreman:
    """The queue and its workers.

    `recipes` gives the recipes as they are to be built; `heard` gets every event that is written;
    each of `ended` is called with the row and result of every run that is over. All three may be
    set until `start_up`.
    """

    def __init__(
        self,
        config: Config,
        records: Records,
        queue: Queue,
        events: Events,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
    ) -> None:
        self.config = config
        self.recipes: Callable[[], Mapping[str, Recipe]] = dict
        self.heard: Callable[[EventRow], None] = lambda _event: None
        self.ended: list[Callable[[RunRow, Result], None]] = []
        self._records = records
        self._queue = queue
        self._events = events
        self._clock = clock
        self._feed = Feed()
        self._crew = Crew(records, spawn, clock=clock, tell=self._feed.publish, end=self._end)
        self._waiting = WaitingList(records, queue)
        self._waits: Mapping[int, str] = {}
        self._refused: dict[str, str] = {}
        self._mode = ""
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None

    # what others ask

    def start_up(self) -> None:
        """Take up the queue of an earlier service: what waits, and what was interrupted, which is
        queued again. `workshop.recover` must have run; nothing starts before the loop is free."""
        self._loop = asyncio.get_running_loop()
        self._mode = self._queue.setting(_MODE)
        self._waiting.load()
        now = self._clock()
        with self._records.database.batch():
            for row in self._queue.interrupted():
                delay = interrupted_delay_s(row.attempt)
                self._waiting.repeat(row, row.key, now, now + delay if delay else 0.0)
        self.wake()

    def submit(
        self,
        standing: Standing,
        *,
        standings: Mapping[str, Standing] | None = None,
        reason: str = "",
        forced: bool = False,
        asked: bool = False,
        priority: int = 0,
    ) -> int | None:
        """Queue a run of a recipe if it is worth one; the id of that run, or of the open one that
        does the same; None where nothing is to be done (`refusal` has the reason, if any).

        `standings` has what the recipe stands on, which is to be submitted before it. `asked` is
        for a person, who may try again what failed; `forced` runs every stage again.
        """
        name = standing.recipe.name
        self._refused.pop(name, None)
        if standing.current and not forced:
            self._drop_needless(name)
            return None
        if lacking := self._lacking(standing, standings or {}):
            self._refused[name] = f"stands on {lacking}, which is not up to date and not queued"
            return None
        key = attempt_key(standing, standings)
        waiting = self._waiting.get(name)
        if waiting is not None and waiting.key == key and not (forced or asked or priority):
            return waiting.id
        for row in self._crew.rows():
            if (row.recipe, row.key) == (name, key) and not forced:
                return row.id
        if not (forced or asked) and self._refuses(name, key):
            return None
        before = self._records.inputs(name)
        why = reason or ("forced" if forced else reason_of(standing, before))
        changes = standing.changes if before else ()
        with self._records.database.batch():
            words = (standing, key, why, self._clock())
            run = self._waiting.add(*words, changes=changes, priority=priority, forced=forced)
            if waiting is None:
                self._tell("queued", why, recipe=name, run=run)
                self._feed.publish({"event": "queued", "recipe": name, "run": run})
        self.wake()
        return run

    def refusal(self, name: str) -> str:
        """Why the recipe's last submission was refused; empty where it was not."""
        return self._refused.get(name, "")

    def forget(self, name: str) -> None:
        """The recipe is gone or broken: what waits of it is dropped, what runs goes on."""
        row = self._waiting.get(name)
        if row is not None:
            self._drop(row, "skipped", f"{name}: the recipe is gone or broken")

    async def cancel(self, run: int) -> str:
        """End a run; what it was (`queued` or `running`), empty where it is over. When this
        returns no process of it is left, and the row says so."""
        row = self._waiting.find(run)
        if row is not None:
            self._drop(row, "cancelled", "cancelled while it waited")
            return "queued"
        return "running" if await self._crew.cancel(run) else ""

    def set_next(self, run: int) -> bool:
        """Put a queued run before all others; False where it does not wait."""
        row = self._waiting.find(run)
        if row is None:
            return False
        self._waiting.advance(row)
        self.wake()
        return True

    def pause(self) -> None:
        """Start nothing until `resume`, also after a restart."""
        self._set_mode(PAUSED)

    def resume(self) -> None:
        """Start runs again."""
        self._set_mode("")

    def start_draining(self) -> None:
        """As `pause`, and say that it is for the runs under way to end (see `wait_idle`)."""
        self._set_mode(DRAINING)

    async def drain(self) -> None:
        """Start nothing until `resume`, also after a restart; returns when nothing runs."""
        self.start_draining()
        await self.wait_idle()

    async def wait_idle(self) -> None:
        """Return when nothing runs."""
        await self._crew.wait_idle()

    async def stop(self, deadline_s: float = 0.0) -> None:
        """Start nothing more; let runs end that should within `deadline_s`, and interrupt the
        others, which the next `start_up` takes up again. Nothing runs when this returns."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        await self._crew.stop(deadline_s)

    def configure(self, config: Config) -> None:
        """Work with another configuration; what runs keeps the old one."""
        self.config = config
        self.wake()

    @property
    def mode(self) -> str:
        """Empty, `paused` or `draining`."""
        return self._mode

    def progress(self) -> list[Progress]:
        """What runs now, the oldest first."""
        return self._crew.progress()

    def queued(self) -> list[tuple[RunRow, str]]:
        """What waits and why, the next first."""
        return [(row, self._waits.get(row.id, "starts now")) for row in self._waiting.ordered()]

    def count_queued(self) -> int:
        """How many wait, without the sorting of thousands."""
        return len(self._waiting)

    def subscribe(self) -> Subscription:
        """The messages of workers (`daemon.job`) with `recipe` and `run`, besides `queued`,
        `started`, and `ended` with the fields of `Result`."""
        return self._feed.subscribe()

    def wake(self) -> None:
        """Look what can start, once the loop is free."""
        if self._loop is not None and not self._woken:
            self._woken = True
            self._loop.call_soon(self._step)

    # the queue

    def _lacking(self, standing: Standing, standings: Mapping[str, Standing]) -> str:
        """What the recipe stands on that is not up to date, and that nothing will bring so."""
        below = [name for name in references(standing.recipe) if name in standings]
        late = [name for name in below if not standings[name].current]
        running = {row.recipe for row in self._crew.rows()} if late else ()
        return next((n for n in late if n not in running and self._waiting.get(n) is None), "")

    def _refuses(self, name: str, key: str) -> bool:
        """Whether to leave a recipe alone; why is told once a key."""
        refusal = judge_attempt(key, self._queue.ended(name), self._clock())
        if refusal is None:
            return False
        self._refused[name] = refusal.text
        told = self._events.last_of(name, refusal.kind)
        if told is None or told.detail.get("key") != key:
            self._tell(refusal.kind, refusal.text, recipe=name, key=key)
        return True

    def _drop_needless(self, name: str) -> None:
        row = self._waiting.get(name)
        if row is not None and not row.forced:
            self._drop(row, "unchanged", "")

    def _drop(self, row: RunRow, status: str, error: str) -> None:
        """End a run that waits."""
        with self._records.database.batch():
            row = self._waiting.drop(row, status, error, self._clock())
            if status != "unchanged":
                self._tell(status, error, recipe=row.recipe, run=row.id)
        self._publish_end(row, Result(status, row.key, error=error))
        self.wake()

    def _set_mode(self, mode: str) -> None:
        self._queue.set_setting(_MODE, mode)
        self._mode = mode
        self.wake()

    # starting

    def _step(self) -> None:
        self._woken = False
        if self._stopping:
            return
        try:
            facts = self._facts()
        except OSError as error:  # the state folder is away
            self._waits = {row.id: str(error) for row in self._waiting}
            self._set_timer(None)
            return
        made = make_schedule(self._waiting, self._crew.rows(), facts)
        self._waits = made.waits
        try:
            for run in made.starts:
                row = self._waiting.find(run)
                if row is not None:
                    self._start(row)
        except StoreError as error:  # a full disk, for one: the timer has it tried again
            self._waits = {run: str(error) for run in made.starts}
        self._set_timer(made.wake_at)

    def _facts(self) -> Facts:
        state = os.statvfs(self.config.paths.state)
        return Facts(
            now=self._clock(),
            slots=self.config.build.parallel,
            mode=self._mode,
            free_bytes=state.f_bavail * state.f_frsize,
            min_free_bytes=self.config.daemon.min_free_bytes,
            stands_on=self._waiting.stands_on(self.recipes()),
        )

    def _set_timer(self, wake_at: float | None) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._waiting):
            left = _LOOK_AGAIN_S if wake_at is None else wake_at - self._clock()
            self._timer = self._loop.call_later(min(max(left, 0.05), _MAX_SLEEP_S), self.wake)

    def _start(self, row: RunRow) -> None:
        """The row first, which people see; then the worker."""
        recipes = self.recipes()
        try:
            order = recipe_order(recipes, [row.recipe])
        except MinidError as error:
            self._drop(row, "skipped", str(error))
            return
        now = self._clock()
        with self._records.database.batch():
            row = self._waiting.begin(row, now)
            self._tell("started", row.reason, recipe=row.recipe, run=row.id)
        self._feed.publish({"event": "started", "recipe": row.recipe, "run": row.id})
        estimate = self._queue.stage_seconds(row.recipe)
        try:
            self._crew.start(row, {name: recipes[name] for name in order}, self.config, estimate)
        except (MinidError, OSError) as error:  # no descriptor is left, for one
            text, hint = str(error), getattr(error, "hint", "")
            code = HostError.exit_code
            self._end(row, Result("infra", row.key, code, text, hint, retryable=True), "")

    # ending

    def _end(self, row: RunRow, result: Result, ending: str) -> None:
        """Record how a run ended and all that follows, together; StoreError leaves it undone."""
        try:
            ended, result = self._record_end(row, result, ending)
        except StoreError:
            self._waiting.load()
            raise
        self._publish_end(ended, result)
        self.wake()

    def _record_end(self, row: RunRow, result: Result, ending: str) -> tuple[RunRow, Result]:
        now = self._clock()
        recorded = self._records.run(row.id)
        if recorded is not None and recorded.status == "ok" and result.status != "ok":
            result = replace(result, status="ok", error="", exit_code=0)  # killed after its end
        earlier = [old for old in self._queue.ended(row.recipe) if old.id != row.id]
        verdict = judge_end(row, result, ending=ending, earlier=earlier)
        result = replace(result, status=verdict.status, key=result.key or row.key)
        with self._records.database.batch():
            if verdict.status != "ok":
                code, error = result.exit_code, result.error
                self._records.fail_run(row.id, error, code, now, verdict.status)
            self._queue.set_key(row.id, result.key)
            for kind, text in verdict.events:
                self._tell(kind, text, recipe=row.recipe, run=row.id)
            if verdict.retry_in_s is not None:
                self._waiting.repeat(row, result.key, now, now + verdict.retry_in_s)
        if verdict.status not in ("ok", "unchanged", "interrupted"):
            self._drop_dependents(row.recipe, verdict.status)
        ended = self._records.run(row.id)
        assert ended is not None
        return ended, result

    def _drop_dependents(self, name: str, status: str) -> None:
        """What waits for a recipe that will not be built for now does not wait any longer."""
        if self._waiting.get(name) is not None:
            return
        stands_on = self._waiting.stands_on(self.recipes())
        for row in list(self._waiting):
            if name in all_below(row.recipe, stands_on):
                how = "was cancelled" if status == "cancelled" else "failed"
                self._drop(row, "skipped", f"{row.recipe}: stands on {name}, which {how}")

    def _publish_end(self, row: RunRow, result: Result) -> None:
        words = asdict(result)
        self._feed.publish({**words, "event": "ended", "recipe": row.recipe, "run": row.id})
        for call in self.ended:
            try:
                call(row, result)
            except Exception as error:  # what others make of it must not stop the queue
                words = {"message": f"after run {row.id}", "exception": error}
                asyncio.get_running_loop().call_exception_handler(words)

    def _tell(
        self, kind: str, text: str, *, recipe: str, run: int | None = None, key: str = ""
    ) -> None:
        detail = {"key": key} if key else None
        self.heard(
            self._events.add(kind, text, self._clock(), recipe=recipe, run=run, detail=detail)
        )
