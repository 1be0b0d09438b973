"""The service's own log: to the journal with fields, to a terminal, or as lines of JSON.

What builds print goes to log files (`minid.host.logfile`), never here. Anything may hold text of
pages and programs, so control characters are escaped wherever a person reads.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from minid.host.logfile import printable
from minid.host.systemd import JOURNAL_SOCKET, is_journal_stream, send_entry

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

Style = Literal["journal", "console", "json"]
Event = MutableMapping[str, Any]

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_PLAIN = "\x1b[0m"
_KEY = re.compile(r"[a-z][a-z0-9_]{0,50}")
# Shown elsewhere than among the further facts of a message.
_SHOWN = {"event", "level", "time", "recipe", "exception"}
_MAX_SHOWN = 4096


def get_logger(**facts: object) -> FilteringBoundLogger:
    """A logger. The journal can be asked for facts: `recipe` is MINID_RECIPE, and so on.

    Call as `log.info("tags moved", recipe="nginx", run=12)`: the text is the same each time, what
    differs are facts. `log.exception("…")` adds the traceback. Thread-safe; never raises for a
    journal or a stream that takes nothing.
    """
    import structlog

    logger: FilteringBoundLogger = structlog.get_logger(**facts)
    return logger


def configure_logging(
    environ: Mapping[str, str],
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.time,
    level: str = "info",
    journal: Path = JOURNAL_SOCKET,
) -> Style:
    """Send what loggers say to where the environment and the stream (standard error) suggest.

    Warnings of libraries, which use the standard library's `logging`, come the same way.
    """
    import structlog

    stream = stream or sys.stderr
    style = choose_style(environ, stream)
    render, sink = _make_output(style, stream, journal)

    def add_time(_logger: object, _method: str, event: Event) -> Event:
        event["time"] = clock()
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            add_time,
            lambda _logger, _method, event: render(event),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_names: sink,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    return style


def choose_style(environ: Mapping[str, str], stream: TextIO) -> Style:
    """The journal where the stream leads there, a person's lines on a terminal, JSON elsewhere."""
    with suppress(OSError, ValueError):
        if is_journal_stream(environ, stream.fileno()):
            return "journal"
        if stream.isatty():
            return "console"
    return "json"


def journal_fields(event: Mapping[str, Any]) -> dict[str, str | int]:
    """An event as the fields of a journal entry: MESSAGE, PRIORITY, and each fact as MINID_NAME."""
    fields: dict[str, str | int] = {
        "MESSAGE": message_of(event),
        "PRIORITY": _PRIORITIES.get(str(event.get("level")), 6),
        "SYSLOG_IDENTIFIER": "minid",
    }
    for name, value in event.items():
        if name not in ("event", "level", "time") and value is not None and _KEY.fullmatch(name):
            fields[f"MINID_{name.upper()}"] = _text(value)
    return fields


def message_of(event: Mapping[str, Any]) -> str:
    """An event for a person: `nginx: tags moved (run=12)`, a traceback on lines of its own."""
    words = _shown(event.get("event", ""))
    if recipe := event.get("recipe"):
        words = f"{_shown(recipe)}: {words}"
    facts = [
        f"{_shown(name)}={_shown(value)}"
        for name, value in event.items()
        if name not in _SHOWN and value is not None
    ]
    lines = [f"{words} ({', '.join(facts)})" if facts else words]
    lines += [printable(line) for line in _text(event.get("exception") or "").splitlines()]
    return "\n".join(lines)


def json_line(event: Mapping[str, Any]) -> str:
    """An event as one line of JSON in ASCII; `time` is in seconds since the epoch."""
    first = {name: event[name] for name in ("time", "level", "event") if name in event}
    try:
        return json.dumps({**first, **event}, default=str)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({name: repr(value) for name, value in {**first, **event}.items()})


def console_line(event: Mapping[str, Any], *, coloured: bool) -> str:
    """An event for a terminal: the local time, the level where it is not `info`, the message."""
    level = str(event.get("level", "info"))
    clock = time.strftime("%H:%M:%S", time.localtime(event.get("time", 0)))
    label = "" if level == "info" else f"{level}: "
    colour = _COLOURS.get(level, "") if coloured else ""
    return f"{clock} {colour}{label}{message_of(event)}{_PLAIN if colour else ''}"


def _text(value: object) -> str:
    if isinstance(value, (list, tuple, dict)):
        with suppress(TypeError, ValueError, RecursionError):
            return json.dumps(value, default=str)
    return str(value)


def _shown(value: object) -> str:
    text = _text(value)
    return printable(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")


def _make_output(
    style: Style, stream: TextIO, journal: Path
) -> tuple[Callable[[Event], dict[str, Any]], _JournalSink | _StreamSink]:
    """How an event is rendered to the arguments of a sink, and the sink."""
    if style == "journal":
        return lambda event: {"fields": journal_fields(event)}, _JournalSink(
            journal, _StreamSink(stream)
        )
    if style == "console":
        return lambda event: {"line": console_line(event, coloured=True)}, _StreamSink(stream)
    return lambda event: {"line": json_line(event)}, _StreamSink(stream)


@dataclass(frozen=True, slots=True)
class _StreamSink:
    """Writes lines; one that the stream does not take is lost, the service is not."""

    stream: TextIO

    def write(self, *, line: str) -> None:
        safe = line.encode("utf-8", "backslashreplace").decode()
        with suppress(OSError, ValueError):
            self.stream.write(safe + "\n")
            self.stream.flush()

    debug = info = warning = error = critical = exception = write


@dataclass(frozen=True, slots=True)
class _JournalSink:
    """Writes entries; where the journal does not answer, lines with a priority in front."""

    place: Path
    stream: _StreamSink

    def write(self, *, fields: dict[str, str | int]) -> None:
        if not send_entry(fields, self.place):
            for line in str(fields["MESSAGE"]).splitlines():
                self.stream.write(line=f"<{fields['PRIORITY']}>{line}")

    debug = info = warning = error = critical = exception = write


class _FromLibraries(logging.Handler):
    """Hands on what libraries log, among it asyncio's word of an exception that nobody awaited."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`: must not raise."""
        try:
            get_logger(library=record.name).log(
                record.levelno, record.getMessage(), exc_info=record.exc_info
            )
        except Exception:
            self.handleError(record)
