"""The step between image and publish: start the image, ask it what its recipe says it answers.

The checks are a script. What asks is retried until its deadline, because services take a moment; it
fails at once when the program has died, and early when the answer is settled. What starts and stops
acts once. Where the image runs is a runner's matter.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event

from minid.errors import CheckError, MinidError
from minid.formats.runtime_spec import process_argv
from minid.host import netprobe
from minid.host.certificate import make_certificate
from minid.host.container import ProgramState
from minid.host.container_settings import PlacedFile, StartSettings
from minid.model import CheckReport, CheckResult
from minid.recipe import Certificate, Check, Start, expand
from minid.steps.check_subject import DockerRunner, ImageToCheck, Runner, SandboxRunner, Subject
from minid.steps.check_tries import SHOWN_CHARS, Answer, Tries, how_it_ended

__all__ = [
    "SHOWN_CHARS",
    "DockerRunner",
    "ImageToCheck",
    "Runner",
    "SandboxRunner",
    "Subject",
    "check_image",
    "check_name",
]

SETTLED_S = 2.0
AUDIT_S = 0.7
START_S = 0.3
_SIGNAL_OR_NOT_RUN = 126
_LOOK_S = 0.01
_LABELS = {
    "http": lambda check: f"{'https' if check.tls else 'http'} {check.port} {check.path}",
    "tcp": lambda check: f"tcp {check.port}",
    "exec": lambda check: f"exec {shlex.join(check.argv)}",
    "process": lambda check: f"process {check.name}",
    "log": lambda check: f"log {check.stream}".rstrip(),
    "fastcgi": lambda check: f"fastcgi {check.port} {check.script}",
}


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
        if has_program and not (checks and checks[0].kind == "start"):
            subject.start()
        results = session.run_all(checks, note) if checks else session.run_start(has_program, note)
        report = CheckReport(runner.name, results, output_tail=subject.state().tail, log=tuple(log))
        return _with_audit(report, session, checks) if audit and report.passed else report


def _with_audit(report: CheckReport, session: _Session, checks: tuple[Check, ...]) -> CheckReport:
    """The report with what can be learnt about the files the program uses."""
    subject = session.subject
    with suppress(MinidError):
        session.note_libraries()
        report = replace(report, libraries=tuple(sorted(session.libraries)))
        commands = [check.argv for check in checks if check.kind == "exec"]
        if session.has_service():
            report = replace(report, missed=subject.audit(AUDIT_S))
        elif commands:
            argv = tuple(expand(word, session.image.version) for word in commands[0])
            report = replace(report, missed=subject.audit(AUDIT_S, argv))
    return report


@dataclass(slots=True)
class _Session:
    """The checks of one image. `libraries` is what the containers that were ended had mapped;
    `was_stopped`: the last one runs no more because a check stopped it. `settings` are the last
    one's, `served` those of the last that ran until the next `start`."""

    image: ImageToCheck
    subject: Subject
    cancel: Event | None
    libraries: set[str] = field(default_factory=set)
    was_stopped: bool = False
    settings: StartSettings = field(default_factory=StartSettings)
    served: StartSettings | None = None

    def run_all(
        self, checks: tuple[Check, ...], note: Callable[[str], None]
    ) -> tuple[CheckResult, ...]:
        results = []
        for number, check in enumerate(checks, 1):
            result = self._run(check, last=number == len(checks))
            results.append(result)
            word = "passed" if result.passed else "failed"
            note(f"{result.name}: {word} after {result.seconds * 1000:.0f} ms")
        return tuple(results)

    def run_start(self, has_program: bool, note: Callable[[str], None]) -> tuple[CheckResult, ...]:
        """The check of an image that has none: its program must be there and not be killed."""
        if not has_program:
            return ()
        began = time.monotonic()
        state = self._wait(lambda state: state.exit_code is not None, began + START_S)
        passed = state.started and (state.exit_code or 0) < _SIGNAL_OR_NOT_RUN
        detail = "" if passed else how_it_ended(state)
        note(f"start: {'passed' if passed else 'failed'}")
        return (CheckResult("start", passed, time.monotonic() - began, detail),)

    def has_service(self) -> bool:
        """Whether the container is one whose program goes on until it is stopped; one that was
        started to fail gives way to the last such one."""
        if self.was_stopped or self.subject.state().alive:
            return True
        if self.served is None:
            return False
        self.subject.start(self.served)
        return True

    def note_libraries(self) -> None:
        """Remember what runs now has mapped: it is about to end."""
        with suppress(MinidError):
            self.libraries |= set(self.subject.libraries())

    def _run(self, check: Check, *, last: bool) -> CheckResult:
        acts = {"start": self._start, "restart": self._restart, "stop": self._stop}
        began = time.monotonic()
        deadline = began + check.deadline_s
        if check.kind in acts:
            answer = acts[check.kind](check, deadline)
            if last and answer.passed and not self.was_stopped:
                answer = self._goes_on()
        else:
            answer = self._retry(check, deadline)
        return CheckResult(
            check_name(check), answer.passed, time.monotonic() - began, answer.detail
        )

    def _retry(self, check: Check, deadline: float) -> Answer:
        """Try until it passes, is final, is settled, or the deadline has come."""
        attempt = Tries(self.subject, self.image.version).of(check.kind)
        changed = time.monotonic()
        last: Answer | None = None
        for delay in netprobe.retry_delays():
            answer = attempt(check, max(deadline - time.monotonic(), 0.01))
            now = time.monotonic()
            if last is None or answer.seen is None or answer.seen != last.seen:
                changed = now
            last = answer
            if answer.passed or answer.final or now - changed > SETTLED_S or now + delay > deadline:
                break
            self._pause(delay)
        assert last is not None
        return last

    def _start(self, check: Check, deadline: float) -> Answer:
        """A fresh container with the check's settings, in which the program has begun."""
        assert check.start is not None
        self.note_libraries()
        if self.was_stopped or self.subject.state().alive:
            self.served = self.settings
        self.settings = self._settings(check.start)
        self.subject.start(self.settings)
        self.was_stopped = False
        return self._begun(deadline)

    def _begun(self, deadline: float) -> Answer:
        state = self._wait(lambda state: state.started or state.exit_code is not None, deadline)
        if state.started:
            return Answer(True, "")
        return Answer(False, f"expected the program to start, got {how_it_ended(state)}")

    def _goes_on(self) -> Answer:
        """Nothing asks what the last check has started: at least it must not fail at once."""
        state = self._wait(lambda state: state.exit_code is not None, time.monotonic() + START_S)
        if not state.exit_code:
            return Answer(True, "")
        return Answer(False, f"expected a program that goes on, got {how_it_ended(state)}")

    def _restart(self, _check: Check, deadline: float) -> Answer:
        if not self.was_stopped:
            answer, _ = self._end(deadline)
            if not answer.passed:
                return answer
        self.subject.start_again()
        self.was_stopped = False
        return self._begun(deadline)

    def _stop(self, check: Check, deadline: float) -> Answer:
        answer, state = self._end(deadline)
        if state.exit_code is None or not answer.passed:
            return answer
        if state.exit_code == check.exit_code:
            return Answer(True, "")
        return Answer(False, f"expected exit code {check.exit_code}, got {how_it_ended(state)}")

    def _end(self, deadline: float) -> tuple[Answer, ProgramState]:
        """Stop the program and wait for its end; an answer that failed where it does not come, or
        had come before."""
        state = self.subject.state()
        if not state.alive:
            was = f"got one that had ended: {how_it_ended(state)}"
            return Answer(False, f"expected a program that runs, {was}"), state
        self.note_libraries()
        self.subject.stop()
        state = self._wait(lambda state: state.exit_code is not None, deadline)
        if state.exit_code is None:
            wanted = f"expected an end after {self.image.config.get('StopSignal') or 'SIGTERM'}"
            return Answer(False, f"{wanted}, got a program that still runs"), state
        self.was_stopped = True
        return Answer(True, ""), state

    def _wait(self, until: Callable[[ProgramState], bool], deadline: float) -> ProgramState:
        """The program's state, as soon as it is as wanted or the deadline has come."""
        state = self.subject.state()
        while not until(state) and time.monotonic() < deadline:
            self._pause(_LOOK_S)
            state = self.subject.state()
        return state

    def _settings(self, start: Start) -> StartSettings:
        files = [
            PlacedFile(file.path, self._text(file.content).encode(), file.mode, _owner(file.owner))
            for file in start.files
        ]
        if start.certificate is not None:
            files += _certificate_files(start.certificate)
        return StartSettings(
            env=tuple((name, self._text(value)) for name, value in start.env),
            cmd=None if start.cmd is None else tuple(map(self._text, start.cmd)),
            files=tuple(files),
        )

    def _text(self, template: str) -> str:
        return expand(template, self.image.version)

    def _pause(self, seconds: float) -> None:
        if self.cancel is None:
            time.sleep(seconds)
        elif self.cancel.wait(seconds):
            raise CheckError(f"{self.image.name}: expected the checks to end, got cancelled")


def _certificate_files(wanted: Certificate) -> list[PlacedFile]:
    cert, key = make_certificate(wanted.names)
    return [
        PlacedFile(wanted.cert, cert, 0o644, _owner(wanted.owner)),
        PlacedFile(wanted.key, key, 0o600, _owner(wanted.owner)),
    ]


def _owner(name: str) -> str:
    """Whose a file is to be: an image without accounts has a root, too."""
    return "0" if name == "root" else name


def check_name(check: Check) -> str:
    """What a check is called in reports: `http 80 /`, `tcp 6379`, `exec nginx -v`, `restart`."""
    label = _LABELS.get(check.kind)
    return label(check) if label else check.kind
