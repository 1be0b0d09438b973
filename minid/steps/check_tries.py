"""One try of each kind of check: ask the running container once, and judge what it says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from minid.formats import fastcgi
from minid.host import netprobe
from minid.host.container import ProgramState
from minid.host.container_settings import SeenProcess
from minid.recipe import Check, expand
from minid.steps.check_subject import Subject

SHOWN_CHARS = 2000
TRY_TIMEOUT_S = 5.0
_COMM_BYTES = 15
_MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One try: `final` says that another cannot differ; `seen` is compared between tries."""

    passed: bool
    detail: str
    final: bool = False
    seen: object = None


@dataclass(frozen=True, slots=True)
class Tries:
    """The tries of one started image; `version` fills `{version}`."""

    subject: Subject
    version: str

    def of(self, kind: str) -> Callable[[Check, float], Answer]:
        """How a kind of check that is retried is tried once, given the seconds that are left."""
        return {
            "http": self.http,
            "tcp": self.tcp,
            "exec": self.execute,
            "process": self.process,
            "log": self.log,
            "fastcgi": self.fastcgi,
        }[kind]

    def _socket(self, check: Check) -> socket.socket:
        sock = self.subject.open_socket()
        return netprobe.with_tls(sock) if check.tls else sock

    def _text(self, template: str) -> str:
        return expand(template, self.version)

    def http(self, check: Check, left_s: float) -> Answer:
        wanted = self._text(check.contains)
        address = (self.subject.address, check.port)
        try:
            with self._socket(check) as sock:
                answer = netprobe.http_get(
                    sock,
                    address,
                    self._text(check.path),
                    check.headers,
                    min(left_s, TRY_TIMEOUT_S),
                )
        except netprobe.NoAnswerError as error:
            return self._no_answer(check, _promise_page(check, wanted), str(error))
        return _judge_page(check, wanted, answer.status, answer.body)

    def tcp(self, check: Check, left_s: float) -> Answer:
        wanted = self._text(check.contains)
        promise = "expected a connection" + (f" and {wanted!r}" if wanted else "")
        try:
            with self.subject.open_socket() as sock:
                got = netprobe.tcp_exchange(
                    sock,
                    (self.subject.address, check.port),
                    self._text(check.send).encode(),
                    wanted.encode(),
                    min(left_s, TRY_TIMEOUT_S),
                )
        except netprobe.NoAnswerError as error:
            return self._no_answer(check, promise, str(error))
        shown = got.decode("utf-8", "replace")[:SHOWN_CHARS]
        if wanted.encode() in got:
            return Answer(True, shown)
        return Answer(False, f"{promise}, got {shown!r}", seen=got)

    def _no_answer(self, check: Check, promise: str, reason: str) -> Answer:
        """A try without an answer: final when there is nobody left who could give one."""
        state = self.subject.state()
        if not state.alive:
            return Answer(False, f"{promise}, got {how_it_ended(state)}", final=True)
        hint = self._loopback_hint(check.port) if reason == "connection refused" else ""
        return Answer(False, f"{promise}, got {reason}{hint}")

    def _loopback_hint(self, port: int) -> str:
        if self.subject.address == "127.0.0.1":
            return ""
        with self.subject.open_socket() as sock, suppress(OSError):
            sock.settimeout(1)
            sock.connect(("127.0.0.1", port))
            return " (it listens on 127.0.0.1 only, which nobody outside the container reaches)"
        return ""

    def execute(self, check: Check, left_s: float) -> Answer:
        wanted = self._text(check.contains)
        argv = tuple(self._text(word) for word in check.argv)
        promise = f"expected exit code {check.exit_code}"
        promise += f" and output containing {wanted!r}" if wanted else ""
        result = self.subject.execute(argv, contains=wanted, timeout_s=left_s)
        shown = "\n".join(result.tail)[-SHOWN_CHARS:]
        if result.exit_code == check.exit_code and result.found:
            return Answer(True, shown)
        code = "no end in time" if result.exit_code is None else f"exit code {result.exit_code}"
        detail = f"{promise}, got {code} and {shown!r}"
        # A client of the running service (`redis-cli ping`) fails until the service is up.
        final = result.where == "fresh" or result.exit_code is None
        settled = (result.exit_code, shown) if result.exit_code == check.exit_code else None
        return Answer(False, detail, final=final, seen=settled)

    def process(self, check: Check, _left_s: float) -> Answer:
        """Look for a process by its name and user."""
        state = self.subject.state()
        rows = self.subject.processes()
        found = [row for row in rows if _is_called(row, check.name)]
        promise = f"expected a process {check.name!r}"
        if not found:
            if not state.alive:
                return Answer(False, f"{promise}, got {how_it_ended(state)}", final=True)
            names = sorted({row.names[0] for row in rows if row.names})[:_MAX_SHOWN]
            return Answer(False, f"{promise}, got {', '.join(map(repr, names)) or 'none'}")
        if not check.user:
            return Answer(True, f"pid {found[0].pid}")
        uid = self.subject.find_uid(check.user)
        if uid is None:
            got = "no such user in the image's passwd"
            return Answer(False, f"{promise} of user {check.user!r}, got {got}", final=True)
        own = next((row for row in found if row.uid == uid), None)
        if own is not None:
            return Answer(True, f"pid {own.pid}")
        seen = ", ".join(_owner_of(row) for row in found[:_MAX_SHOWN])
        # No `seen`: a program changes its user a moment after it was started.
        return Answer(False, f"{promise} of user {check.user!r}, got {seen}")

    def log(self, check: Check, _left_s: float) -> Answer:
        """Look into what the program printed."""
        wanted = self._text(check.contains)
        alive = self.subject.state().alive  # before the look: its last words come with its end
        view = self.subject.read_log(check.stream, wanted)
        shown = "\n".join(view.tail)[-SHOWN_CHARS:]
        if view.found:
            return Answer(True, shown)
        where = check.stream or "stdout or stderr"
        return Answer(False, f"expected {wanted!r} on {where}, got {shown!r}", final=not alive)

    def fastcgi(self, check: Check, left_s: float) -> Answer:
        """Ask a FastCGI server."""
        wanted = self._text(check.contains)
        own = fastcgi.get_params(self._text(check.script), self._text(check.query), check.port)
        params = dict(own) | {name: self._text(value) for name, value in check.params}
        try:
            with self.subject.open_socket() as sock:
                answer = netprobe.fastcgi_exchange(
                    sock,
                    (self.subject.address, check.port),
                    fastcgi.request_bytes(params.items()),
                    min(left_s, TRY_TIMEOUT_S),
                )
        except netprobe.NoAnswerError as error:
            return self._no_answer(check, _promise_page(check, wanted), str(error))
        return _judge_page(check, wanted, answer.status, answer.body, answer.errors)


