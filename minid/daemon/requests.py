"""What the command line may ask of the service, and how that is written on the socket.

A request is one line of JSON, an object with `request` and the fields of its class. Answers are
lines of JSON objects; the last one has `"done": true` or `"error"` (see `MinidError.as_json`). Each
class says which answers it gets. Nothing here knows a socket, and nothing heavy is imported: the
command line uses it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields

from minid import errors
from minid.errors import MinidError, UsageError

MAX_REQUEST_BYTES = 64 << 10
_MAX_NUMBER = 2**62


@dataclass(frozen=True, slots=True)
class Ping:
    """One answer: `{"pid", "version"}`."""


@dataclass(frozen=True, slots=True)
class Status:
    """One answer: `{"pid", "version", "since", "ready", "paused", "watch": {"mode", "reason"},
    "running": [{run, recipe, version, stage, line, started, expected_end, fetched, reason}],
    "queued": [{run, recipe, version, reason, waits, priority, queued}], "problems": {recipe: text},
    "recipes": {recipe: {version, current}},
    "upstreams": {"followed", "attention": {recipe: note}, "hosts": [{host, until, reason}]}}`.
    Times in seconds since the epoch, `expected_end` null where unknown."""


@dataclass(frozen=True, slots=True)
class Build:
    """Queue what is not up to date of these recipes, of all for none, and of what they stand on.

    One answer: `{"recipes": [{recipe, version, run, manifest}], "passed_over": [message]}` in the
    order of building; `run` is null where there is nothing to do, `manifest` the image then. Errors
    are those of `minid build` without a service: an unknown name, a broken recipe that is named.
    """

    names: tuple[str, ...] = ()
    next: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """Progress of runs until all are over. Each answer has `event`, `recipe` and `run`:
    `stage_started` (stage), `stage_finished` (stage, seconds, cached), `log` (line), `note` (text),
    `fetched` (file, done, total or null), `ended` (the fields of `daemon.job.Result`; of a run that
    was over already, at least `status`). The last `ended` ends the answers."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a queued or running run. One answer: `{"run", "recipe", "was"}`, once its sandbox is
    gone; UsageError where there is no such run, or it is over."""

    run: int


@dataclass(frozen=True, slots=True)
class Next:
    """Put a queued run before all others. One answer: `{"run", "recipe"}`."""

    run: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Start no run until `Resume`, also after a restart. One answer: `{"paused"}`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Start runs again. One answer: `{"paused"}`, which is empty."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Pause, and with `wait` answer `{"running": n}` each time that n changes, until it is 0."""

    wait: bool = True


@dataclass(frozen=True, slots=True)
class Reload:
    """Read config.toml and the recipes again. The first answer, `{"file"}`, comes once the
    configuration is taken; the error is ConfigError, and the old one stays in force, where it is
    wrong. The answers end once the recipes are read."""


