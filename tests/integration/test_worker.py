"""The worker by itself, as the service starts it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from minid.daemon.job import Job, Result, parse_message, parse_result, start_worker
from minid.line.workshop import Workshop, open_workshop
from minid.recipe_reader import load_recipes
from minid.store.queue import Queue
from tests.integration.test_line_jobs import FILES, PARTS, most_at_once, spans
from tests.support.foreman import Yard, config_of, open_yard
from tests.support.line import Line, line_folder, new_line
from tests.support.require import require

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "runc")


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with new_line() as line:
        yield line


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker said and how its process ended."""

    status: int
    messages: list[Mapping[str, object]]
    result: Result | None


class Master:
    """The service's part: queues a run and starts a worker on it."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.queue = Queue(shop.records.database)

    def start(
        self, recipe: str, *, parent: int = 0, fds: tuple[int, ...] = (), forced: bool = False
    ):
        recipes, _ = load_recipes(self.shop.config.paths.recipes)
        run = self.queue.enqueue(recipe, "1.0.0", "asked by a test", (), 1.0)
        assert self.queue.begin(run, 2.0)
        job = Job(
            run=run,
            recipe=recipe,
            recipes=recipes,
            config=self.shop.config,
            reason="asked by a test",
            forced=forced,
            parent=parent or os.getpid(),
        )
        return run, start_worker(job, dict(os.environ), fds)

    def work(self, recipe: str, **options: bool) -> tuple[int, Told]:
        """Start a worker and hear it to its end."""
        run, child = self.start(recipe, **options)
        return run, hear(child)


def hear(child: subprocess.Popen[bytes]) -> Told:
    out, _ = child.communicate(timeout=120)
    messages = [message for line in out.splitlines() if (message := parse_message(line))]
    result = parse_result(messages[-1]) if messages else None
    return Told(child.returncode, messages, result)


@contextmanager
def master(line: Line) -> Iterator[Master]:
    with open_workshop(config_of(line.folder), {}, role="daemon") as shop:
        yield Master(shop)


def test_what_it_stands_on_must_be_there(line: Line) -> None:
    with master(line) as boss:
        run, told = boss.work("hello")
        assert told.result is not None
        assert told.result.status == "skipped"
        assert "words, ground" in told.result.error or "ground, words" in told.result.error
        row = boss.shop.records.run(run)
        assert row is not None
        assert row.status == "running", "who gave the job ends the run"
        boss.queue.set_key(run, told.result.key)


def test_a_run_from_the_first_stage_to_the_last(line: Line) -> None:
    with master(line) as boss:
        for name in ("ground", "words"):
            assert boss.work(name)[1].result.status == "ok"
        rows = len(boss.shop.records.runs(limit=1000))
        run, told = boss.work("hello")
        assert (told.status, told.result.status) == (0, "ok")
        assert told.result.moved == ("store hello:1.0.0", "store hello:latest")
        assert told.result.manifest == line.tags()["hello:latest"]
        assert told.result.key.startswith("plan:")
        assert "hello 1.0.0" in " ".join(told.result.checks) or told.result.checks
        row = boss.shop.records.run(run)
        assert (row.status, row.manifest) == ("ok", told.result.manifest)
        assert len(boss.shop.records.runs(limit=1000)) == rows + 1, "nothing of what is below"
        stages = [m["stage"] for m in told.messages if m["event"] == "stage_finished"]
        assert stages == [stage.name for stage in boss.shop.records.stages(run)]
        assert any(m["event"] == "log" for m in told.messages)
        assert f"run {run}: hello 1.0.0, because: asked by a test" in Path(row.log).read_text()


def test_nothing_to_do_is_unchanged_and_has_no_log(line: Line) -> None:
    with master(line) as boss:
        run, told = boss.work("hello")
        assert told.result.status == "unchanged"
        assert told.result.manifest == line.tags()["hello:latest"]
        assert boss.shop.records.run(run).log == ""


def test_forced_runs_every_stage(line: Line) -> None:
    with master(line) as boss:
        _, told = boss.work("hello", forced=True)
        cached = [m["cached"] for m in told.messages if m["event"] == "stage_finished"]
        assert told.result.status == "ok"
        assert cached == [False] * 8


def test_a_wrong_recipe_is_a_result(line: Line) -> None:
    with master(line) as boss:
        _, told = boss.work("nobody")
        assert (told.status, told.result.status, told.result.exit_code) == (0, "failed", 11)
        assert "got 'nobody'" in told.result.error


def test_it_leaves_nothing_in_its_own_places(line: Line) -> None:
    for folder in (line.state / "jobs", line.store / "tmp"):
        assert list(folder.iterdir()) == []


def test_it_does_nothing_for_another_parent(line: Line) -> None:
    with master(line) as boss:
        _, child = boss.start("ground", parent=1)
        assert hear(child) == Told(125, [], None)


def test_the_lock_is_held_while_a_worker_lives(line: Line) -> None:
    line.edit("words", '["make"', '["sleep 60", "make"')
    try:
        with master(line) as boss:
            _, child = boss.start("words", fds=(boss.shop.lock_fd,))
        descriptor = os.open(line.state / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert child.stdout is not None
        assert child.stdout.readline()
        child.terminate()
        told = hear(child)
        assert told.result is not None
        assert told.result.status == "cancelled"
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    finally:
        line.edit("words", '"sleep 60", ', "")


def test_workers_share_the_jobs() -> None:
    with line_folder() as folder:
        line = Line(folder)
        line.write_config(jobs=2)
        names = " ".join(f"part-{number}" for number in range(PARTS))
        for name in ("left", "right"):
            line.add_recipe(name, FILES)
            line.edit(name, '["make"', f"[\"make -j8 PARTS='{names}'\"")

        async def work() -> None:
            async with open_yard(folder) as yard:
                yard.plan()
                await yard.all_over()
                assert yard.statuses() == {"left": "ok", "right": "ok"}

        asyncio.run(work())
        left, right = spans(line, "left"), spans(line, "right")
        assert most_at_once(left + right) == 2
        assert left[0][0] < max(end for _, end in right)
        assert right[0][0] < max(end for _, end in left)


def test_a_killed_worker_takes_no_job_from_the_others() -> None:
    """With one job in all: the killed one held it."""
    with line_folder() as folder:
        line = Line(folder)
        line.write_config(jobs=1)
        for name in ("first", "second"):
            line.add_recipe(name, FILES)
            line.edit(name, '["make"', '["echo sleeping; sleep 60", "make PARTS=part-0"')

        async def work(yard: Yard) -> None:
            runs = yard.plan()
            await yard.until(lambda: any(p.line.endswith("ing") for p in yard.foreman.progress()))
            asleep = next(p for p in yard.foreman.progress() if p.line.endswith("ing"))
            for pid in Path("/proc").glob("[0-9]*"):
                if is_worker(pid, asleep.run):
                    os.kill(int(pid.name), 9)
            other = next(run for run in runs.values() if run != asleep.run)
            await yard.until(
                lambda: any(
                    p.run == other and p.line.endswith("ing") for p in yard.foreman.progress()
                )
            )

        async def go() -> None:
            async with open_yard(folder) as yard:
                await work(yard)

        asyncio.run(go())


def is_worker(process: Path, run: int) -> bool:
    """Whether it is the worker that has this run's log open."""
    try:
        if b"minid.daemon.worker" not in (process / "cmdline").read_bytes():
            return False
        links = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
    except OSError:
        return False
    return any(f"/{run:06d}-" in link for link in links)
