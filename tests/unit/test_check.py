"""How checks are tried, judged and reported, on a subject whose services are real sockets here."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import pytest

from minid.errors import CheckError, HostError
from minid.host.container import ExecResult, ProgramState
from minid.host.container_settings import LogView, PlacedFile, SeenProcess, StartSettings
from minid.recipe import Check, Start, StartFile
from minid.steps import check as step
from minid.steps.check import ImageToCheck, check_image, check_name

Say = Callable[[int], bytes]


@dataclass
class Here:
    """A subject and its runner: the program is a thread of this process that answers on a port.

    `say` gives the answer to the n-th connection. `commands` are what exec checks get, in turn.
    """

    say: Say | None = None
    state_now: ProgramState = ProgramState(True, True, None, ("said",))
    commands: list[ExecResult] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    audits: list[tuple[str, ...]] = field(default_factory=list)
    entered: int = 0
    settings: list[StartSettings | None] = field(default_factory=list)
    after_stop: ProgramState = ProgramState(True, False, 0, ())
    said: dict[str, str] = field(default_factory=dict)
    running: tuple[SeenProcess, ...] = ()
    address: str = "127.0.0.1"
    name: str = "here"
    port: int = 0

    def open(
        self, image: ImageToCheck, cancel: threading.Event | None
    ) -> AbstractContextManager[Here]:
        return nullcontext(self)

    def start(self, settings: StartSettings | None = None) -> None:
        self.entered += 1
        self.settings.append(settings)

    def stop(self) -> None:
        self.state_now = self.after_stop

    def start_again(self) -> None:
        self.entered += 1
        self.state_now = ProgramState(True, True, None, ())

    def read_log(self, stream: str, contains: str) -> LogView:
        said = self.said[stream]
        return LogView(contains in said, (said,))

    def processes(self) -> tuple[SeenProcess, ...]:
        return self.running

    def find_uid(self, user: str) -> int | None:
        return {"redis": 100, "0": 0}.get(user)

    def state(self) -> ProgramState:
        return self.state_now

    def execute(self, argv: tuple[str, ...], *, contains: str, timeout_s: float) -> ExecResult:
        self.asked.append(argv)
        return self.commands.pop(0) if len(self.commands) > 1 else self.commands[0]

    def open_socket(self) -> socket.socket:
        return socket.socket()

    def libraries(self) -> tuple[str, ...]:
        return ("/lib/libc.so",)

    def audit(self, seconds: float, argv: tuple[str, ...] = ()) -> tuple[str, ...]:
        self.audits.append(argv)
        return ("/etc/nothing",)


@pytest.fixture
def serve() -> Iterator[Callable[[Say], Here]]:
    listeners: list[socket.socket] = []

    def begin(say: Say) -> Here:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def work() -> None:
            count = 0
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(4096)
                    peer.sendall(say(count))
                count += 1

        threading.Thread(target=work, daemon=True).start()
        return Here(port=listener.getsockname()[1])

    yield begin
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def page(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def image(**config: object) -> ImageToCheck:
    return ImageToCheck("web:1.2.3", "1.2.3", config or {"Cmd": ["web"]}, ())


def test_names_of_checks() -> None:
    assert check_name(Check("http", port=80, path="/x")) == "http 80 /x"
    assert check_name(Check("tcp", port=6379)) == "tcp 6379"
    assert check_name(Check("exec", argv=("a b", "-v"))) == "exec 'a b' -v"
    assert check_name(Check("http", port=443, tls=True)) == "https 443 /"
    assert check_name(Check("log")) == "log"
    assert check_name(Check("log", stream="stderr")) == "log stderr"
    assert check_name(Check("fastcgi", port=9000, script="/a.php")) == "fastcgi 9000 /a.php"
    assert check_name(Check("restart")) == "restart"


def test_page_is_found_and_shown(serve: Callable[[Say], Here]) -> None:
    here = serve(lambda _: page(200, "hello 1.2.3" + "x" * 5000))
    lines: list[str] = []
    check = Check("http", port=here.port, contains="hello {version}")
    report = check_image(image(), (check,), here, progress=lines.append, audit=False)
    assert report.passed
    assert report.results[0].detail.startswith("hello 1.2.3x")
    assert len(report.results[0].detail) == step.SHOWN_CHARS
    assert report.log == tuple(lines)
    assert "passed after" in lines[0]
    assert (here.entered, report.runner, report.output_tail) == (1, "here", ("said",))


def test_starting_service_is_tried_again(serve: Callable[[Say], Here]) -> None:
    here = serve(lambda count: page(503, "wait") if count < 4 else page(200, "ready"))
    report = check_image(image(), (Check("http", port=here.port),), here, audit=False)
    assert report.passed


def test_same_wrong_answer_settles(
    serve: Callable[[Say], Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SETTLED_S", 0.2)
    here = serve(lambda _: page(404, "no such page"))
    began = time.monotonic()
    check = Check("http", port=here.port, contains="hello", deadline_s=30)
    report = check_image(image(), (check,), here, audit=False)
    assert not report.passed
    wanted = "expected status 200 containing 'hello', got 404 'no such page'"
    assert report.results[0].detail == wanted
    assert 0.2 < time.monotonic() - began < 3


def test_error_of_the_server_lasts_until_the_deadline(
    serve: Callable[[Say], Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SETTLED_S", 0.05)
    here = serve(lambda _: page(500, "always"))
    began = time.monotonic()
    check = Check("http", port=here.port, deadline_s=0.5)
    assert not check_image(image(), (check,), here, audit=False).passed
    assert time.monotonic() - began > 0.3


def test_dead_program_ends_the_tries(serve: Callable[[Say], Here]) -> None:
    here = serve(lambda _: b"")
    here.state_now = ProgramState(True, False, 139, ("segfault at 0",))
    check = Check("http", port=here.port, deadline_s=30)
    report = check_image(image(), (check,), here, audit=False)
    assert report.results[0].detail == "expected status 200, got exit code 139: segfault at 0"
    assert report.results[0].seconds < 1


def test_tcp_text(serve: Callable[[Say], Here]) -> None:
    here = serve(lambda _: b"+PONG\r\n")
    check = Check("tcp", port=here.port, send="PING\r\n", contains="PONG")
    report = check_image(image(), (check,), here, audit=False)
    assert report.results[0].passed
    assert report.results[0].detail == "+PONG\r\n"


def test_exec_expands_the_version_and_retries_beside_a_service() -> None:
    fails = ExecResult(1, False, ("not yet",), "running")
    passes = ExecResult(0, True, ("1.2.3",), "running")
    here = Here(commands=[fails, fails, passes])
    check = Check("exec", argv=("web", "--is", "{version}"), contains="{version}")
    assert check_image(image(), (check,), here, audit=False).passed
    assert here.asked == [("web", "--is", "1.2.3")] * 3


def test_exec_alone_is_tried_once() -> None:
    here = Here(commands=[ExecResult(1, True, ("usage",), "fresh")])
    report = check_image(image(), (Check("exec", argv=("web",)),), here, audit=False)
    assert report.results[0].detail == "expected exit code 0, got exit code 1 and 'usage'"
    assert len(here.asked) == 1


def test_every_check_runs_though_one_failed() -> None:
    here = Here(commands=[ExecResult(1, True, (), "fresh"), ExecResult(0, True, (), "fresh")])
    check = Check("exec", argv=("web",))
    report = check_image(image(), (check, check), here, audit=False)
    assert [result.passed for result in report.results] == [False, True]
    assert not report.passed


@pytest.mark.parametrize(
    ("state", "passed"),
    [
        (ProgramState(True, True, None, ()), True),
        (ProgramState(True, False, 0, ()), True),
        (ProgramState(True, False, 1, ("usage",)), True),
        (ProgramState(True, False, 127, ("no libc",)), False),
        (ProgramState(True, False, 139, ()), False),
        (ProgramState(False, False, 1, ("not found",)), False),
    ],
)
def test_without_checks_the_program_must_start(state: ProgramState, passed: bool) -> None:
    report = check_image(image(), (), Here(state_now=state), audit=False)
    assert [(result.name, result.passed) for result in report.results] == [("start", passed)]


def test_nothing_to_start_and_nothing_to_check_passes() -> None:
    here = Here()
    report = check_image(image(Env=[]), (), here, audit=False)
    assert report.passed
    assert (report.results, here.entered) == ((), 0)


def test_audit_follows_success_only() -> None:
    here = Here(commands=[ExecResult(0, True, (), "running")])
    report = check_image(image(), (Check("exec", argv=("web",)),), here)
    assert (report.libraries, report.missed) == (("/lib/libc.so",), ("/etc/nothing",))
    assert here.audits == [()]
    here = Here(commands=[ExecResult(1, True, (), "fresh")])
    assert check_image(image(), (Check("exec", argv=("web",)),), here).missed == ()
    assert here.audits == []


def test_audit_of_a_program_that_ended_runs_the_command() -> None:
    here = Here(commands=[ExecResult(0, True, (), "fresh")])
    here.state_now = ProgramState(True, False, 0, ())
    check_image(image(), (Check("exec", argv=("web", "-v")),), here)
    assert here.audits == [("web", "-v")]


def test_audit_that_fails_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(commands=[ExecResult(0, True, (), "running")])

    def fail(seconds: float, argv: tuple[str, ...] = ()) -> tuple[str, ...]:
        raise HostError("no")

    monkeypatch.setattr(here, "audit", fail)
    report = check_image(image(), (Check("exec", argv=("web",)),), here)
    assert report.passed
    assert report.libraries == ("/lib/libc.so",)


def test_cancel_between_tries() -> None:
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    here = Here(commands=[ExecResult(1, True, (), "running")])
    check = Check("exec", argv=("web",), deadline_s=30)
    with pytest.raises(CheckError, match=r"web:1\.2\.3: .*cancelled"):
        check_image(image(), (check,), here, cancel=cancel, audit=False)


def test_start_gives_its_settings_with_the_version_and_nothing_starts_before() -> None:
    here = Here()
    start = Start((("A", "{version}"),), ("web", "{major}"), (StartFile("/a", "of {version}"),))
    report = check_image(image(), (Check("start", start=start),), here, audit=False)
    assert report.passed
    wanted = (("A", "1.2.3"),), ("web", "1"), (PlacedFile("/a", b"of 1.2.3", owner="0"),)
    assert here.settings == [StartSettings(*wanted)]


def test_start_later_comes_after_the_images_own() -> None:
    here = Here(said={"": "x"})
    checks = (Check("log", contains="x"), Check("start", start=Start()))
    assert check_image(image(), checks, here, audit=False).passed
    assert here.settings == [None, StartSettings()]


def test_stop_with_another_status_is_said() -> None:
    here = Here(after_stop=ProgramState(True, False, 1, ("bye",)))
    report = check_image(image(), (Check("stop"),), here, audit=False)
    assert report.results[0].detail == "expected exit code 0, got exit code 1: bye"
    assert check_image(image(), (Check("stop", exit_code=1),), here_alive(here), audit=False).passed


def here_alive(here: Here) -> Here:
    here.state_now = ProgramState(True, True, None, ())
    return here


def test_stop_that_does_not_come_ends_at_its_deadline() -> None:
    here = Here(after_stop=ProgramState(True, True, None, ()))
    report = check_image(image(), (Check("stop", deadline_s=0.1),), here, audit=False)
    assert "got a program that still runs" in report.results[0].detail


def test_stopped_service_is_audited_with_what_it_had_mapped() -> None:
    here = Here()
    report = check_image(image(), (Check("stop"),), here)
    assert (report.libraries, report.missed) == (("/lib/libc.so",), ("/etc/nothing",))


def test_cancel_while_a_service_stops() -> None:
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    here = Here(after_stop=ProgramState(True, True, None, ()))
    with pytest.raises(CheckError, match="cancelled"):
        check_image(image(), (Check("stop", deadline_s=30),), here, cancel=cancel, audit=False)


@pytest.mark.parametrize(
    ("row", "name", "user", "passed"),
    [
        (SeenProcess(7, ("redis-server",), 100), "redis-server", "redis", True),
        (SeenProcess(7, ("redis-server",), 0, "root"), "redis-server", "redis", False),
        (SeenProcess(7, ("redis-server",), 0), "redis-server", "0", True),
        (SeenProcess(7, ("a-name-of-more-",), 100), "a-name-of-more-than-15", "", True),
        (SeenProcess(7, ("redis",), 100), "redis-server", "", False),
    ],
)
def test_process(row: SeenProcess, name: str, user: str, passed: bool) -> None:
    here = Here(running=(row,))
    check = Check("process", name=name, user=user, deadline_s=0.05)
    result = check_image(image(), (check,), here, audit=False).results[0]
    assert result.passed is passed
    if row.user:
        wanted = "expected a process 'redis-server' of user 'redis', got 'root' (pid 7)"
        assert result.detail == wanted


def test_log_of_a_dead_program_is_final() -> None:
    here = Here(said={"stderr": "no"}, state_now=ProgramState(True, False, 1, ()))
    check = Check("log", stream="stderr", contains="yes", deadline_s=30)
    result = check_image(image(), (check,), here, audit=False).results[0]
    assert result.detail == "expected 'yes' on stderr, got 'no'"
    assert result.seconds < 5


def test_audit_is_of_the_service_and_not_of_a_start_that_failed() -> None:
    here = Here(said={"": "no password"})
    checks = (
        Check("start", start=Start((("PASSWORD", "x"),))),
        Check("start", start=Start()),
        Check("log", contains="no password"),
    )
    ended = ProgramState(True, False, 1, ("no password",))

    def end(settings: StartSettings | None = None) -> None:
        here.settings.append(settings)
        good = settings is not None and settings.env
        here.state_now = ProgramState(True, True, None, ()) if good else ended

    here.start = end  # type: ignore[method-assign]
    assert check_image(image(), checks, here).passed
    assert here.audits == [()]
    assert here.settings[-1] == here.settings[0]


def test_service_that_died_is_not_restarted_and_one_that_was_stopped_is() -> None:
    here = Here(state_now=ProgramState(True, False, 3, ("why",)))
    report = check_image(image(), (Check("restart"),), here, audit=False)
    assert report.results[0].detail.endswith("got one that had ended: exit code 3: why")
    assert here.entered == 1
    here = Here()
    assert check_image(image(), (Check("stop"), Check("restart")), here, audit=False).passed
    assert here.entered == 2
