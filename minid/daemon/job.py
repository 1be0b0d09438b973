"""What a worker is told, and what it tells: a job on its standard input, lines of JSON back.

Each line is an object with `event` and `recipe`: `stage_started` (stage), `stage_finished` (stage,
seconds, cached), `log` (line), `note` (text), `fetched` (file, done, total or null). The last is
`result`, with the fields of `Result`.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from minid.config import Config
from minid.host import process
from minid.recipe import Recipe

MAX_LINE = 1 << 20
_ENDS = ("ok", "unchanged", "failed", "infra", "skipped", "cancelled")


@dataclass(frozen=True, slots=True)
class Job:
    """One run for a worker. `recipes` are the recipe and all that it stands on, as they are to be
    built; `parent` is the process to die with; `jobserver` is of `workshop.Assignment`."""

    run: int
    recipe: str
    recipes: Mapping[str, Recipe]
    config: Config
    reason: str
    forced: bool
    parent: int
    jobserver: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `status` is ok, unchanged, failed, infra, skipped or cancelled; `key` is of
    `line.attempt`, empty where it is not known; `retryable` says that a later run can end better
    though nothing has changed. `stages` has seconds, `checks` the seconds of each passed check.
    `lost` is set where the worker ended without a word."""

    status: str
    key: str = ""
    exit_code: int = 0
    error: str = ""
    hint: str = ""
    retryable: bool = False
    manifest: str = ""
    moved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    log_tail: tuple[str, ...] = ()
    seconds: float = 0.0
    stages: Mapping[str, float] | None = None
    checks: Mapping[str, float] | None = None
    lost: bool = False


def start_worker(
    job: Job, environ: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a worker on the job. Its output is on a pipe, both streams together.

    It dies with the thread that calls this. HostError where it cannot be started.
    """
    source = str(Path(__file__).parents[2])
    paths = [source, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    descriptor = os.memfd_create("job")
    with os.fdopen(descriptor, "w+b") as file:
        pickle.dump(job, file)
        file.seek(0)
        return process.start(
            [sys.executable, "-P", "-m", "minid.daemon.worker"],
            stdin=descriptor,
            environ={**environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
            pass_fds=pass_fds,
            with_capabilities=True,
        )


def load_job(file: BinaryIO) -> Job:
    """The job that `start_worker` wrote; nobody else can write there."""
    job = pickle.load(file)  # noqa: S301
    assert isinstance(job, Job)
    return job


def dump_message(event: str, **words: object) -> bytes:
    """A line for the service."""
    return json.dumps({"event": event, **words}).encode() + b"\n"


def dump_result(result: Result) -> bytes:
    """The last line for the service."""
    return dump_message("result", **asdict(result))


def parse_message(line: bytes) -> Mapping[str, object] | None:
    """A line of a worker, or None where it is none: a program may have written between them."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and isinstance(value.get("event"), str):
        return value
    return None


def parse_result(message: Mapping[str, object]) -> Result | None:
    """A `result`, or None where its values are not such."""
    values: dict[str, object] = {}
    for item in fields(Result):
        found = message.get(item.name)
        if item.name in ("moved", "notes", "log_tail"):
            values[item.name] = _texts(found)
        elif item.name in ("stages", "checks"):
            values[item.name] = _seconds(found)
        elif item.name in message:
            values[item.name] = found
    if values.get("status") not in _ENDS or not isinstance(values.get("exit_code", 0), int):
        return None
    if not all(isinstance(values.get(name, ""), str) for name in _WORDS):
        return None
    return Result(**values)  # type: ignore[arg-type]


_WORDS = ("key", "error", "hint", "manifest")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _seconds(value: object) -> dict[str, float]:
    found = value.items() if isinstance(value, dict) else ()
    return {str(name): took for name, took in found if isinstance(took, (int, float))}