@dataclass(frozen=True, slots=True)
class Check:
    """Ask the upstreams of these recipes now, of all for none. One answer a recipe:
    `{"recipe", "decision", "version", "reasons"}` and what else the tracker has to say."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approve:
    """Take a release that waits for a person. One answer: `{"recipe", "version", "text"}`."""

    recipe: str
    version: str


@dataclass(frozen=True, slots=True)
class Reject:
    """Never take that release. One answer: `{"recipe", "version", "text"}`."""

    recipe: str
    version: str


@dataclass(frozen=True, slots=True)
class Pin:
    """Move a recipe to that release and keep it there. One answer: `{"recipe", "version", "text"}`
    and, for `minid pin --write`, the lock: `url`, `sha256`."""

    recipe: str
    version: str


@dataclass(frozen=True, slots=True)
class Unpin:
    """Let a recipe be what its file says, and follow its upstream again. One answer: `{"recipe",
    "version", "text"}`."""

    recipe: str


Request = (
    Ping
    | Status
    | Build
    | Follow
    | Cancel
    | Next
    | Pause
    | Resume
    | Drain
    | Reload
    | Check
    | Approve
    | Reject
    | Pin
    | Unpin
)
REQUESTS: Mapping[str, type[Request]] = {
    made.__name__.lower(): made
    for made in (
        *(Ping, Status, Build, Follow, Cancel, Next, Pause, Resume, Drain, Reload, Check),
        *(Approve, Reject, Pin, Unpin),
    )
}
# Their asker only watches: the work goes on when it hangs up, the answers need not.
WATCHING = (Follow, Drain, Status, Ping)


def request_line(request: Request) -> bytes:
    """A request as its line."""
    return (
        json.dumps({"request": type(request).__name__.lower(), **asdict(request)}).encode() + b"\n"
    )


def parse_request(line: bytes) -> Request:
    """The request of a line; UsageError for anything else, however strange."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("request: expected a line of JSON, got something else") from None
    if not isinstance(value, dict):
        raise UsageError(f"request: expected a JSON object, got {_kind(value)}")
    name = value.pop("request", None)
    made = REQUESTS.get(name) if isinstance(name, str) else None
    if made is None:
        raise UsageError(
            f"request: expected one of {', '.join(REQUESTS)}, got {_short(name)}",
            hint="the service may be of another version than this minid",
        )
    return _read_fields(made, value)


def _read_fields(made: type[Request], value: dict[str, object]) -> Request:
    where = made.__name__.lower()
    known = {field.name: field for field in fields(made)}
    for key in value:
        if key not in known:
            raise UsageError(
                f"{where}: expected a field of it ({', '.join(known) or 'none'}), got {_short(key)}"
            )
    words: dict[str, object] = {}
    for name, field in known.items():
        if name in value:
            words[name] = _READERS[str(field.type)](f"{where}.{name}", value[name])
        elif field.default is MISSING:
            raise UsageError(f"{where}.{name}: expected a value, got nothing")
    return made(**words)  # type: ignore[arg-type]


def _read_text(where: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1000 or not value.isprintable():
        raise UsageError(f"{where}: expected a word, got {_short(value)}")
    return value


def _read_number(where: str, value: object) -> int:
    if type(value) is not int or not 0 < value < _MAX_NUMBER:
        raise UsageError(f"{where}: expected the number of a run, got {_short(value)}")
    return value


def _read_flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{where}: expected true or false, got {_short(value)}")
    return value


def _read_list(where: str, value: object, read: Callable[[str, object], object]) -> object:
    if not isinstance(value, list):
        raise UsageError(f"{where}: expected a list, got {_kind(value)}")
    return tuple(read(f"{where}[{n}]", item) for n, item in enumerate(value))


# By the annotation of a field, which is text here.
_READERS: Mapping[str, Callable[[str, object], object]] = {
    "str": _read_text,
    "int": _read_number,
    "bool": _read_flag,
    "tuple[str, ...]": lambda where, value: _read_list(where, value, _read_text),
    "tuple[int, ...]": lambda where, value: _read_list(where, value, _read_number),
}


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def parse_error(value: object) -> MinidError:
    """The error of an answer, as its class where this minid knows that class."""
    facts = value if isinstance(value, dict) else {}
    found = getattr(errors, str(facts.get("kind")), None)
    made = found if isinstance(found, type) and issubclass(found, MinidError) else MinidError
    tail = facts.get("log_tail")
    error = made(
        str(facts.get("message", "the service failed and did not say why")),
        hint=str(facts.get("hint") or ""),
        log_tail=[str(line) for line in tail] if isinstance(tail, list) else (),
    )
    code = facts.get("exit_code")
    if type(code) is int and 0 < code < 126:
        error.exit_code = code
    return error


def error_of_status(
    exit_code: int, message: str, *, hint: str = "", log_tail: Sequence[str] = ()
) -> MinidError:
    """The error of the class that has this exit code; of a code that none has, or 0, MinidError."""
    classes = [found for found in vars(errors).values() if isinstance(found, type)]
    named = {found.exit_code: found for found in classes if issubclass(found, MinidError)}
    return named.get(exit_code, MinidError)(message, hint=hint, log_tail=log_tail)
