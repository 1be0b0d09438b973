"""Running an image in Docker Engine for its checks, with the docker SDK.

The same methods as `container.Container`. Containers carry a label with their owner's process, so
that those of a killed minid are found and removed by the next one.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

from minid.errors import CheckError, HostError
from minid.formats.runtime_spec import user_names
from minid.host import docker_engine, netprobe
from minid.host.container import LIMITS, MEMORY_BYTES, ExecResult, ProgramState
from minid.host.container_process import LINE_CHARS, TAIL_LINES, Capture
from minid.host.container_settings import (
    LogView,
    SeenProcess,
    StartSettings,
    process_names,
)
from minid.host.docker_files import find_ids, place_files, read_text

OWNER_LABEL = "org.minid.check"
_LOGS = {"type": "json-file", "config": {"max-size": "1m", "max-file": "1"}}


class DockerContainer:
    """An image that the engine holds, to be started and asked. Use as a context manager.

    Methods raise HostError when the engine refuses, CheckError when `cancel` is set meanwhile.
    """

    def __init__(self, engine_id: str, cancel: Event | None = None) -> None:
        self._image, self._cancel = engine_id, cancel
        self._client: Any = None
        self._main: Any = None
        self._address = ""
        self._settings = StartSettings()

    def __enter__(self) -> DockerContainer:
        with _engine_errors():
            self._client = _connect(docker_engine.REQUEST_TIMEOUT_S)
            _remove_abandoned(self._client)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._main is not None:
                _remove(self._main)
        finally:
            if self._client is not None:
                self._client.close()

    @property
    def address(self) -> str:
        """The container's address on the engine's bridge."""
        if not self._address and self._main is not None:
            with _engine_errors():
                self._main.reload()
                networks = self._main.attrs["NetworkSettings"]["Networks"]
            self._address = next((n["IPAddress"] for n in networks.values()), "")
        return self._address or "127.0.0.1"

    def start(self, settings: StartSettings | None = None) -> None:
        """Start the image's own program in a fresh container, which takes the place of the one
        there was; it may end at once, see `state`. `settings` None: those of the last start."""
        if settings is not None:
            self._settings = settings
        with _engine_errors():
            if self._main is not None:
                _remove(self._main)
            self._address, self._main = "", None
            self._main = self._create()
            place_files(self._main, self._settings.files)
            _begin(self._main)

    def stop(self) -> None:
        """Send the program the image's stop signal; `state` tells of its end."""
        with _engine_errors():
            self._main.reload()
            sent = self._main.attrs["Config"].get("StopSignal") or "SIGTERM"
            with _gone_meanwhile():
                self._main.kill(signal=sent)

    def start_again(self) -> None:
        """Start the program, which has ended, anew in its container."""
        self._address = ""
        with _engine_errors():
            _begin(self._main)

    def read_log(self, stream: str, contains: str) -> LogView:
        """Look for a text in what the program printed since `start`, on `stdout`, `stderr` or ("")
        either."""
        self._stop_if_cancelled()
        with _engine_errors():
            said = self._main.logs(stdout=stream != "stderr", stderr=stream != "stdout")
        return LogView(contains.encode() in said, _lines(said))

    def processes(self) -> tuple[SeenProcess, ...]:
        """What runs in the container; pids are the engine's."""
        if not self.state().alive:
            return ()
        names, lines = self._list("pid,ruid,comm"), self._list("pid,args")
        with _engine_errors():
            users = user_names(read_text(self._main, "/etc/passwd"))
        first = {row[0]: row[1] for row in lines if len(row) == 2}
        rows = ((int(pid), int(uid), comm) for pid, uid, comm in names)
        return tuple(
            SeenProcess(pid, process_names(comm, first.get(str(pid), "")), uid, users.get(uid, ""))
            for pid, uid, comm in rows
        )

    def _list(self, columns: str) -> list[list[str]]:
        """The columns of what runs in the container; none where it has ended in this moment."""
        with _engine_errors(), _gone_meanwhile():
            return self._main.top(ps_args=f"-eo {columns}")["Processes"] or []
        return []

    def find_uid(self, user: str) -> int | None:
        """A user's number (a name, or a number itself) by the container's passwd."""
        with _engine_errors():
            return find_ids(self._main, user)[0]

    def state(self) -> ProgramState:
        """Whether the program runs, and what it said last."""
        self._stop_if_cancelled()
        if self._main is None:
            return ProgramState(False, False, None, ())
        with _engine_errors():
            self._main.reload()
            state = self._main.attrs["State"]
            said = self._main.logs(tail=TAIL_LINES)
        alive = bool(state["Running"])
        # What the engine could not execute has no output, but the engine's word about it.
        refused = not alive and bool(state["Error"])
        tail = (state["Error"][:LINE_CHARS],) if refused else _lines(said)
        started = not refused and not state["StartedAt"].startswith("0001")
        return ProgramState(started, alive, None if alive else state["ExitCode"], tail)

    def execute(self, argv: tuple[str, ...], *, contains: str, timeout_s: float) -> ExecResult:
        """Run a command in the running container, or where that has ended, in one of its own."""
        running = self.state().alive
        capture = Capture()
        code = None
        deadline = time.monotonic() + timeout_s
        with _engine_errors():
            if running:
                with _gone_meanwhile():
                    code = self._execute_inside(argv, capture, timeout_s)
                running = code is not None or self.state().alive
            if not running:
                code = self._execute_fresh(argv, capture, deadline - time.monotonic())
        content = capture.content()
        where = "running" if running else "fresh"
        return ExecResult(code, contains.encode() in content, tuple(capture.tail_lines()), where)

    def open_socket(self) -> socket.socket:
        """A TCP socket; the engine's bridge is reached from this machine."""
        self._stop_if_cancelled()
        return socket.socket()

    def libraries(self) -> tuple[str, ...]:
        """Files mapped as code, where /proc of the engine's processes can be read (as root)."""
        if self._main is None:
            return ()
        with _engine_errors():
            table = self._main.top(ps_args="-eo pid")
        found: set[str] = set()
        for row in table["Processes"]:
            with suppress(OSError):
                rows = (line.split(maxsplit=5) for line in _maps(row[0]))
                found |= {r[5] for r in rows if len(r) == 6 and "x" in r[1] and r[5][0] == "/"}
        return tuple(sorted(found))

    def audit(self, seconds: float, argv: tuple[str, ...] = ()) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing: the engine does not tell which files a program looked for."""
        return ()

    def _create(self, argv: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 (the SDK has no types)
        # An overridden entrypoint makes the engine forget the image's Cmd.
        options: dict[str, Any] = {"environment": dict(self._settings.env)}
        if argv:
            options["entrypoint"] = list(argv)
        elif self._settings.cmd is not None:
            options["command"] = list(self._settings.cmd)
        return self._client.containers.create(
            self._image,
            labels={OWNER_LABEL: owner_of(os.getpid())},
            log_config=_LOGS,
            hostname="minid",
            mem_limit=MEMORY_BYTES,
            pids_limit=LIMITS["RLIMIT_NPROC"],
            **options,
        )

    def _execute_inside(
        self, argv: tuple[str, ...], capture: Capture, timeout_s: float
    ) -> int | None:
        deadline = time.monotonic() + timeout_s
        api = _connect(max(timeout_s, 1)).api  # its timeout bounds the silence between chunks
        try:
            handle = api.exec_create(self._main.id, list(argv))["Id"]
            with suppress(OSError):  # the SDK's timeouts are OSErrors too
                for chunk in api.exec_start(handle, stream=True):
                    capture.add(chunk)
                    if time.monotonic() > deadline:
                        return None
            code = api.exec_inspect(handle)["ExitCode"]
            return None if code is None else int(code)
        finally:
            api.close()

    def _execute_fresh(
        self, argv: tuple[str, ...], capture: Capture, timeout_s: float
    ) -> int | None:
        container = self._create(argv)
        try:
            place_files(container, self._settings.files)
            container.start()
            deadline = time.monotonic() + timeout_s
            while container.attrs["State"].get("Status") != "exited":
                self._stop_if_cancelled()
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.01)
                container.reload()
            capture.add(container.logs())
            return int(container.attrs["State"]["ExitCode"])
        finally:
            _remove(container)

    def _stop_if_cancelled(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise CheckError("check: expected to end, got cancelled")


def fetch_page(image: str, port: int, path: str = "/", timeout_s: float = 10.0) -> bytes:
    """Start an image of the engine's, GET a page of it, remove the container; the page's body.

    CheckError when no page with status 200 came within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    with DockerContainer(image) as container:
        container.start()
        for delay in netprobe.retry_delays():
            try:
                with container.open_socket() as sock:
                    answer = netprobe.http_get(sock, (container.address, port), path)
                if answer.status == 200:
                    return answer.body
                seen = f"status {answer.status}"
            except netprobe.NoAnswerError as error:
                seen = str(error)
            state = container.state()
            if not state.alive or time.monotonic() > deadline:
                said = "; ".join(state.tail[-3:])
                raise CheckError(f"{image}: port {port}: expected a page, got {seen} {said}")
            time.sleep(delay)
    raise AssertionError("unreachable")


