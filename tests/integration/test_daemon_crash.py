"""The real service killed, stopped, and started again: what is left, and what is taken up."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from minid.daemon.requests import Drain, Pause, Reload, Resume, Status
from tests.support.daemon import (
    RunningDaemon,
    add_ground,
    daemon_line,
    daemon_of,
    left_over,
    set_daemon_options,
    store_faults,
    traces,
)
from tests.support.kills import Killer, five_recipes
from tests.support.line import GROUND_FILES, GROUND_TABLES, Line, wait_for
from tests.support.require import require

pytestmark = pytest.mark.integration

SLOW = {
    "Makefile": "all:\n\tsleep 300\ninstall:\n\tmkdir -p $(DESTDIR)/bin\n",
}


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "runc")


@pytest.fixture
def line() -> Iterator[Line]:
    with daemon_line() as line:
        yield line


def test_killed_at_random_moments_while_five_recipes_build() -> None:
    """benchmarks/service_kills.py does it fifty times."""
    with five_recipes() as line:
        killer = Killer(line, seed=3)
        try:
            for _ in range(6):
                killer.kill(longest_s=1.0)
            killer.finish()
        finally:
            killer.daemon.remove()


def test_stop_during_a_build_interrupts_it_and_the_next_start_takes_it_up(line: Line) -> None:
    line.add_recipe("slow", SLOW, GROUND_TABLES)
    with daemon_of(line) as daemon:
        wait_for(lambda: compiling(daemon) == ["slow"])
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 30, "a run of minutes is not waited for"
        assert [row.status for row in daemon.rows()] == ["interrupted"]
        assert not traces(line)
        assert not left_over(line)
        daemon.start_ready()
        wait_for(lambda: compiling(daemon) == ["slow"])
        rows = daemon.rows()
        assert [(row.status, row.attempt) for row in rows] == [("interrupted", 1), ("running", 2)]
        # It is known and does not hold up who only looks.
        assert line.query("status")["running"][0]["recipe"] == "slow"


def test_a_second_sigterm_ends_it_at_once(line: Line) -> None:
    """The first one waits for a run that should end within seconds, and does not."""
    line.add_recipe("soon", GROUND_FILES, GROUND_TABLES)
    with daemon_of(line) as daemon:
        wait_for(daemon.over)
        assert [row.status for row in daemon.rows()] == ["ok"]
        line.edit("soon", "make DESTDIR", "sleep 300; make DESTDIR")
        wait_for(lambda: compiling(daemon) == ["soon"])

        def ends() -> bool:
            daemon.signal(signal.SIGTERM)
            time.sleep(0.5)
            return not daemon.alive

        assert not ends()
        # On a busy machine two that come before it looks are one.
        wait_for(ends)
        assert daemon.wait(5) == -signal.SIGTERM
        wait_for(lambda: not traces(line), 5)
        daemon.start_ready()
        wait_for(lambda: compiling(daemon) == ["soon"])
        assert daemon.rows()[-2].status == "interrupted"


def test_a_second_service_is_told_of_the_first(line: Line) -> None:
    add_ground(line)
    with daemon_of(line) as daemon:
        second = RunningDaemon(line)
        second.log = line.folder / "second.log"
        try:
            second.start()
            assert daemon.process is not None
            pid = str(daemon.process.pid)
            wait_for(lambda: pid in second.log.read_text())
            wait_for(daemon.over)
            assert not second.alive or not second.log.read_text().count("ready")
        finally:
            second.remove()
        assert daemon.answers()


def test_build_goes_through_the_service(line: Line) -> None:
    add_ground(line)
    with daemon_of(line) as daemon:
        assert line.build("ground")["ground"]["status"] in ("built", "ok", "unchanged")
        (row,) = daemon.rows()
        line.edit("ground", "comment = ", "author = 'somebody'\ncomment = ")
        built = line.build("ground")["ground"]
        rows = daemon.rows()
        assert len(rows) == 2, "the service's run and the person's are one"
        assert rows[-1].manifest == built["manifest"] != row.manifest
        assert {"queued", "started", "built"} <= {
            item["kind"] for item in line.query("events") if item["run"] == rows[-1].id
        }


def test_a_full_disk_has_runs_wait_until_there_is_room(line: Line) -> None:
    set_daemon_options(line, [f"min_free = {1 << 60}"])
    add_ground(line)
    with daemon_of(line) as daemon:
        wait_for(lambda: daemon.rows())
        wait_for(lambda: "free space" in line.run("queue").out)
        assert daemon.rows()[0].status == "queued"
        set_daemon_options(line, ['min_free = "1 kB"'])
        daemon.ask(Reload())
        wait_for(daemon.over)
        assert [row.status for row in daemon.rows()] == ["ok"]


@pytest.mark.parametrize("mode", ["pause", "drain"])
def test_a_pause_survives_a_kill(line: Line, mode: str) -> None:
    with daemon_of(line) as daemon:
        daemon.ask(Pause() if mode == "pause" else Drain())
        add_ground(line)
        wait_for(lambda: daemon.rows())
        daemon.kill()
        daemon.start_ready()
        words = {"pause": "paused", "drain": "draining"}[mode]
        wait_for(lambda: words in line.run("queue").out or "paused" in line.run("queue").out)
        assert [row.status for row in daemon.rows()] == ["queued"]
        daemon.ask(Resume())
        wait_for(daemon.over)
        daemon.kill()
        daemon.start_ready()
        assert not daemon.ask(Status())["paused"]
        assert [row.status for row in daemon.rows()] == ["ok"]
        assert not store_faults(line)


def compiling(daemon: RunningDaemon) -> list[str]:
    """The recipes whose compile step is at work, as the service tells it."""
    running = daemon.ask(Status())["running"]
    return [row["recipe"] for row in running if row["stage"] == "compile"]
