"""The command line and the real service: what one asks and the other does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from minid.cli.daemon_client import Daemon
from minid.daemon.requests import Build, Ping
from tests.support.daemon import add_tools
from tests.support.line import GROUND_FILES, GROUND_TABLES, Line, line_folder, new_line, wait_for
from tests.support.require import require
from tests.support.users import ROOT

pytestmark = pytest.mark.integration


@contextmanager
def daemon(line: Line) -> Iterator[subprocess.Popen[str]]:
    """`minid daemon` in the folder, ready, and gone afterwards."""
    require("bwrap", "gcc")
    socket = line.state / "minid.sock"
    with (line.folder / "daemon.log").open("a") as log:
        child = subprocess.Popen(
            line.argv("daemon"),
            cwd=line.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(line.folder), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        wait_for(lambda: child.poll() is not None or _answers(Daemon(socket)), 60)
        assert child.poll() is None, (line.folder / "daemon.log").read_text()
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _answers(service: Daemon) -> bool:
    try:
        return bool(service.ask_once(Ping()))
    except Exception:
        return False


def status(line: Line) -> dict[str, Any]:
    done = line.run("status", "--json")
    assert done.status in (0, 3), done.err
    return dict(done.json())


def states(line: Line) -> dict[str, str]:
    return {row["recipe"]: row["state"] for row in status(line)["recipes"]}


def settled(line: Line) -> bool:
    facts = status(line)
    return not facts["running"] and not facts["queued"]


SLOW = {
    "Makefile": "all:\n\tsleep 60\ninstall:\n\tmkdir -p $(DESTDIR)/bin\n",
}


def test_build_is_as_it_is_alone() -> None:
    """One folder is built by a service, another without one: the same words and the same image."""
    with new_line() as line:
        alone = line.run("build", "hello")
        assert alone.status == 0, alone.err
    with new_line() as line, daemon(line):
        first = line.build("hello")
        assert {name: item["recipe"] for name, item in first.items()} == {
            name: name for name in ("ground", "words", "hello")
        }
        again = line.run("build", "hello")
        assert again.status == 0, again.err
        assert "hello 1.0.0: nothing has changed" in again.out
        image = [text for text in alone.out.splitlines() if text.startswith("  image")][-1]
        assert image in again.out
        line.edit("hello", 'comment = "hello {version}"', 'comment = "changed"')
        changed = line.run("build", "hello")
        assert changed.status == 0, changed.err
        for said in ("hello 1.0.0: built in", "check", "tagged   store hello:latest"):
            assert said in changed.out, changed.out
        (facts,) = [item for item in line.query("build", "hello") if item["recipe"] == "hello"]
        assert facts["status"] == "unchanged"
        assert line.run("build", "nobody").status == 2
        line.recipe("bad").write_text("buidl = 1\n")
        wait_for(lambda: states(line).get("bad") == "broken")
        bad = line.run("build", "bad")
        assert (bad.status, "buidl" in bad.err) == (11, True)
        assert "passed over" in line.run("build").err


def test_a_failure_is_told_with_its_log() -> None:
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        line.add_recipe("ground", {"Makefile": "all:\n\t@echo oh no >&2; exit 3\n"}, GROUND_TABLES)
        with daemon(line):
            wait_for(lambda: states(line) == {"ground": "failed"})
            done = line.run("build", "ground")
            assert done.status == 20, done.err
            assert "  | oh no" in done.err
            assert "build.steps[0]: expected status 0, got 2" in done.err
            assert f"log: {line.state}/logs/" in done.err
            (facts,) = line.run("build", "ground", "--json").json()
            assert (facts["status"], facts["error"]["kind"]) == ("failed", "BuildError")
            assert line.run("status").status == 3
            kinds = [row["kind"] for row in line.query("events", "--recipe", "ground")]
            assert kinds[:3] == ["queued", "started", "failed"]


def test_the_queue_by_hand() -> None:
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        (folder / "recipes").mkdir()
        with daemon(line):
            assert line.query("pause")["paused"]
            line.add_recipe("slow", SLOW, GROUND_TABLES)
            line.add_recipe("ground", GROUND_FILES, GROUND_TABLES)
            wait_for(lambda: len(status(line)["queued"]) == 2)
            text = line.run("queue").out
            assert text.count("paused") == 2
            # `--detach` of what waits already is the same run.
            ids = {row["recipe"]: row["run"] for row in line.query("queue")["queued"]}
            assert line.run("build", "-d", "slow").out == f"{ids['slow']}\n"
            line.run("build", "-d", "--next", "ground")
            assert [row["recipe"] for row in line.query("queue")["queued"]] == ["ground", "slow"]
            assert line.query("cancel", "ground")[0]["was"] == "queued"
            line.run("resume")
            wait_for(lambda: status(line)["running"])
            wait_for(lambda: status(line)["running"][0]["stage"] == "compile")
            begin = time.monotonic()
            (ended,) = line.query("cancel", str(ids["slow"]))
            assert (ended["recipe"], ended["was"]) == ("slow", "running")
            assert time.monotonic() - begin < 30
            assert not sleeping(line)
            wait_for(lambda: settled(line))
            assert line.run("cancel", str(ids["slow"])).status == 2
            assert line.query("drain") == {"running": 0}
            assert status(line)["daemon"]["paused"]
        with daemon(line):
            assert status(line)["daemon"]["paused"], "a pause outlives the service"


def sleeping(line: Line) -> list[str]:
    """Processes of builds of this folder that are still there."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [text for text in done.stdout.splitlines() if str(line.state / "jobs") in text]


