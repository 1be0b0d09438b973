"""The folder of a real service in motion: what is built of it, how often, and what is not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from minid.daemon.requests import Status
from tests.support.base_change import BaseChange
from tests.support.daemon import (
    RunningDaemon,
    add_ground,
    add_tools,
    daemon_line,
    daemon_of,
    left_over,
    store_faults,
)
from tests.support.line import Line, wait_for
from tests.support.require import require
from tests.support.storm import Storm

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "runc")


@pytest.fixture
def line() -> Iterator[Line]:
    with daemon_line() as line:
        yield line


def test_a_storm_ends_with_the_last_state_of_every_recipe(line: Line) -> None:
    """benchmarks/service_storm.py measures it."""
    add_ground(line)
    add_tools(line, 8)
    names = [f"tool{number}" for number in range(8)]
    with daemon_of(line) as daemon:
        wait_for(daemon.over, 60)
        storm = Storm(line, names[::2], names[1::2])
        last = daemon.rows()[-1].id
        storm.blow(2.0)
        wait_for(lambda: daemon.over() and not storm.unbuilt(), 60)
        assert not storm.faults(daemon, last + 1)
        assert not daemon.ask(Status())["problems"]
        assert not store_faults(line)


def test_a_new_base_is_compiled_once_and_nothing_else_is(line: Line) -> None:
    """benchmarks/service_base.py does it with ten images."""
    change = BaseChange(line, 4)
    with daemon_of(line) as daemon:
        wait_for(daemon.over, 60)
        before = change.begin()
        change.release()
        wait_for(lambda: change.moved(before), 60)
        wait_for(daemon.over)
        assert change.counts(before) == change.expected()


def test_a_recipe_that_is_deleted_while_it_builds(line: Line) -> None:
    """What runs goes on to its end, and nothing follows."""
    add_ground(line)
    make_slow(line)
    with daemon_of(line) as daemon:
        wait_for(lambda: compiling(daemon) == ["ground"])
        line.recipe("ground").unlink()
        wait_for(lambda: daemon.events("removed"))
        assert compiling(daemon) == ["ground"]
        wait_for(daemon.over)
        assert [row.status for row in daemon.rows()] == ["ok"]
        assert line.tags(), "its image stays"
        assert not store_faults(line)


def test_an_edit_while_it_builds_is_built_after_it(line: Line) -> None:
    add_ground(line)
    make_slow(line)
    with daemon_of(line) as daemon:
        wait_for(lambda: compiling(daemon) == ["ground"])
        line.edit("ground", "cmd = [", "author = 'nobody'\ncmd = [")
        wait_for(lambda: len(daemon.rows()) == 2)
        line.edit("ground", "nobody", "somebody")
        (why,) = [row["waits"] for row in daemon.ask(Status())["queued"]]
        assert "is running" in why
        wait_for(daemon.over)
        first, second = daemon.rows()
        assert (first.status, second.status) == ("ok", "ok")
        assert second.started >= (first.finished or 0.0)
        assert line.tags()["ground:latest"] == second.manifest != first.manifest


def test_what_fails_is_left_alone_until_it_changes_and_its_image_stays(line: Line) -> None:
    add_ground(line)
    with daemon_of(line) as daemon:
        wait_for(daemon.over)
        good = line.tags()
        line.edit("ground", 'steps = ["make"', 'steps = ["false", "make"')
        wait_for(lambda: daemon.events("failed"))
        # Saved with another comment: the same recipe.
        line.recipe("ground").write_text(line.recipe("ground").read_text() + "# again\n")
        daemon.kill()
        daemon.start_ready()
        wait_for(daemon.over)
        assert [row.status for row in daemon.rows()] == ["ok", "failed"]
        line.recipe("ground").write_text("no recipe at all")
        wait_for(lambda: daemon.events("broken"))
        assert line.tags() == good
        assert "ground" in daemon.ask(Status())["problems"]
        add_ground(line)
        wait_for(lambda: daemon.events("mended"))
        wait_for(daemon.over)
        assert [row.status for row in daemon.rows()] == ["ok", "failed"], "as it was built before"
        assert line.tags() == good
        line.edit("ground", "cmd = [", "author = 'somebody'\ncmd = [")
        wait_for(lambda: daemon.rows()[-1].status == "ok" and len(daemon.rows()) == 3)
        assert line.tags() != good


def test_a_folder_that_is_removed_and_made_again(line: Line) -> None:
    """As a deployment that replaces it does: what is the same is not built, what is new is."""
    add_ground(line)
    folder = line.folder / "recipes"
    with daemon_of(line) as daemon:
        wait_for(daemon.over)
        aside = line.folder / "aside"
        shutil.copytree(folder, aside)
        shutil.rmtree(folder)
        wait_for(lambda: daemon.ask(Status())["watch"]["mode"] == "polling")
        aside.rename(folder)
        wait_for(lambda: daemon.ask(Status())["watch"]["mode"] == "events")
        add_tools(line, 1)
        wait_for(lambda: "tool0" in {row.recipe for row in daemon.rows()})
        wait_for(daemon.over)
        assert [(row.recipe, row.status) for row in daemon.rows()] == [
            ("ground", "ok"),
            ("tool0", "ok"),
        ]
        wait_for(lambda: not left_over(line))  # a job is cleared after its end is told


def make_slow(line: Line) -> None:
    """Have `ground` compile for a while."""
    line.edit("ground", 'steps = ["make"', 'steps = ["sleep 2", "make"')


def compiling(daemon: RunningDaemon) -> list[str]:
    """The recipes whose compile step is at work, as the service tells it."""
    running = daemon.ask(Status())["running"]
    return [row["recipe"] for row in running if row["stage"] == "compile"]