def owner_of(pid: int) -> str:
    """A process as `pid:start time`, which no later process shares; empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return f"{pid}:{text.rpartition(')')[2].split()[19]}"


def _connect(timeout_s: float) -> Any:  # noqa: ANN401 (the SDK has no types)
    import docker

    address = docker_engine.engine_socket()
    if address is None:
        return docker.from_env(version="auto", timeout=timeout_s)
    return docker.DockerClient(base_url=f"unix://{address}", version="auto", timeout=timeout_s)


@contextmanager
def _engine_errors() -> Iterator[None]:
    """The SDK's errors, and those of the HTTP library below it, as HostError."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise HostError(f"docker: {error}", hint="docker info") from error


def _remove(container: Any) -> None:  # noqa: ANN401
    from docker.errors import NotFound

    with suppress(NotFound), _engine_errors():
        container.remove(force=True, v=True)


def _remove_abandoned(client: Any) -> None:  # noqa: ANN401
    """Remove check containers whose minid is no more."""
    for container in client.containers.list(all=True, filters={"label": OWNER_LABEL}):
        labels: Mapping[str, str] = container.labels
        owner = labels.get(OWNER_LABEL, "")
        pid = owner.partition(":")[0]
        if not pid.isdigit() or owner_of(int(pid)) != owner:
            with suppress(HostError):
                _remove(container)


def _begin(container: Any) -> None:  # noqa: ANN401
    """Start a container. A program that cannot be executed is a state, and no error of ours."""
    from docker.errors import APIError

    try:
        container.start()
    except APIError as error:
        container.reload()
        if container.attrs["State"]["ExitCode"] not in (126, 127):
            raise HostError(f"docker: {error}", hint="docker info") from error


@contextmanager
def _gone_meanwhile() -> Iterator[None]:
    """Let the engine say that a container does not run: it has just ended."""
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        if error.status_code != 409:
            raise


def _maps(pid: str) -> list[str]:
    return Path(f"/proc/{int(pid)}/maps").read_text(errors="replace").splitlines()


def _lines(said: bytes) -> tuple[str, ...]:
    lines = said.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
    return tuple(line[:LINE_CHARS] for line in lines)
