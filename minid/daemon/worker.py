"""The program that does one run for the service: `python -m minid.daemon.worker`.

It opens the store beside the service, which holds the writer's lock, and dies with it. SIGTERM
cancels the run. Whatever happens it says how the run ended, unless it is killed.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from minid.daemon.job import Job, Result, dump_message, dump_result, load_job
from minid.errors import HostError, MinidError, StoreError

if TYPE_CHECKING:
    from minid.line.outcome import Outcome
    from minid.line.planning import Standing
    from minid.line.workshop import Workshop

_EVERY_S = 0.2
_MAX_TEXT = 500
_OOM_SCORE = "300"
# What the machine lacks, whatever was to be done.
_MACHINES_FAULT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
}
_DISK_FULL = ("No space left on device", "Disk quota exceeded")


class Teller:
    """A reporter that writes lines for the service: of log lines and of bytes fetched at most five
    a second, and always the last. `now` is a clock in seconds."""

    def __init__(self, write: Callable[[bytes], None], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self._lock = threading.Lock()
        self._line_at = self._fetched_at = -_EVERY_S
        self._line: bytes | None = None
        self._timer: threading.Timer | None = None

    def stage_started(self, recipe: str, stage: str) -> None:
        """Pass it on."""
        self._tell(dump_message("stage_started", recipe=recipe, stage=stage))

    def stage_finished(self, recipe: str, stage: str, seconds: float, *, cached: bool) -> None:
        """Pass it on."""
        words = {"recipe": recipe, "stage": stage, "seconds": round(seconds, 3), "cached": cached}
        self._tell(dump_message("stage_finished", **words))

    def log_line(self, recipe: str, line: str) -> None:
        """Pass it on, now or when the last one is long enough ago."""
        with self._lock:
            self._line = dump_message("log", recipe=recipe, line=line[:_MAX_TEXT])
            left = self._line_at + _EVERY_S - self._now()
            if left <= 0:
                self._flush()
            elif self._timer is None:
                self._timer = threading.Timer(left, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def fetched(self, recipe: str, file_name: str, done: int, total: int | None) -> None:
        """Pass it on if the last one is long enough ago, or this is the last."""
        with self._lock:
            if done != total and self._now() - self._fetched_at < _EVERY_S:
                return
            self._fetched_at = self._now()
            words = {"file": file_name[:_MAX_TEXT], "done": done, "total": total}
            self._write(dump_message("fetched", recipe=recipe, **words))

    def note(self, recipe: str, text: str) -> None:
        """Pass it on."""
        self._tell(dump_message("note", recipe=recipe, text=text[:_MAX_TEXT]))

    def flush(self) -> None:
        """Write the log line that waits."""
        with self._lock:
            self._timer = None
            self._flush()

    def finish(self, result: Result) -> None:
        """Say how it ended."""
        self._tell(dump_result(result))

    def _tell(self, message: bytes) -> None:
        with self._lock:
            self._flush()
            self._write(message)

    def _flush(self) -> None:
        if self._line is not None:
            self._write(self._line)
            self._line, self._line_at = None, self._now()


def main() -> None:
    """Do the job on standard input."""
    cancel = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancel.set())
    job = load_job(sys.stdin.buffer)
    from minid.host.launch import die_with_parent

    die_with_parent(job.parent)
    with suppress(OSError):  # where memory runs out, a build is to go and not the service
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    channel = os.dup(1)
    os.dup2(2, 1)  # whatever writes there by mistake

    def write(message: bytes) -> None:
        with suppress(OSError):
            while message:
                message = message[os.write(channel, message) :]

    teller = Teller(write, time.monotonic)
    teller.finish(work(job, teller, cancel))


def work(job: Job, teller: Teller, cancel: threading.Event) -> Result:
    """Do the run; an error of any kind is a result."""
    try:
        return _work(job, teller, cancel)
    except Exception as error:  # nobody above could do more than tell it
        return judge_error(error, cancelled=cancel.is_set())


def _work(job: Job, teller: Teller, cancel: threading.Event) -> Result:
    from minid.line.workshop import Assignment, open_delegate

    assignment = Assignment(job.run, job.reason, job.jobserver)
    recipes = dict(job.recipes)
    with open_delegate(
        job.config, recipes, assignment, reporter=teller, clock=time.time, cancel=cancel
    ) as shop:
        _open_to_builds(shop)
        standings = _assess(shop, job.recipe)
        return _build(shop, standings, job)


def _open_to_builds(shop: Workshop) -> None:
    """Let the build user pass to its folders, whatever the umask is."""
    shop.jobs_folder.mkdir(parents=True, exist_ok=True)
    shop.config.paths.jobs.chmod(0o711)


def _assess(shop: Workshop, recipe: str) -> dict[str, Standing]:
    from minid.line.planning import assess, check_recipe, recipe_order

    order = recipe_order(shop.recipes, [recipe])
    for name in order:
        check_recipe(shop.recipes[name], shop.config)
    return assess(
        order,
        shop.recipes,
        config=shop.config,
        blobs=shop.blobs,
        records=shop.records,
        machine=shop.machine,
    )


def _build(shop: Workshop, standings: Mapping[str, Standing], job: Job) -> Result:
    from minid.line.attempt import attempt_key

    standing = standings[job.recipe]
    key = attempt_key(standing, standings)
    late = [name for name, other in standings.items() if name != job.recipe and not other.current]
    if late:
        text = f"{job.recipe}: stands on {', '.join(late)}, which is not up to date"
        return Result("skipped", key, 20, text)
    if standing.current and not job.forced:
        manifest = str(standing.tagged.manifest) if standing.tagged else ""
        return Result("unchanged", key, manifest=manifest)
    from minid.pipeline import build

    outcome = build(shop, standings, forced=[job.recipe] if job.forced else ())[job.recipe]
    if outcome.error is None:
        return _good(outcome)
    if standing.plan is None:  # the run may have made what a plan lacked
        with suppress(MinidError):
            now = _assess(shop, job.recipe)
            key = attempt_key(now[job.recipe], now)
    return judge_error(
        outcome.error, cancelled=shop.cancel.is_set(), key=key, seconds=outcome.seconds
    )


def _good(outcome: Outcome) -> Result:
    from minid.line.attempt import plan_key

    made = outcome.made
    assert made is not None
    published, report = made.published, made.report
    return Result(
        status="ok",
        key=plan_key(made.plan),
        manifest=str(made.image.manifest) if made.image else "",
        moved=published.moved if published else (),
        notes=published.notes if published else (),
        seconds=round(outcome.seconds, 3),
        stages={name: round(took, 3) for name, took in (outcome.stages or {}).items()},
        checks={item.name: round(item.seconds, 3) for item in report.results} if report else None,
    )


def judge_error(
    error: Exception, *, cancelled: bool = False, key: str = "", seconds: float = 0.0
) -> Result:
    """The result of a run that met an error: `infra` where the machine is at fault, else `failed`;
    `cancelled` where it was to end."""
    known = isinstance(error, MinidError)
    status = "infra" if _is_machines_fault(error) else "failed"
    if type(error).__name__ == "BelowFailedError":
        status = "skipped"
    code = HostError.exit_code if status == "infra" else 1
    return Result(
        status="cancelled" if cancelled else status,
        key=key,
        exit_code=error.exit_code if isinstance(error, MinidError) else code,
        error=str(error) if known and str(error) else f"{type(error).__name__}: {error}",
        hint=error.hint if isinstance(error, MinidError) else "",
        retryable=status == "infra" or (isinstance(error, MinidError) and error.retryable),
        log_tail=error.log_tail if isinstance(error, MinidError) else (),
        seconds=round(seconds, 3),
    )


def _is_machines_fault(error: Exception) -> bool:
    if isinstance(error, (HostError, StoreError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno in _MACHINES_FAULT
    if isinstance(error, MinidError):
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _MACHINES_FAULT:
            return True
        return any(words in line for words in _DISK_FULL for line in error.log_tail[-10:])
    return False


if __name__ == "__main__":
    main()
