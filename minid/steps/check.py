"""The step between image and publish: start the image, ask it what its recipe says it answers.

A check is retried until its deadline, because services take a moment; it fails at once when the
program has died, and early when the answer is settled. Where the image runs is a runner's matter.
"""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from minid.errors import CheckError, MinidError
from minid.formats.digest import Digest
from minid.formats.runtime_spec import process_argv
from minid.host import netprobe
from minid.host.container import (
    Container,
    ContainerSpec,
    ExecResult,
    LayerFile,
    ProgramState,
)
from minid.model import CheckReport, CheckResult
from minid.recipe import Check, expand

SHOWN_CHARS = 2000
SETTLED_S = 2.0
TRY_TIMEOUT_S = 5.0
AUDIT_S = 0.7
START_S = 0.3
_SIGNAL_OR_NOT_RUN = 126


@dataclass(frozen=True, slots=True)
class ImageToCheck:
    """An image that was built: `config` is the `config` part of its configuration JSON.

    Layers are (diff ID, uncompressed tar), lowest first. `version` fills `{version}` in the
    checks' texts.
    """

    name: str
    version: str
    config: Mapping[str, Any]
    layers: tuple[tuple[Digest, Path], ...]


class Subject(Protocol):
    """A place where one image can be started and asked; see `minid.host.container.Container`."""

    @property
    def address(self) -> str:
        """Where its services are reached."""

    def start(self) -> None:
        """Start the image's own program."""

    def state(self) -> ProgramState:
        """Whether it runs."""

    def execute(self, argv: tuple[str, ...], *, contains: str, timeout_s: float) -> ExecResult:
        """Run a command beside it, or alone where it has ended."""

    def open_socket(self) -> socket.socket:
        """A TCP socket that can be connected to `address`."""

    def libraries(self) -> tuple[str, ...]:
        """What its processes have mapped as code."""

    def audit(self, seconds: float, argv: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Start it anew; what it looked for in vain."""


class Runner(Protocol):
    """Where images run for their checks."""

    @property
    def name(self) -> str:
        """The name that a report carries."""

    def open(self, image: ImageToCheck, cancel: Event | None) -> AbstractContextManager[Subject]:
        """A place for the image; leaving it removes every trace."""


@dataclass(frozen=True, slots=True)
class SandboxRunner:
    """Runs images in namespaces of their own, without an engine. `layers` is the layer cache."""

    layers: Path
    name: str = "sandbox"

    def open(self, image: ImageToCheck, cancel: Event | None) -> AbstractContextManager[Subject]:
        """A container made from the image's stored layers."""
        layers = tuple(LayerFile(diff_id, tar) for diff_id, tar in image.layers)
        return Container(ContainerSpec(image.config, layers), self.layers, cancel)


@dataclass(frozen=True, slots=True)
class DockerRunner:
    """Runs images in Docker Engine. `load` has the engine hold the image and gives its id there."""

    load: Callable[[ImageToCheck], str]
    name: str = "docker"

    def open(self, image: ImageToCheck, cancel: Event | None) -> AbstractContextManager[Subject]:
        """A container of the loaded image, on a network address of its own."""
        from minid.host.docker_container import DockerContainer

        return DockerContainer(self.load(image), cancel)


def check_image(
    image: ImageToCheck,
    checks: tuple[Check, ...],
    runner: Runner,
    *,
    cancel: Event | None = None,
    progress: Callable[[str], None] | None = None,
    audit: bool = True,
) -> CheckReport:
    """Run all checks in their order; the report says which passed.

    Without any check the image's program must at least start: an image with a command gets one
    result, `start`. `audit` adds what the program mapped and missed; it costs a second start of the
    program after the checks and never fails them. `progress` gets a line per check.
    CheckError when cancelled; HostError or ImageError when nothing could be started.
    """
    log: list[str] = []

    def note(line: str) -> None:
        log.append(line)
        if progress is not None:
            progress(line)

    with runner.open(image, cancel) as subject:
        session = _Session(image, subject, cancel)
        has_program = bool(process_argv(image.config))
        if has_program:
            subject.start()
        results = session.run_all(checks, note) if checks else session.run_start(has_program, note)
        report = CheckReport(runner.name, results, output_tail=subject.state().tail, log=tuple(log))
        return _with_audit(report, subject, checks) if audit and report.passed else report


def _with_audit(report: CheckReport, subject: Subject, checks: tuple[Check, ...]) -> CheckReport:
    """The report with what can be learnt about the files the program uses."""
    with suppress(MinidError):
        running = subject.state().alive
        report = replace(report, libraries=subject.libraries())
        commands = [check.argv for check in checks if check.kind == "exec"]
        if running:
            report = replace(report, missed=subject.audit(AUDIT_S))
        elif commands:
            report = replace(report, missed=subject.audit(AUDIT_S, commands[0]))
    return report


@dataclass(frozen=True, slots=True)
class _Answer:
    """One try: `final` says that another cannot differ; `seen` is compared between tries."""

    passed: bool
    detail: str
    final: bool = False
    seen: object = None


@dataclass(frozen=True, slots=True)
class _Session:
    """The checks of one started image."""

    image: ImageToCheck
    subject: Subject
    cancel: Event | None

    def run_all(
        self, checks: tuple[Check, ...], note: Callable[[str], None]
    ) -> tuple[CheckResult, ...]:
        results = []
        for check in checks:
            result = self._run(check)
            results.append(result)
            word = "passed" if result.passed else "failed"
            note(f"{result.name}: {word} after {result.seconds * 1000:.0f} ms")
        return tuple(results)

    def run_start(self, has_program: bool, note: Callable[[str], None]) -> tuple[CheckResult, ...]:
        """The check of an image that has none: its program must be there and not be killed."""
        if not has_program:
            return ()
        began = time.monotonic()
        state = self.subject.state()
        while state.exit_code is None and time.monotonic() - began < START_S:
            self._pause(0.01)
            state = self.subject.state()
        passed = state.started and (state.exit_code or 0) < _SIGNAL_OR_NOT_RUN
        detail = "" if passed else _died(state)
        note(f"start: {'passed' if passed else 'failed'}")
        return (CheckResult("start", passed, time.monotonic() - began, detail),)

    def _run(self, check: Check) -> CheckResult:
        """Try until it passes, is final, is settled, or the deadline has come."""
        began = changed = time.monotonic()
        deadline = began + check.deadline_s
        attempt = {"http": self._try_http, "tcp": self._try_tcp, "exec": self._try_exec}[check.kind]
        last: _Answer | None = None
        for delay in netprobe.retry_delays():
            left = deadline - time.monotonic()
            answer = attempt(check, max(left, 0.01))
            now = time.monotonic()
            if last is None or answer.seen is None or answer.seen != last.seen:
                changed = now
            last = answer
            if answer.passed or answer.final or now - changed > SETTLED_S or now + delay > deadline:
                break
            self._pause(delay)
        assert last is not None
        return CheckResult(check_name(check), last.passed, time.monotonic() - began, last.detail)

    def _pause(self, seconds: float) -> None:
        if self.cancel is None:
            time.sleep(seconds)
        elif self.cancel.wait(seconds):
            raise CheckError(f"{self.image.name}: expected the checks to end, got cancelled")

    def _text(self, template: str) -> str:
        return expand(template, self.image.version)

    def _try_http(self, check: Check, left_s: float) -> _Answer:
        wanted = self._text(check.contains)
        promise = f"expected status {check.status}" + (f" containing {wanted!r}" if wanted else "")
        address = (self.subject.address, check.port)
        try:
            with self.subject.open_socket() as sock:
                answer = netprobe.http_get(
                    sock,
                    address,
                    self._text(check.path),
                    check.headers,
                    min(left_s, TRY_TIMEOUT_S),
                )
        except netprobe.NoAnswerError as error:
            return self._no_answer(check, promise, str(error))
        body = answer.body.decode("utf-8", "replace")
        passed = answer.status == check.status and wanted in body
        if passed:
            return _Answer(True, body[:SHOWN_CHARS])
        detail = f"{promise}, got {answer.status} {body[:SHOWN_CHARS]!r}"
        # A 5xx is what a service says that is still starting: it may last until the deadline.
        return _Answer(False, detail, seen=None if answer.status >= 500 else (answer.status, body))

    def _try_tcp(self, check: Check, left_s: float) -> _Answer:
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
            return _Answer(True, shown)
        return _Answer(False, f"{promise}, got {shown!r}", seen=got)

    def _no_answer(self, check: Check, promise: str, reason: str) -> _Answer:
        """A try without an answer: final when there is nobody left who could give one."""
        state = self.subject.state()
        if not state.alive:
            return _Answer(False, f"{promise}, got {_died(state)}", final=True)
        hint = self._loopback_hint(check.port) if reason == "connection refused" else ""
        return _Answer(False, f"{promise}, got {reason}{hint}")

    def _loopback_hint(self, port: int) -> str:
        if self.subject.address == "127.0.0.1":
            return ""
        with self.subject.open_socket() as sock, suppress(OSError):
            sock.settimeout(1)
            sock.connect(("127.0.0.1", port))
            return " (it listens on 127.0.0.1 only, which nobody outside the container reaches)"
        return ""

    def _try_exec(self, check: Check, left_s: float) -> _Answer:
        wanted = self._text(check.contains)
        argv = tuple(self._text(word) for word in check.argv)
        promise = f"expected exit code {check.exit_code}"
        promise += f" and output containing {wanted!r}" if wanted else ""
        result = self.subject.execute(argv, contains=wanted, timeout_s=left_s)
        shown = "\n".join(result.tail)[-SHOWN_CHARS:]
        if result.exit_code == check.exit_code and result.found:
            return _Answer(True, shown)
        code = "no end in time" if result.exit_code is None else f"exit code {result.exit_code}"
        detail = f"{promise}, got {code} and {shown!r}"
        # A client of the running service (`redis-cli ping`) fails until the service is up.
        final = result.where == "fresh" or result.exit_code is None
        settled = (result.exit_code, shown) if result.exit_code == check.exit_code else None
        return _Answer(False, detail, final=final, seen=settled)


def check_name(check: Check) -> str:
    """What a check is called in reports: `http 80 /`, `tcp 6379`, `exec nginx -v`."""
    if check.kind == "exec":
        return f"exec {shlex.join(check.argv)}"
    return f"http {check.port} {check.path}" if check.kind == "http" else f"tcp {check.port}"


def _died(state: ProgramState) -> str:
    """How a program ended, with its last words."""
    said = "\n".join(state.tail)[-SHOWN_CHARS:]
    how = f"exit code {state.exit_code}" if state.started else "a program that did not start"
    return f"{how}: {said}" if said else how