def has_socket(pid: int) -> bool:
    """Whether a process has come so far as to ask the service."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(path.readlink()))
    return any(target.startswith("socket:") for target in found)


def test_a_detached_build_outlives_its_asker_and_an_interrupt() -> None:
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        line.add_recipe("slow", SLOW, GROUND_TABLES)
        with daemon(line):
            wait_for(lambda: status(line)["running"])
            with line.start("build", "slow") as child:
                wait_for(lambda: has_socket(child.pid))
                time.sleep(1.0)
                child.send_signal(signal.SIGINT)
                _, err = child.communicate(timeout=30)
            assert child.returncode == 130
            assert "minid cancel" in err
            assert status(line)["running"]
            line.run("cancel", "slow")


def test_reload_keeps_the_old_where_the_new_is_wrong() -> None:
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        (folder / "recipes").mkdir()
        config = folder / "config.toml"
        with daemon(line):
            assert line.run("reload", "--wait").status == 0
            good = config.read_text()
            config.write_text(good + "[daemon]\nnonsense = 1\n")
            done = line.run("reload", "--wait")
            assert (done.status, "nonsense" in done.err) == (10, True)
            config.write_text(good)
            assert status(line)["daemon"]["ready"]
            assert line.run("reload").status == 0


def test_what_is_written_during_a_reload_is_built() -> None:
    """A slow command is waited for there, between the scan and the new watch."""
    with new_line() as line:
        config = line.folder / "config.toml"
        slow = '\n[notify]\ncommand = ["sleep", "30"]\nevents = ["built"]\n'
        config.write_text(config.read_text() + slow)
        with daemon(line):
            wait_for(lambda: settled(line), 60)
            reloading = line.start("reload")
            time.sleep(1.5)
            add_tools(line, 1)
            reloading.communicate(timeout=60)
            wait_for(lambda: "tool0" in str(line.tags()), 30)


def test_two_writers_are_impossible() -> None:
    with new_line() as line, daemon(line) as child:
        wait_for(lambda: settled(line), 60)
        second = line.start("daemon")
        time.sleep(1.0)
        assert second.poll() is None or second.returncode != 0
        second.kill()
        second.communicate(timeout=30)
        fetched = line.run("fetch")
        assert (fetched.status, f"process {child.pid}" in fetched.err) == (26, True)
        child.kill()
        child.wait()
        assert (line.state / "minid.sock").is_socket()
        # The socket that a killed service left keeps nobody from working alone.
        assert {item["status"] for item in line.build().values()} == {"unchanged"}
        assert "no daemon is running" in line.run("status").out


def test_a_recipe_just_written_is_known() -> None:
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        (folder / "recipes").mkdir()
        with daemon(line):
            for name in ("ground", "other"):
                line.add_recipe(name, GROUND_FILES, GROUND_TABLES)
                # At once, before any event of the folder has settled.
                answer = Daemon(line.state / "minid.sock").ask_once(Build((name,)))
                assert [row["recipe"] for row in answer["recipes"]] == [name]
            assert line.run("build").status == 0
