"""The namespace's side of a probe: one container, created, traced from its first step, killed."""

# Not pathlib, as in container_server.
# ruff: noqa: PTH102

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from minid.errors import HostError
from minid.host import container_fs
from minid.host.container_process import Process
from minid.host.container_server import Server
from minid.host.name_ear import NameEar
from minid.host.syscall_trace import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable

SETTLED_S = 1.0
_CREATE_S = 20.0
_KNOCK_S = 0.5


class ProbeServer(Server):
    """Answers `probe` besides."""

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        return super()._handlers() | {"probe": self._probe}

    def _probe(self, request: dict[str, Any]) -> None:
        """Run the program under the tracer; the facts go down a descriptor as JSON."""
        facts = self._watch(request)
        path = f"{self._work}/facts"
        with open(path, "w") as file:
            json.dump(facts, file)
        self._send_descriptor(os.open(path, os.O_RDONLY))

    def _watch(self, request: dict[str, Any]) -> dict[str, Any]:
        self._bundles += 1
        name = f"c{self._bundles}"
        bundle = f"{self._work}/{name}"
        os.mkdir(bundle)
        self._write_bundle(bundle, tuple(request["argv"]), "")
        pid_file = f"{bundle}/pid"
        options = ("--no-new-keyring", "--bundle", bundle, "--pid-file", pid_file, name)
        created = Process(self._runtime("create", *options), pid_file, name)
        if _finish(created, _CREATE_S) != 0:
            return {"refused": created.capture.tail_lines()}
        with open(pid_file) as file:
            pid = int(file.read())
        root = os.open(f"{bundle}/rootfs", os.O_PATH | os.O_DIRECTORY)
        texts = [container_fs.read_in_root(root, f"etc/{one}") for one in ("passwd", "group")]
        os.close(root)
        ear = NameEar(*texts)
        try:
            return self._trace(_Session(self, request, created, pid, ear), name)
        finally:
            ear.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _trace(self, session: _Session, name: str) -> dict[str, Any]:
        tracer = session.tracer
        try:
            tracer.attach()
        except OSError as error:
            raise HostError(
                f"probe: expected to trace a process of its own, got {error.strerror}",
                hint="sysctl kernel.yama.ptrace_scope must be below 3",
            ) from error
        session.starter = Process(self._runtime("start", name), "", f"{name}-start")
        tracer.run(session.tick)
        alive = tracer.code is None and tracer.executed
        ended = tracer.code
        with contextlib.suppress(ProcessLookupError):
            os.kill(session.pid, signal.SIGKILL)
        tracer.run(lambda: False)
        session.drain()
        if tracer.executed and not tracer.rows:
            raise HostError(
                "probe: expected to be told of system calls, got none",
                hint="needs Linux 5.3 or newer, on x86-64 or 64-bit ARM",
            )
        return {
            "rows": tracer.facts(),
            "names": [list(pair) for pair in session.ear.names],
            "alive": alive,
            "executed": tracer.executed,
            "exit_code": None if alive else ended,
            "background": tracer.background,
            "tail": session.created.capture.tail_lines(),
            "answers": session.answers,
            "first": session.pid,
        }

    def hung_up(self) -> bool:
        """Whether the other end has gone."""
        ready, _, _ = select.select([self._control], [], [], 0)
        return bool(ready) and not self._control.recv(1, socket.MSG_PEEK)

    @property
    def address(self) -> str:
        """The container's own address."""
        return str(self._job["address"])


class _Session:
    """What happens beside the tracing: output is taken, services are asked, time runs out."""

    def __init__(
        self, server: ProbeServer, request: dict[str, Any], created: Process, pid: int, ear: NameEar
    ) -> None:
        self.server, self.created, self.pid, self.ear = server, created, pid, ear
        self.tracer = Tracer(pid, ear)
        self.starter: Process | None = None
        self.answers: list[str] = []
        self._knocks: list[list[Any]] = list(request["knocks"])
        self._knocking: list[socket.socket] = []
        self._whole = bool(request["whole"])
        self._end = time.monotonic() + float(request["seconds"])

    def tick(self) -> bool:
        """Whether it is enough."""
        if self.server.hung_up():
            os._exit(0)
        self.drain()
        self.ear.serve()
        self._hear()
        now = time.monotonic()
        quiet = now - self.tracer.fresh
        if self._knocks and self.tracer.executed and quiet > _KNOCK_S:
            self._knock()
            self.tracer.fresh = now
            return False
        settled = self.tracer.executed and quiet > SETTLED_S and not self._whole
        return settled or now > self._end

    def drain(self) -> None:
        """Take what the program has said."""
        poll = select.poll()
        self.created.register(poll)
        self.created.update(dict(poll.poll(0)))

    def _knock(self) -> None:
        """Ask what the recipe's checks ask: a program opens much only when it is asked."""
        for port, text in self._knocks:
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.connect_ex((self.server.address, int(port)))
                sock.send(bytes.fromhex(text))
            self._knocking.append(sock)
            self.answers.append("")
        self._knocks = []

    def _hear(self) -> None:
        for number, sock in enumerate(self._knocking):
            with contextlib.suppress(OSError):
                data = sock.recv(4096)
                if not self.answers[number]:
                    self.answers[number] = data[:200].decode("utf-8", "replace")


def _finish(process: Process, seconds: float) -> int | None:
    """The status of a short program; it may leave others behind that have its output."""
    end = time.monotonic() + seconds
    while process.exit_code is None and time.monotonic() < end:
        poll = select.poll()
        process.register(poll)
        process.update(dict(poll.poll(50)))
    return process.exit_code
