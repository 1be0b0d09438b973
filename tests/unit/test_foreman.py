"""The foreman's decisions, with shell scripts as workers and a clock that moves by hand."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from minid.config import Building, Config, Paths, Serving
from minid.daemon.foreman import Foreman
from minid.daemon.job import Job, Result
from minid.errors import HostError
from minid.formats.digest import Digest
from minid.host import process
from minid.line.planning import Standing
from minid.recipe import Build, Recipe, Rootfs, Source
from minid.steps.plan import OwnFiles, Plan
from minid.store.events import Events
from minid.store.queue import Queue
from minid.store.records import Records, RunRow, StageRow

OK = Result("ok", "plan:1")


def recipe(name: str, base: str = "scratch") -> Recipe:
    return Recipe(
        name=name,
        file=Path(f"{name}.toml"),
        folder=Path(name),
        kind="image",
        source=Source("1.0", "https://upstream.test/x.tar.gz", Digest.of(b"")),
        build=Build(),
        rootfs=Rootfs(base=base),
    )


def say(result: Result) -> str:
    """A worker that ends this way."""
    line = json.dumps({"event": "result", **asdict(result)})
    return f"cat <<'END'\n{line}\nEND\n"


class Bench:
    """A foreman over an empty store."""

    def __init__(self, folder: Path) -> None:
        paths = Paths(recipes=folder / "recipes", state=folder)
        self.now = 1_700_000_000.0
        self.config = Config(None, paths, build=Building(jobs=1), daemon=Serving(min_free_bytes=0))
        self.records = Records(paths.records, writable=True, shared=True)
        self.queue = Queue(self.records.database)
        self.events = Events(self.records.database)
        self.recipes = {item.name: item for item in map(recipe, ("web", "app", "solo"))}
        self.scripts: dict[str, str] = {}
        self.jobs: list[Job] = []
        self.ends: list[tuple[RunRow, Result]] = []
        self.hire()

    def hire(self) -> None:
        """A new foreman, as after a restart."""
        self.foreman = Foreman(
            self.config,
            self.records,
            self.queue,
            self.events,
            clock=lambda: self.now,
            spawn=self.spawn,
        )
        self.foreman.recipes = lambda: self.recipes
        self.foreman.ended.append(lambda row, result: self.ends.append((row, result)))

    def spawn(self, job: Job) -> subprocess.Popen[bytes]:
        self.jobs.append(job)
        script = self.scripts.get(job.recipe, say(OK))
        if '"status": "ok"' in script:
            self.records.finish_run(job.run, job.recipe, "", {}, self.now)  # as a worker does
        return process.start(["sh", "-c", script])

    def standing(self, name: str, value: str = "1", **values: object) -> Standing:
        plan = Plan("c", image="i", inputs={"value": value})
        made = Standing(
            self.recipes[name], OwnFiles(), None, Digest.of(b""), plan, (), None, (), False
        )
        return replace(made, **values)  # type: ignore[arg-type]

    def submit(self, name: str, value: str = "1", **options: object) -> int | None:
        return self.foreman.submit(self.standing(name, value), **options)  # type: ignore[arg-type]

    async def until(self, what: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not what():
            assert time.monotonic() < end, "waited in vain"
            await asyncio.sleep(0.002)

    async def over(self, count: int = 1) -> None:
        await self.until(lambda: len(self.ends) >= count)
        await self.foreman.wait_idle()

    def kinds(self) -> list[str]:
        return [row.kind for row in self.events.after(0)]

    def statuses(self) -> list[str]:
        return [row.status for row in self.records.runs()][::-1]

    def waits(self) -> dict[str, str]:
        return {row.recipe: why for row, why in self.foreman.queued()}


def play(folder: Path, work: Callable[[Bench], Coroutine[object, object, None]]) -> None:
    async def go() -> None:
        bench = Bench(folder)
        bench.foreman.start_up()
        try:
            await work(bench)
        finally:
            await bench.foreman.stop()
            bench.records.close()

    asyncio.run(go())


def test_current_ones_are_left_alone(tmp_path: Path):
    async def work(bench: Bench) -> None:
        standing = bench.standing("web", current=True)
        assert bench.foreman.submit(standing) is None
        assert bench.records.runs() == []
        assert bench.foreman.submit(standing, forced=True)
        await bench.over()
        assert bench.jobs[0].forced

    play(tmp_path, work)


def test_ten_saves_are_one_run_of_the_last(tmp_path: Path):
    async def work(bench: Bench) -> None:
        runs = {bench.submit("web", str(number)) for number in range(10)}
        assert len(runs) == 1
        await bench.over()
        assert len(bench.jobs) == 1
        assert bench.kinds() == ["queued", "started", "built"]

    play(tmp_path, work)


def test_the_running_one_that_does_the_same_will_do(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = "exec sleep 60"
        run = bench.submit("web")
        await bench.until(bench.foreman.progress)
        assert bench.submit("web") == run
        other = bench.submit("web", "2")
        assert other != run
        await asyncio.sleep(0)
        assert bench.waits() == {"web": f"run {run} of it is running"}

    play(tmp_path, work)


def test_a_failure_is_not_repeated_and_that_is_told_once(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = say(Result("failed", "", 20, "no such file"))
        bench.submit("web")
        await bench.over()
        for _ in range(3):
            assert bench.submit("web") is None
        assert "no such file" in bench.foreman.refusal("web")
        bench.hire()
        bench.foreman.start_up()
        assert bench.submit("web") is None
        assert bench.kinds().count("not-retried") == 1
        assert bench.submit("web", asked=True)
        await bench.over(2)
        assert bench.foreman.refusal("web") == ""

    play(tmp_path, work)


def test_infra_is_tried_again_later_and_a_new_save_does_not_shorten_that(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = say(Result("infra", "", 30, "disk full", retryable=True))
        bench.submit("web")
        for attempt in (1, 2, 3):
            await bench.over(attempt)
            await asyncio.sleep(0)
            ((row, why),) = bench.foreman.queued()
            assert (row.attempt, row.not_before) == (
                attempt + 1,
                bench.now + 60 * 2 ** (attempt - 1),
            )
            assert why.startswith("back-off until")
            assert bench.submit("web") == row.id
            bench.now = row.not_before - 1
            bench.foreman.wake()
            await asyncio.sleep(0.01)
            assert len(bench.jobs) == attempt
            bench.now += 1
            bench.foreman.wake()
        await bench.over(4)
        assert bench.submit("web", "2"), "a change is tried at once"
        await bench.over(5)

    play(tmp_path, work)


def test_a_lost_worker_is_given_three_tries(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = "echo Traceback; echo 'Boom: x' >&2; exit 3"
        bench.submit("web")
        for count in (1, 2, 3):
            await bench.over(count)
            bench.now += 7 * 3600
            bench.foreman.wake()
        await asyncio.sleep(0.02)
        assert len(bench.jobs) == 3
        assert bench.statuses() == ["infra"] * 3
        row, result = bench.ends[-1]
        assert "status 3" in row.error
        assert result.log_tail == ("Traceback", "Boom: x")
        assert bench.submit("web") is None
        assert "last of 3 attempts" in bench.foreman.refusal("web")

    play(tmp_path, work)


def test_wanted_again_and_again_stops_with_an_alert(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = say(Result("ok"))
        for count in (1, 2):
            assert bench.submit("web")
            await bench.over(count)
        for _ in range(2):
            assert bench.submit("web") is None
        assert bench.kinds().count("endless") == 1

    play(tmp_path, work)


def event(name: str, **words: object) -> str:
    """A line of a worker."""
    return f"echo '{json.dumps({'event': name, **words})}'\n"


def test_what_a_worker_says_between_is_no_harm(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = (
            "head -c 3000000 /dev/zero | tr '\\0' x; echo\n"
            "echo '[]'; printf '\\377\\376\\n'\n"
            + event("stage_started", stage=[1])
            + event("fetched", done="many")
            + event("else")
            + say(OK)
        )
        bench.submit("web")
        await bench.over()
        assert bench.statuses() == ["ok"]

    play(tmp_path, work)


def test_a_result_that_is_none_is_a_lost_worker(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = event("result", status="great")
        bench.submit("web")
        await bench.over()
        assert bench.ends[0][1].lost
        assert bench.statuses() == ["infra", "queued"]

    play(tmp_path, work)


def test_progress_and_the_expected_end(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.submit("web")
        await bench.over()
        run = bench.ends[0][0].id
        stages = (("environment", 40.0), ("fetch", 5.0), ("compile", 100.0), ("pack", 10.0))
        for stage, seconds in stages:
            bench.records.add_stage(run, StageRow(stage, "k", False, seconds, {}))
        bench.scripts["web"] = (
            event("stage_started", stage="fetch")
            + event("fetched", file="a.tar", done=5, total=9)
            + event("stage_finished", stage="fetch", seconds=1, cached=False)
            + event("stage_started", stage="compile")
            + event("log", line="gcc -c a.c")
            + "exec sleep 60"
        )
        bench.submit("web", "2")
        await bench.until(lambda: any(p.line for p in bench.foreman.progress()))
        (progress,) = bench.foreman.progress()
        assert progress.reason == "first build"
        assert (progress.stage, progress.line) == ("compile", "gcc -c a.c")
        assert progress.fetched == ("a.tar", 5, 9)
        assert progress.expected_end == bench.now + 110
        bench.now += 40
        assert bench.foreman.progress()[0].expected_end == bench.now + 70
        bench.now += 1000
        assert bench.foreman.progress()[0].expected_end == bench.now + 10

    play(tmp_path, work)


def test_a_stage_that_never_ran_tells_no_end_and_is_not_waited_for(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = event("stage_started", stage="compile") + "exec sleep 60"
        bench.submit("web")
        await bench.until(lambda: any(p.stage for p in bench.foreman.progress()))
        assert bench.foreman.progress()[0].expected_end is None
        await asyncio.wait_for(bench.foreman.stop(600.0), 30)
        assert bench.statuses() == ["interrupted"]  # the next start queues it

    play(tmp_path, work)


def test_pause_and_drain_survive_a_restart(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.foreman.pause()
        bench.submit("web")
        await asyncio.sleep(0.01)
        assert bench.waits() == {"web": "paused"}
        bench.hire()
        bench.foreman.start_up()
        await asyncio.sleep(0.01)
        assert bench.waits() == {"web": "paused"}
        await bench.foreman.drain()
        await asyncio.sleep(0.01)
        assert bench.waits() == {"web": "draining"}
        bench.foreman.resume()
        await bench.over()
        bench.hire()
        bench.foreman.start_up()
        assert bench.foreman.mode == ""

    play(tmp_path, work)


def test_drain_waits_for_what_runs(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = "sleep 0.1\n" + say(OK)
        bench.submit("web")
        await bench.until(bench.foreman.progress)
        await bench.foreman.drain()
        assert bench.statuses() == ["ok"]

    play(tmp_path, work)


def test_next_goes_before_all(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.foreman.pause()
        runs = {name: bench.submit(name) for name in ("web", "app", "solo")}
        assert bench.foreman.set_next(runs["solo"] or 0)
        assert bench.foreman.set_next(runs["app"] or 0)
        assert [row.recipe for row, _ in bench.foreman.queued()] == ["app", "solo", "web"]
        assert not bench.foreman.set_next(99)

    play(tmp_path, work)


def test_cancel_of_one_that_waits(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.foreman.pause()
        run = bench.submit("web")
        assert run
        assert await bench.foreman.cancel(run) == "queued"
        assert await bench.foreman.cancel(run) == ""
        assert bench.statuses() == ["cancelled"]
        assert bench.submit("web") is None, "not by itself"

    play(tmp_path, work)


def test_what_stands_on_a_failed_one_is_skipped(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.recipes["app"] = recipe("app", base="web")
        bench.recipes["top"] = recipe("top", base="app")
        bench.scripts["web"] = say(Result("failed", "", 20, "no"))
        for name in ("top", "web"):
            bench.submit(name)
        await bench.over(2)
        ends = {row.recipe: (row.status, row.error) for row, _ in bench.ends}
        assert ends["top"] == ("skipped", "top: stands on web, which failed")
        assert [job.recipe for job in bench.jobs] == ["web"]

    play(tmp_path, work)


def test_nothing_is_queued_for_a_base_that_nobody_will_build(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.recipes["app"] = recipe("app", base="web")
        bench.scripts["web"] = say(Result("failed", "", 20, "no"))
        standings = {name: bench.standing(name) for name in ("web", "app")}

        def submit(name: str, *, asked: bool = False) -> int | None:
            return bench.foreman.submit(standings[name], standings=standings, asked=asked)

        assert submit("web")
        assert submit("app")
        await bench.over(2)
        assert (submit("web"), submit("app")) == (None, None)
        assert "stands on web" in bench.foreman.refusal("app")
        assert submit("web", asked=True)
        assert submit("app")

    play(tmp_path, work)


def test_a_recipe_that_went_is_not_built(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.submit("web")
        del bench.recipes["web"]
        await bench.over()
        bench.foreman.pause()
        bench.submit("app")
        bench.foreman.forget("app")
        assert bench.statuses() == ["skipped", "skipped"]
        assert bench.jobs == []

    play(tmp_path, work)


def test_a_save_taken_back_needs_no_run(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.foreman.pause()
        bench.submit("web")
        bench.foreman.submit(bench.standing("web", current=True))
        assert bench.statuses() == ["unchanged"]
        bench.submit("web", forced=True)
        bench.foreman.submit(bench.standing("web", current=True))
        assert bench.statuses() == ["unchanged", "queued"], "what was asked for stays"

    play(tmp_path, work)


def test_a_machine_that_starts_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def work(bench: Bench) -> None:
        def refuse(_job: Job) -> subprocess.Popen[bytes]:
            raise HostError("python: expected a program to start, got no memory")

        bench.foreman._crew._spawn = refuse
        bench.submit("web")
        await bench.over()
        assert bench.statuses() == ["infra", "queued"]

    play(tmp_path, work)


def test_a_listener_that_fails_does_not_stop_the_queue(tmp_path: Path):
    async def work(bench: Bench) -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, words: told.append(words))

        def fail(_row: RunRow, _result: Result) -> None:
            raise KeyError("x")

        bench.foreman.ended.insert(0, fail)
        for name in ("web", "app", "solo"):
            bench.submit(name)
        await bench.over(3)
        assert len(told) == 3

    play(tmp_path, work)


def test_an_interrupted_run_comes_back_with_what_it_had(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = "exec sleep 60"
        bench.submit("web", forced=True, priority=3)
        await bench.until(bench.foreman.progress)
        bench.submit("app")
        await bench.foreman.stop()
        assert bench.statuses()[0] == "interrupted"
        bench.scripts.clear()
        bench.ends.clear()
        bench.hire()
        bench.foreman.start_up()
        await bench.over()
        (job,) = [job for job in bench.jobs[1:] if job.recipe == "web"]
        assert job.forced
        row = next(row for row, _ in bench.ends if row.recipe == "web")
        assert (row.attempt, row.priority, row.status) == (2, 3, "ok")

    play(tmp_path, work)


def test_messages_reach_who_listens(tmp_path: Path):
    async def work(bench: Bench) -> None:
        with bench.foreman.subscribe() as stream:
            run = bench.submit("web")
            await bench.over()
        heard = [message async for message in stream]
        assert [message["event"] for message in heard] == ["queued", "started", "ended"]
        assert {message["run"] for message in heard} == {run}
        assert heard[-1]["status"] == "ok"

    play(tmp_path, work)


def no_descriptor(*_words: object, **_options: object) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


def test_no_descriptor_is_left_to_start_a_worker(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.foreman._crew._spawn = no_descriptor  # type: ignore[assignment]
        bench.submit("web")
        await bench.over()
        assert bench.statuses() == ["infra", "queued"]

    play(tmp_path, work)


def test_no_descriptor_is_left_to_follow_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = "sleep 100"
        monkeypatch.setattr(os, "pidfd_open", no_descriptor)
        bench.submit("web")
        await bench.over()
        assert bench.statuses() == ["infra", "queued"]
        assert "Too many open files" in bench.ends[0][1].error

    play(tmp_path, work)


def test_a_state_folder_that_is_away_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def work(bench: Bench) -> None:
        with monkeypatch.context() as away:
            away.setattr(os, "statvfs", no_descriptor)
            bench.submit("web")
            await asyncio.sleep(0.01)
            assert bench.waits() == {"web": "[Errno 24] Too many open files"}
            assert bench.foreman._timer is not None, "it is looked again"
        bench.foreman.wake()
        await bench.over()

    play(tmp_path, work)


def test_a_retry_that_was_dropped_with_a_broken_recipe(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = say(Result("failed", "", 12, "no route", retryable=True))
        bench.submit("web")
        await bench.over()
        bench.scripts["web"] = say(OK)
        bench.foreman.forget("web")
        assert bench.submit("web") is not None
        await bench.over(3)
        assert bench.statuses() == ["failed", "skipped", "ok"]

    play(tmp_path, work)


def test_a_cancelled_worker_without_a_word_is_not_the_machines_fault(tmp_path: Path):
    async def work(bench: Bench) -> None:
        bench.scripts["web"] = "exec sleep 100"
        run = bench.submit("web")
        await bench.until(bench.foreman.progress)
        assert await bench.foreman.cancel(run or 0) == "running"
        ((row, result),) = bench.ends
        assert (row.status, row.error, row.exit_code) == ("cancelled", "web: cancelled", 20)
        assert not result.retryable
        assert not result.hint

    play(tmp_path, work)
