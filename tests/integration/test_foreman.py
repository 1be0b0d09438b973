"""The queue with real workers, sandboxes and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minid.host.process_table import descendants, process_table
from minid.store.records import Records
from tests.support.daemon import left_over, traces
from tests.support.foreman import Yard, config_of, open_yard
from tests.support.line import Line, line_folder, new_line, wait_for
from tests.support.require import require
from tests.support.users import ROOT

pytestmark = pytest.mark.integration

SLEEPER = {
    "Makefile": "all:\n\tsetsid sleep 300 & echo sleeping; sleep 300\ninstall:\n\ttrue\n",
}
QUICK = {
    "tool.c": "int main(void) { return 0; }\n",
    "Makefile": "all:\n\tgcc -static -o tool tool.c\n"
    "install:\n\tmkdir -p $(DESTDIR)/bin\n\tcp tool $(DESTDIR)/bin/tool\n",
}
TABLES = """
[rootfs]
base = "scratch"

[image]
cmd = ["/bin/tool"]
tags = ["latest"]
"""


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "runc")


@pytest.fixture
def line() -> Iterator[Line]:
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        yield line


def run(work: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 120))


def in_yard(line: Line, work: Callable[[Yard], Coroutine[object, object, None]]) -> None:
    async def go() -> None:
        async with open_yard(line.folder) as yard:
            await work(yard)

    run(go())


async def until_asleep(yard: Yard, count: int = 1) -> None:
    await yard.until(
        lambda: sum(p.line.endswith("sleeping") for p in yard.foreman.progress()) == count
    )


def worker_pids() -> list[int]:
    below = descendants(process_table(), os.getpid())
    return [
        row.pid
        for row in below
        if row.parent == os.getpid()
        and b"minid.daemon.worker" in Path(f"/proc/{row.pid}/cmdline").read_bytes()
    ]


def test_three_recipes_that_stand_on_each_other_are_built() -> None:
    with new_line() as line:

        async def work(yard: Yard) -> None:
            with yard.foreman.subscribe() as stream:
                runs = yard.plan()
                assert all(runs.values())
                await asyncio.sleep(0)
                await yard.until(lambda: len(yard.foreman.progress()) == 2)
                ((row, why),) = yard.foreman.queued()
                assert (row.recipe, why.split(" (")[0]) in (
                    ("hello", "waits for words"),
                    ("hello", "waits for ground"),
                )
                await yard.all_over()
            assert yard.statuses() == {"ground": "ok", "words": "ok", "hello": "ok"}
            heard = [message async for message in stream]
            stages = [
                m["stage"]
                for m in heard
                if m["event"] == "stage_finished" and m["run"] == runs["hello"]
            ]
            assert stages == [
                "fetch",
                "compile",
                "pack",
                "compose",
                "image",
                "lint",
                "check",
                "publish",
            ]
            assert yard.plan() == dict.fromkeys(runs), "all is up to date"
            row = yard.row(runs["hello"])
            assert row.status == "ok"
            assert row.key.startswith("plan:")
            assert "because: first build" in Path(row.log).read_text()
            events = yard.events()
            for name in runs:
                kinds = [kind for kind, recipe in events if recipe == name]
                assert kinds == ["queued", "started", "built"]

        in_yard(line, work)
        assert set(line.tags()) == {
            f"{name}:{tag}" for name in ("ground", "hello") for tag in ("1.0.0", "latest")
        }
        assert line.build("hello")["hello"]["status"] == "unchanged"
        assert left_over(line) == []


def test_a_cancelled_compile_dies_with_its_sandbox(line: Line) -> None:
    line.add_recipe("sleeper", SLEEPER, TABLES)

    async def work(yard: Yard) -> None:
        run = yard.plan()["sleeper"]
        assert run
        await until_asleep(yard)
        (progress,) = yard.foreman.progress()
        assert (progress.stage, progress.recipe) == ("compile", "sleeper")
        assert await yard.foreman.cancel(run) == "running"
        assert traces(line) == []
        assert left_over(line) == []
        assert yard.row(run).status == "cancelled"
        assert yard.plan()["sleeper"] is None, "it is not queued by itself"
        assert "cancelled" in yard.foreman.refusal("sleeper")
        assert yard.plan("sleeper", asked=True)["sleeper"], "a person may"

    in_yard(line, work)


def test_a_worker_that_does_not_listen_is_killed_with_all_below(line: Line) -> None:
    line.add_recipe("sleeper", SLEEPER, TABLES)

    async def work(yard: Yard) -> None:
        run = yard.plan()["sleeper"]
        assert run
        await until_asleep(yard)
        (pid,) = worker_pids()
        os.kill(pid, signal.SIGSTOP)
        assert await yard.foreman.cancel(run) == "running"
        assert traces(line) == []
        assert left_over(line) == []
        assert yard.row(run).status == "cancelled"

    in_yard(line, work)


def test_a_killed_worker_is_lost_and_its_run_waits_for_another_try(line: Line) -> None:
    line.add_recipe("sleeper", SLEEPER, TABLES)

    async def work(yard: Yard) -> None:
        run = yard.plan()["sleeper"]
        await until_asleep(yard)
        (pid,) = worker_pids()
        score = Path(f"/proc/{pid}/oom_score_adj").read_text()
        assert int(score) > 0, "the kernel takes it before the service"
        os.kill(pid, signal.SIGKILL)
        await yard.until(lambda: yard.ends)
        ((row, result),) = yard.ends
        assert (row.id, row.status, result.lost) == (run, "infra", True)
        assert "SIGKILL" in row.error
        wait_for(lambda: not traces(line), 5)
        assert left_over(line) == []
        await yard.until(
            lambda: [why for _, why in yard.foreman.queued() if why.startswith("back-off until ")]
        )
        ((waiting, _),) = yard.foreman.queued()
        assert (waiting.recipe, waiting.attempt, waiting.key) == ("sleeper", 2, row.key)
        assert waiting.not_before > time.time() + 30

    in_yard(line, work)


def test_the_layout_catches_up_after_a_kill_between_tag_and_index(line: Line) -> None:
    line.add_recipe("tool", QUICK, TABLES)
    line.add_recipe("sleeper", SLEEPER, TABLES)

    async def work(yard: Yard) -> None:
        yard.plan("tool")
        await yard.all_over()
        run = yard.plan("sleeper")["sleeper"]
        await until_asleep(yard)
        records = yard.shop.records
        detail = records.image(line.tags()["tool:latest"])
        assert detail is not None
        records.publish(run or 0, detail, ["tool:moved"], 1.0)
        assert "tool:moved" not in line.tags()
        (pid,) = worker_pids()
        os.kill(pid, signal.SIGKILL)
        await yard.until(lambda: len(yard.ends) == 2)
        assert line.tags()["tool:moved"] == line.tags()["tool:latest"]

    in_yard(line, work)


def test_two_at_once_publish_both(line: Line) -> None:
    names = ["left", "right"]
    for name in names:
        line.add_recipe(name, QUICK, TABLES)

    async def work(yard: Yard) -> None:
        for number in range(4):
            for name in names:
                line.edit(name, 'tags = ["', f'tags = ["v{number}", "')
            yard.plan()
            await yard.all_over()
        assert [row.status for row, _ in yard.ends] == ["ok"] * 8

    in_yard(line, work)
    tags = {f"{name}:{tag}" for name in names for tag in ("latest", "v0", "v1", "v2", "v3")}
    assert set(line.tags()) == tags
    assert left_over(line) == []


def test_what_fails_is_tried_again_only_when_it_changes(line: Line) -> None:
    line.add_recipe("tool", QUICK, TABLES)
    line.edit("tool", 'steps = ["make"', 'steps = ["false", "make"')

    async def work(yard: Yard) -> None:
        first = yard.plan()["tool"]
        await yard.all_over()
        assert yard.row(first).status == "failed"
        for _ in range(3):
            assert yard.plan()["tool"] is None
        assert yard.events().count(("not-retried", "tool")) == 1
        line.edit("tool", '"false", ', "")
        second = yard.plan()["tool"]
        await yard.all_over()
        assert yard.row(second).status == "ok"
        assert [kind for kind, _ in yard.events()][-2:] == ["built", "recovered"]

    in_yard(line, work)


def test_the_log_says_what_changed(line: Line) -> None:
    line.add_recipe("tool", QUICK, TABLES)

    async def work(yard: Yard) -> None:
        yard.plan()
        await yard.all_over()
        line.edit("tool", 'cmd = ["/bin/tool"]', 'cmd = ["/bin/tool", "-v"]')
        run = yard.plan()["tool"]
        await yard.all_over()
        log = Path(yard.row(run).log).read_text()
        assert 'changed: image.cmd: ["/bin/tool"] → ["/bin/tool","-v"]' in log
        assert yard.row(run).changes == ("image.cmd",)

    in_yard(line, work)


def test_a_failed_base_stops_what_stands_on_it() -> None:
    with new_line() as line:
        line.edit("ground", 'steps = ["make"', 'steps = ["false", "make"')

        async def work(yard: Yard) -> None:
            runs = yard.plan()
            await yard.all_over()
            assert yard.statuses() == {"ground": "failed", "words": "ok", "hello": "skipped"}
            assert yard.row(runs["hello"]).error == "hello: stands on ground, which failed"

        in_yard(line, work)


def test_stop_interrupts_and_the_next_start_takes_it_up(line: Line) -> None:
    line.add_recipe("sleeper", SLEEPER, TABLES)

    async def first(yard: Yard) -> None:
        yard.plan("sleeper", forced=True)
        await until_asleep(yard)
        await yard.foreman.stop()
        assert yard.statuses() == {"sleeper": "interrupted"}
        assert traces(line) == []

    async def second(yard: Yard) -> None:
        await until_asleep(yard)
        (row,) = [row for row in yard.shop.records.runs("sleeper") if row.status == "running"]
        assert (row.attempt, row.forced) == (2, True)

    in_yard(line, first)
    in_yard(line, second)


def test_kill_of_the_service_leaves_no_process_and_loses_no_run(line: Line) -> None:
    for name in ("left", "right"):
        line.add_recipe(name, QUICK, TABLES)
        line.edit(name, 'steps = ["make"', 'steps = ["echo sleeping; sleep 300", "make"')
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "tests.support.foreman", str(line.folder)]
    with subprocess.Popen(argv, env=environ, cwd=ROOT) as service:
        logs = line.state / "logs"
        wait_for(lambda: sum("  sleeping" in p.read_text() for p in logs.glob("*.log")) == 2)
        assert len(traces(line)) > 3
        service.kill()
    wait_for(lambda: not traces(line), 5)
    for name in ("left", "right"):
        line.edit(name, '"echo sleeping; sleep 300", ', "")

    async def work(yard: Yard) -> None:
        assert left_over(line) == []
        await yard.all_over()
        assert yard.statuses() == {"left": "ok", "right": "ok"}
        assert {row.attempt for row, _ in yard.ends} == {2}

    in_yard(line, work)
    records = Records(line.state / "records.sqlite", writable=False)
    assert [row.status for row in records.runs()] == ["ok"] * 2 + ["interrupted"] * 2
    records.close()
    assert set(line.tags()) == {"left:latest", "right:latest"}


def test_below_the_free_space_that_is_asked_for_nothing_starts(line: Line) -> None:
    line.add_recipe("tool", QUICK, TABLES)
    config = config_of(line.folder)
    config = replace(config, daemon=replace(config.daemon, min_free_bytes=1 << 60))

    async def work() -> None:
        async with open_yard(line.folder, config=config) as yard:
            yard.plan()
            await yard.until(
                lambda: [why for _, why in yard.foreman.queued() if why.startswith("free space: ")]
            )
            assert yard.foreman.progress() == []
            yard.foreman.configure(config_of(line.folder))
            await yard.all_over()
            assert yard.statuses() == {"tool": "ok"}

    run(work())
