"""The service's socket with real askers: good ones, sleepy ones, hostile ones, and strangers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from minid.cli.daemon_client import Daemon, connect, find_daemon, need_daemon, refuse_beside_daemon
from minid.config import Config, Paths
from minid.daemon.requests import Cancel, Follow, Ping, Request, Status, request_line
from minid.errors import HostError, NoDaemonError, StoreError, UsageError
from minid.store.lock import writer_lock
from tests.support.daemon_socket import serving, short_folder
from tests.support.line import wait_for
from tests.support.require import demand_or_skip
from tests.support.users import ROOT, ordinary_user, python_for, setpriv_options

pytestmark = pytest.mark.integration


@pytest.fixture
def place() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def config_in(place: Path) -> Config:
    return Config(file=None, paths=Paths(recipes=place / "recipes", state=place))


async def pid_only(request: Request) -> AsyncIterator[dict[str, Any]]:
    yield {"pid": os.getpid(), "asked": type(request).__name__}


def read_all(plug: socket.socket) -> list[dict[str, Any]]:
    plug.settimeout(30)
    with plug.makefile("rb") as stream:
        return [json.loads(line) for line in stream]


def raw(path: Path, data: bytes) -> list[dict[str, Any]]:
    """What an asker gets that sends these bytes."""
    with connect(path) as plug:
        plug.sendall(data)
        return read_all(plug)


def test_a_question_is_answered(place: Path) -> None:
    path = place / "minid.sock"
    with serving(path, pid_only) as handler:
        assert Daemon(path).ask_once(Ping()) == {"pid": os.getpid(), "asked": "Ping"}
        assert Daemon(path).ask_once(Status())["asked"] == "Status"
        assert handler.requests == [Ping(), Status()]
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_answers_come_one_by_one(place: Path) -> None:
    path, gate = place / "s", threading.Event()

    async def two(_: Request) -> AsyncIterator[dict[str, Any]]:
        yield {"n": 1}
        while not gate.is_set():
            await asyncio.sleep(0.01)
        yield {"n": 2}

    with serving(path, two):
        answers = Daemon(path).ask(Follow((1,)), patient=True)
        assert next(answers) == {"n": 1}
        gate.set()
        assert list(answers) == [{"n": 2}]


def test_an_error_is_what_it_was(place: Path) -> None:
    async def no_such(_: Request) -> AsyncIterator[dict[str, Any]]:
        yield {"n": 1}
        raise UsageError("cancel: expected a run, got 7", hint="minid queue")

    with serving(place / "s", no_such):
        answers = Daemon(place / "s").ask(Cancel(7))
        assert next(answers) == {"n": 1}
        with pytest.raises(UsageError, match="got 7") as caught:
            next(answers)
        assert caught.value.hint == "minid queue"


def test_a_fault_of_the_handler_is_told_and_the_next_is_answered(place: Path) -> None:
    async def faulty(request: Request) -> AsyncIterator[dict[str, Any]]:
        if isinstance(request, Cancel):
            raise FileNotFoundError("secret/path")
        yield {}

    with serving(place / "s", faulty) as handler:
        (last,) = raw(place / "s", request_line(Cancel(1)))
        assert last["error"]["exit_code"] == 1
        assert "secret" not in json.dumps(last)
        assert [type(fault) for fault in handler.faults] == [FileNotFoundError]
        assert Daemon(place / "s").ask_once(Ping()) == {}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\n", "expected a line of JSON"),
        (b"\xff\x00\xff\n", "expected a line of JSON"),
        (b'{"request": "ping", "x": 1}\n', "expected a field of it"),
        (b"x" * (200 << 10) + b"\n", "expected at most 65536 bytes"),
        (b'{"request": "pi', "expected a line of JSON"),
    ],
)
def test_strange_bytes_get_an_error(place: Path, data: bytes, says: str) -> None:
    with serving(place / "s", pid_only) as handler:
        with connect(place / "s") as plug:
            plug.sendall(data)
            plug.shutdown(socket.SHUT_WR)
            (answer,) = read_all(plug)
        assert says in answer["error"]["message"]
        assert handler.faults == []
        assert Daemon(place / "s").ask_once(Ping())["asked"] == "Ping"


def test_five_hundred_that_say_nothing_harm_nobody(place: Path) -> None:
    with serving(place / "s", pid_only):
        sleepy = [connect(place / "s") for _ in range(500)]
        try:
            assert Daemon(place / "s").ask_once(Ping())["asked"] == "Ping"
        finally:
            for plug in sleepy:
                plug.close()


def test_more_than_there_is_room_for_make_room(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minid.daemon.server.MAX_CONNECTIONS", 20)
    with serving(place / "s", pid_only):
        sleepy = [connect(place / "s") for _ in range(60)]
        assert Daemon(place / "s").ask_once(Ping())["asked"] == "Ping"
        assert read_all(sleepy[0]) == []
        for plug in sleepy:
            plug.close()


def test_one_that_asks_nothing_is_dropped(place: Path) -> None:
    with serving(place / "s", pid_only, idle_s=0.05), connect(place / "s") as plug:
        assert read_all(plug) == []


def test_one_that_does_not_read_is_dropped_and_holds_up_nobody(place: Path) -> None:
    ended = threading.Event()

    async def flood(request: Request) -> AsyncIterator[dict[str, Any]]:
        if not isinstance(request, Follow):
            yield {}
            return
        try:
            while True:
                yield {"line": "x" * 10_000}
        finally:
            ended.set()

    with serving(place / "s", flood, stall_s=0.2), connect(place / "s") as plug:
        plug.sendall(request_line(Follow((1,))))
        assert Daemon(place / "s").ask_once(Ping()) == {}
        assert ended.wait(30)


def test_one_that_hangs_up_ends_its_answers(place: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def forever(_: Request) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {}
            begun.set()
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with serving(place / "s", forever):
        answers = Daemon(place / "s").ask(Follow((1,)), patient=True)
        next(answers)
        assert begun.wait(30)
        answers.close()
        assert ended.wait(30)


def test_what_was_asked_for_happens_though_the_asker_has_gone(place: Path) -> None:
    gone, done = threading.Event(), threading.Event()

    async def slow(_: Request) -> AsyncIterator[dict[str, Any]]:
        while not gone.is_set():
            await asyncio.sleep(0.01)
        yield {"run": 1}
        yield {"run": 1}
        done.set()

    with serving(place / "s", slow) as handler:
        with connect(place / "s") as plug:
            plug.sendall(request_line(Cancel(1)))
            wait_for(lambda: handler.requests)
        gone.set()
        assert done.wait(30)


def test_those_who_wait_hear_that_it_ends(place: Path) -> None:
    async def forever(_: Request) -> AsyncIterator[dict[str, Any]]:
        yield {}
        await asyncio.sleep(3600)

    with serving(place / "s", forever):
        answers = Daemon(place / "s").ask(Follow((1,)), patient=True)
        next(answers)
    with pytest.raises(StoreError, match="the service ends"):
        next(answers)


def test_a_long_path_is_no_obstacle(place: Path) -> None:
    deep = place.joinpath(*["deep" * 10] * 6)
    assert len(str(deep)) > 200
    with serving(deep / "minid.sock", pid_only):
        assert Daemon(deep / "minid.sock").ask_once(Ping())["asked"] == "Ping"
    assert list(deep.iterdir()) == []


def test_a_killed_services_socket_is_replaced(place: Path) -> None:
    path = place / "minid.sock"
    program = (
        "import sys, signal; from pathlib import Path; from minid.daemon.server import listen\n"
        "held = listen(Path(sys.argv[1])); print('up', flush=True); signal.pause()"
    )
    argv = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGKILL)
    assert path.is_socket()
    assert find_daemon(config_in(place)) is None
    with serving(path, pid_only):
        assert find_daemon(config_in(place)) == Daemon(path)


def test_a_file_in_the_way_is_left_alone(place: Path) -> None:
    path = place / "minid.sock"
    path.write_text("mine")
    with pytest.raises(HostError, match="expected a socket or nothing"), serving(path, pid_only):
        pass
    assert path.read_text() == "mine"
    assert find_daemon(config_in(place)) is None


def test_nobody_there(place: Path) -> None:
    with pytest.raises(NoDaemonError) as caught:
        need_daemon(config_in(place))
    assert caught.value.exit_code == 3
    refuse_beside_daemon(config_in(place), "fetch")


def test_a_builder_with_the_lock_is_no_daemon(place: Path) -> None:
    with writer_lock(place / "lock", print):
        assert find_daemon(config_in(place)) is None


def test_a_daemon_that_comes_is_waited_for(place: Path) -> None:
    with writer_lock(place / "lock", print, "daemon"):
        found: list[Daemon | None] = []
        asker = threading.Thread(target=lambda: found.append(find_daemon(config_in(place))))
        asker.start()
        time.sleep(0.1)
        assert find_daemon(config_in(place), wait=False) is None
        with serving(place / "minid.sock", pid_only):
            asker.join(30)
            assert found == [Daemon(place / "minid.sock")]
            with pytest.raises(StoreError, match=f"process {os.getpid()}"):
                refuse_beside_daemon(config_in(place), "fetch")


def test_a_daemon_that_does_not_listen_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minid.cli.daemon_client._COMING_S", 0.1)
    with (
        writer_lock(place / "lock", print, "daemon"),
        pytest.raises(StoreError, match="expected the service"),
    ):
        find_daemon(config_in(place))


def test_a_killed_service_is_told(place: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "s"))
    listener.listen()

    def die() -> None:
        plug, _ = listener.accept()
        plug.recv(100)
        plug.sendall(b'{"n": 1}\n{"half')
        plug.close()

    threading.Thread(target=die).start()
    with pytest.raises(StoreError, match=r"expected the service's answer|ended before"):
        list(Daemon(place / "s").ask(Ping()))
    listener.close()


def test_strangers_are_kept_out_and_told_how_to_come_in(place: Path) -> None:
    user = ordinary_user()
    if not user:
        demand_or_skip("root", "only root can give a socket to another group")
    place.chmod(0o755)
    with short_folder() as other:
        other.chmod(0o755)
        python = python_for(user, other / "python")
        program = (
            "import sys; from pathlib import Path\n"
            "from minid.cli.daemon_client import find_daemon\n"
            "from minid.config import Config, Paths\n"
            "place = Path(sys.argv[1])\n"
            "print(find_daemon(Config(None, Paths(place, place))))"
        )
        argv = ["setpriv", *setpriv_options(user), "env", f"PYTHONPATH={ROOT}"]
        with serving(place / "minid.sock", pid_only):
            done = subprocess.run(
                [*argv, python, "-c", program, str(place)], capture_output=True, text=True
            )
            assert "HostError" in done.stderr
            assert "expected to be let in by the daemon" in done.stderr
            group = int(subprocess.check_output(["id", "-g", user]))
            os.chown(place / "minid.sock", -1, group)
            done = subprocess.run(
                [*argv, python, "-c", program, str(place)], capture_output=True, text=True
            )
            assert "Daemon(" in done.stdout, done.stderr