def _owner_of(row: SeenProcess) -> str:
    return f"{row.user!r} (pid {row.pid})" if row.user else f"uid {row.uid} (pid {row.pid})"


def _promise_page(check: Check, wanted: str) -> str:
    return f"expected status {check.status}" + (f" containing {wanted!r}" if wanted else "")


def _judge_page(check: Check, wanted: str, status: int, page: bytes, errors: bytes = b"") -> Answer:
    """What a page says that came with a status and, by FastCGI, with errors."""
    body = page.decode("utf-8", "replace")
    if status == check.status and wanted in body:
        return Answer(True, body[:SHOWN_CHARS])
    said = errors.decode("utf-8", "replace")[-SHOWN_CHARS:]
    detail = f"{_promise_page(check, wanted)}, got {status} {body[:SHOWN_CHARS]!r}"
    detail += f" and the error {said!r}" if said else ""
    # A 5xx is what a service says that is still starting: it may last until the deadline.
    return Answer(False, detail, seen=None if status >= 500 else (status, body))


def _is_called(row: SeenProcess, name: str) -> bool:
    """Whether a process goes by a name, of which the kernel keeps the first bytes only."""
    short = name.encode()[:_COMM_BYTES].decode("utf-8", "ignore")
    return name in row.names or (short != name and short in row.names)


def how_it_ended(state: ProgramState) -> str:
    """How a program ended, with its last words."""
    said = "\n".join(state.tail)[-SHOWN_CHARS:]
    how = f"exit code {state.exit_code}" if state.started else "a program that did not start"
    return f"{how}: {said}" if said else how
