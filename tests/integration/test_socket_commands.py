"""The commands that talk to a service, with one that only pretends behind a real socket."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from minid.cli import status_facts
from minid.cli.build_remote import _follow
from minid.cli.daemon_client import Daemon
from minid.cli.folder import Folder
from minid.config_reader import load_config
from minid.daemon.requests import (
    Build,
    Cancel,
    Drain,
    Follow,
    Pause,
    Reload,
    Request,
    Resume,
    Status,
)
from minid.errors import BuildError, ConfigError, RecipeError, UsageError
from minid.store.events import Events
from minid.store.lock import writer_lock
from minid.store.records import Records
from tests.support.daemon_socket import Pretender, serving
from tests.support.line import GROUND_FILES, GROUND_TABLES, ROOT, Line, line_folder, wait_for
from tests.support.require import demand_or_skip
from tests.support.users import ordinary_user, python_for

pytestmark = pytest.mark.integration
STATUS: dict[str, Any] = {
    "pid": 4711,
    "version": "0.1.0",
    "since": 1_764_000_000.0,
    "ready": True,
    "paused": "",
    "watch": {"mode": "events", "reason": ""},
    "running": [
        {
            "run": 12,
            "recipe": "ground",
            "version": "1.0.0",
            "stage": "compile",
            "line": "CC tool.o",
            "started": 1_764_000_000.0,
            "expected_end": None,
            "fetched": None,
            "reason": "first build",
        }
    ],
    "queued": [
        {
            "run": 13,
            "recipe": "hello",
            "version": "1.0.0",
            "reason": "first build",
            "waits": "waits for ground (run 12)",
            "priority": 0,
            "queued": 1_764_000_000.0,
        }
    ],
    "problems": {"bad": "recipes/bad.toml: buidl: expected a known key"},
    "upstreams": {},
}


class Service:
    """Answers by kind of request; a list is answered item by item, an error raised."""

    def __init__(self) -> None:
        self.answers: dict[type, Any] = {Status: [STATUS]}

    async def __call__(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        for answer in self.answers[type(request)]:
            if isinstance(answer, BaseException):
                raise answer
            yield answer


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """A folder in which one image was built and no service runs."""
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        line.add_recipe("ground", GROUND_FILES, GROUND_TABLES)
        line.build()
        yield line


@pytest.fixture
def service(built: Line) -> Iterator[tuple[Line, Service, Pretender]]:
    """The folder with a pretending service, which holds the lock."""
    answers = Service()
    with ExitStack() as stack:
        stack.enter_context(writer_lock(built.state / "lock", print, "daemon"))
        yield built, answers, stack.enter_context(serving(built.state / "minid.sock", answers))


def asked(handler: Pretender) -> list[Request]:
    return [request for request in handler.requests if not isinstance(request, Status)]


@pytest.mark.parametrize(
    "words",
    [("pause",), ("resume",), ("drain",), ("reload", "--wait"), ("cancel", "1"), ("build", "-d")],
)
def test_without_a_service_they_say_so(built: Line, words: tuple[str, ...]) -> None:
    done = built.run(*words)
    assert done.status == 3
    assert "no daemon is running" in done.err
    assert built.run(*words, "--json").json()["error"]["kind"] == "NoDaemonError"


def test_without_a_service_the_queue_is_that_of_the_records(built: Line) -> None:
    facts = built.query("queue")
    assert facts == {"daemon": False, "paused": "", "running": [], "queued": []}


def test_pause_resume_drain(service: tuple[Line, Service, Pretender]) -> None:
    line, answers, handler = service
    answers.answers |= {
        Pause: [{"paused": "paused"}],
        Resume: [{"paused": ""}],
        Drain: [{"running": 2}, {"running": 1}, {"running": 0}],
    }
    assert line.query("pause") == {"paused": "paused"}
    assert line.query("resume") == {"paused": ""}
    assert line.query("drain") == {"running": 0}
    done = line.run("drain", "--no-wait")
    assert done.status == 0
    assert "running: 2" in done.err
    assert asked(handler) == [Pause(), Resume(), Drain(wait=True), Drain(wait=False)]


def test_cancel_by_number_and_by_name(service: tuple[Line, Service, Pretender]) -> None:
    line, answers, handler = service
    answers.answers[Cancel] = [{"run": 13, "recipe": "hello", "was": "queued"}]
    assert "run 13 (hello): cancelled, was queued" in line.run("cancel", "hello", "13").out
    assert asked(handler) == [Cancel(13)]
    unknown = line.run("cancel", "hello", "nobody")
    assert (unknown.status, "got 'nobody'" in unknown.err) == (2, True)
    assert asked(handler) == [Cancel(13)], "nothing is cancelled where one word is wrong"
    answers.answers[Cancel] = [UsageError("cancel: expected an open run, got 99")]
    assert line.run("cancel", "99").status == 2


def test_reload_tells_what_is_wrong(service: tuple[Line, Service, Pretender]) -> None:
    line, answers, handler = service
    answers.answers[Reload] = [{"file": "config.toml"}, {"file": "config.toml", "recipes": 3}]
    assert line.query("reload", "--wait")["recipes"] == 3
    assert "recipes" not in line.query("reload")
    assert asked(handler) == [Reload(), Reload()]
    answers.answers[Reload] = [ConfigError("config.toml: expected a, got b")]
    done = line.run("reload", "--wait")
    assert (done.status, "expected a, got b" in done.err) == (10, True)


def test_queue_shows_why_they_wait(service: tuple[Line, Service, Pretender]) -> None:
    line, _, _ = service
    text = line.run("queue").out
    assert re.search(r"12 +ground +first build +running +compile", text)
    assert re.search(r"13 +hello +first build +queued +waits for ground \(run 12\)", text)
    facts = line.query("queue")
    assert facts["daemon"] is True
    assert facts["queued"] == STATUS["queued"]


def test_status_at_a_glance(service: tuple[Line, Service, Pretender]) -> None:
    line, _, _ = service
    done = line.run("status")
    assert done.status == 3  # something is broken
    assert all(len(text) <= 80 for text in done.out.splitlines())
    for said in ("process 4711", "building", "queued", "broken", "CC tool.o", "waits for ground"):
        assert said in done.out
    facts = json.loads(line.run("status", "--json").out)
    rows = {row["recipe"]: row for row in facts["recipes"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "bad": "broken",
        "ground": "building",
        "hello": "queued",
    }
    assert rows["ground"]["tags"] == ["ground:1.0.0", "ground:latest"]
    assert rows["ground"]["image_version"] == "1.0.0"
    assert rows["ground"]["manifest"] == line.tags()["ground:latest"]
    assert line.run("status", "ground").status == 0
    assert line.run("status", "nobody").status == 2


def test_fetch_refuses_and_new_goes_round(service: tuple[Line, Service, Pretender]) -> None:
    line, _, _ = service
    before = sorted(path.name for path in (line.store / "blobs" / "sha256").iterdir())
    done = line.run("fetch")
    assert done.status == 26
    assert f"a daemon (process {os.getpid()})" in done.err
    archive = line.folder / "archives" / "ground-1.0.0.tar.gz"
    url = "https://127.0.0.1/ground-1.0.0.tar.gz"
    done = line.run("new", "-o", "-", "--archive", str(archive), url)
    assert done.status == 0, done.err
    assert "[source]" in done.out
    assert sorted(path.name for path in (line.store / "blobs" / "sha256").iterdir()) == before


# building


def manifest_of(line: Line) -> str:
    return line.tags()["ground:latest"]


def test_build_detached(service: tuple[Line, Service, Pretender]) -> None:
    line, answers, handler = service
    row = {"recipe": "hello", "version": "1.0.0", "run": 13, "manifest": ""}
    answers.answers[Build] = [{"recipes": [row], "passed_over": ["recipes/bad.toml: no"]}]
    done = line.run("build", "--detach", "--next", "hello")
    assert (done.status, done.out) == (0, "13\n")
    assert "passed over: recipes/bad.toml: no" in done.err
    assert line.query("build", "-d", "-f") == {"runs": [{"run": 13, "recipe": "hello"}]}
    assert asked(handler) == [Build(("hello",), next=True), Build((), force=True)]


def test_build_of_what_is_up_to_date_says_what_it_says_alone(
    service: tuple[Line, Service, Pretender],
) -> None:
    line, answers, handler = service
    row = {"recipe": "ground", "version": "1.0.0", "run": None, "manifest": manifest_of(line)}
    answers.answers[Build] = [{"recipes": [row], "passed_over": []}]
    done = line.run("build", "ground")
    assert done.status == 0
    assert done.out.startswith("ground 1.0.0: nothing has changed\n  image    sha256:")
    (facts,) = line.query("build")
    assert (facts["status"], facts["manifest"]) == ("unchanged", manifest_of(line))
    assert not any(isinstance(request, Follow) for request in handler.requests)


def test_build_follows_and_ends_as_it_ends_alone(
    built: Line, service: tuple[Line, Service, Pretender]
) -> None:
    line, answers, handler = service
    records = Records(line.state / "records.sqlite", writable=True)
    ok = records.runs("ground")[-1]
    bad = records.start_run("ground", "1.0.0", "changed", ("recipe",), 5.0)
    records.fail_run(bad, "ground: build.steps[0]: expected status 0, got 2", 20, 9.0)
    records.close()
    rows = [
        {"recipe": "ground", "version": "1.0.0", "run": run, "manifest": ""} for run in (ok.id, bad)
    ]
    answers.answers |= {
        Build: [{"recipes": rows, "passed_over": []}],
        Follow: [
            {"event": "stage_started", "recipe": "ground", "run": bad, "stage": "compile"},
            {"event": "log", "recipe": "ground", "run": bad, "line": "CC tool.o \x1b]0;owned"},
            {"event": "brand-new", "recipe": "ground", "run": bad},
            {"event": "note", "recipe": "ground", "run": bad, "text": "look here"},
            {
                "event": "stage_finished",
                "recipe": "ground",
                "run": bad,
                "stage": "fetch",
                "seconds": 1.5,
                "cached": False,
            },
            {
                "event": "ended",
                "recipe": "ground",
                "run": ok.id,
                "status": "ok",
                "checks": {"answers": 0.25},
            },
            {
                "event": "ended",
                "recipe": "ground",
                "run": bad,
                "status": "failed",
                "exit_code": 20,
                "error": "ground: build.steps[0]: expected status 0, got 2",
                "hint": "minid logs ground",
                "log_tail": ["oh no"],
                "retryable": False,
            },
        ],
    }
    done = line.run("build", "-v")
    assert done.status == BuildError.exit_code
    assert "ground 1.0.0: built in" in done.out
    assert "check    answers: passed in 0.25 s" in done.out
    assert "tagged   store ground:latest" in done.out
    for said in (
        "ground: compile ...",
        "look here",
        "fetch 1.50 s",
        "  | oh no",
        "got 2",
        "CC tool",
    ):
        assert said in done.err
    assert "\x1b" not in done.err
    said = line.run("build", "--json")
    good, failed = said.json()
    assert (good["status"], good["manifest"]) == ("built", manifest_of(line))
    assert good["moved"] == ["store ground:1.0.0", "store ground:latest"]
    assert good["stages"]["compile"] > 0
    assert (failed["status"], failed["changes"], failed["seconds"]) == ("failed", ["recipe"], 4.0)
    assert failed["error"]["kind"] == "BuildError"
    assert failed["error"]["log_tail"] == ["oh no"]
    assert [type(request) for request in asked(handler)] == [Build, Follow] * 2


def test_build_of_a_broken_recipe_fails_as_it_does_alone(
    service: tuple[Line, Service, Pretender],
) -> None:
    line, answers, _ = service
    answers.answers[Build] = [RecipeError("recipes/bad.toml: buidl: expected a known key")]
    done = line.run("build", "bad")
    assert (done.status, "buidl" in done.err) == (11, True)


def test_an_interrupt_ends_the_waiting_alone(service: tuple[Line, Service, Pretender]) -> None:
    line, _, handler = service
    row = {"recipe": "hello", "version": "1.0.0", "run": 13, "manifest": ""}
    started = {"event": "stage_started", "recipe": "hello", "run": 13, "stage": "compile"}

    async def endless(request: Request) -> AsyncIterator[dict[str, Any]]:
        if isinstance(request, Build):
            yield {"recipes": [row], "passed_over": []}
            return
        while True:
            yield started
            await asyncio.sleep(0.05)

    async def with_status(request: Request) -> AsyncIterator[dict[str, Any]]:
        if isinstance(request, Status):
            yield STATUS
            return
        async for answer in endless(request):
            yield answer

    handler.answers = with_status
    with line.start("build", "hello") as child:
        wait_for(lambda: any(isinstance(request, Follow) for request in handler.requests))
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "run 13 waits: waits for ground (run 12)" in err
    assert "the daemon goes on with 13 (hello)" in err
    assert "minid cancel 13" in err
    assert "Traceback" not in err


def test_more_runs_than_fit_into_a_request(
    service: tuple[Line, Service, Pretender],
) -> None:
    line, _, handler = service

    async def ends(request: Request) -> AsyncIterator[dict[str, Any]]:
        assert isinstance(request, Follow)
        for run in request.runs:
            yield {"event": "ended", "run": run, "recipe": "r", "status": "ok"}

    handler.answers = ends
    ended: dict[int, dict[str, Any]] = {}
    quiet = argparse.Namespace(quiet=True, json=False, verbose=False)
    _follow(Daemon(line.state / "minid.sock"), range(10**7, 10**7 + 10_000), ended, quiet)
    assert len(ended) == 10_000
    assert len(handler.requests) == 3


def test_a_service_that_is_stuck_keeps_nobody_from_the_records(
    service: tuple[Line, Service, Pretender], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, _, handler = service
    monkeypatch.setattr(status_facts, "_ANSWER_S", 0.2)

    async def stuck(_: Request) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(3600)
        yield {}

    handler.answers = stuck
    config = load_config(line.folder / "config.toml", {})
    facts = status_facts.gather_status(config, [], lambda: Folder(config, {}, ()))
    assert facts["daemon"] is None
    assert "expected the service to answer within 0.2 s" in facts["refused"]


def test_one_who_may_not_ask_still_sees_the_records(
    service: tuple[Line, Service, Pretender],
) -> None:
    line, _, _ = service
    user = ordinary_user()
    if not user:
        demand_or_skip("root", "only root can be somebody else")
    stranger = replace(line, user=user, python=python_for(user, line.folder.parent / "python"))
    done = stranger.run("status")
    assert done.status in (0, 3), done.err
    assert "the daemon cannot be asked" in done.out
    assert "ground" in done.out
    refused = stranger.run("pause")
    assert (refused.status, "usermod -aG" in refused.err) == (30, True)


# watching


def test_watching_draws_and_cleans_up(service: tuple[Line, Service, Pretender]) -> None:
    line, _, handler = service
    master, slave = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LINES": "24", "COLUMNS": "80"}
    program = "import sys; from minid.cli.main import main; sys.exit(main())"
    child = subprocess.Popen(
        [sys.executable, "-c", program, "status", "--watch"],
        cwd=line.folder,
        env=environ,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        seen = b""
        end = time.monotonic() + 30
        while seen.count(b"\x1b[H") < 2 and time.monotonic() < end:
            if select.select([master], [], [], 0.5)[0]:
                seen += os.read(master, 65536)
        child.send_signal(signal.SIGINT)
        child.wait(30)
        while select.select([master], [], [], 0.2)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                break
    finally:
        child.kill()
        child.wait()
        os.close(master)
    text = seen.decode()
    assert child.returncode == 3
    assert text.count("\x1b[H") >= 2
    assert text.startswith("\x1b[?1049h\x1b[?25l")
    assert text.rstrip().endswith("\x1b[?25h\x1b[?1049l")
    assert "waits for ground" in text
    assert "Traceback" not in text
    assert len(handler.requests) >= 3


def test_watching_in_a_pipe_prints_changes(service: tuple[Line, Service, Pretender]) -> None:
    line, answers, handler = service
    with line.start("status", "--watch", "--json") as child:
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        assert first["queued"] == STATUS["queued"]
        asked_before = len(handler.requests)
        wait_for(lambda: len(handler.requests) > asked_before + 1)
        answers.answers[Status] = [STATUS | {"queued": []}]
        assert json.loads(child.stdout.readline())["queued"] == []
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
    assert child.returncode == 130


# events


def test_events_are_read_without_a_service(built: Line) -> None:
    records = Records(built.state / "records.sqlite", writable=True)
    events = Events(records.database)
    events.add("failed", "broke \x1b[31mred", 5.0, recipe="ground", run=3)
    events.add("release", "1.28.0", time.time(), recipe="nginx", detail={"from": "1.26.3"})
    try:
        out = built.run("events").out
        assert re.search(r"^1970-01-01 \S+ +failed +ground: broke .*\(run 3\)$", out, re.MULTILINE)
        assert "\x1b" not in out
        (row,) = built.query("events", "--recipe", "nginx")
        assert (row["kind"], row["detail"], row["run"]) == ("release", {"from": "1.26.3"}, None)
        assert [row["kind"] for row in built.query("events", "-n", "1")] == ["release"]
        with built.start("events", "-f", "-n", "1", "--recipe", "nginx", "--json") as child:
            assert child.stdout is not None
            assert json.loads(child.stdout.readline())["text"] == "1.28.0"
            events.add("held", "of another", 6.0, recipe="other")
            events.add("held", "1.30.0", 7.0, recipe="nginx")
            assert json.loads(child.stdout.readline())["text"] == "1.30.0"
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=30)
        assert child.returncode == 130
    finally:
        records.close()
