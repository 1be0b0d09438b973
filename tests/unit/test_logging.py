"""The service's log: where it goes, and what of an event arrives there."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from minid.daemon.logging import (
    choose_style,
    configure_logging,
    console_line,
    get_logger,
    journal_fields,
    json_line,
    message_of,
)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave no configuration of a test to the next."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def environ_of(descriptor: int) -> dict[str, str]:
    status = os.fstat(descriptor)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_style_follows_the_stream(tmp_path: Path) -> None:
    main, side = pty.openpty()
    os.close(main)
    with (tmp_path / "log").open("w") as file, os.fdopen(side, "w") as terminal:
        assert choose_style(environ_of(file.fileno()), file) == "journal"
        assert choose_style(environ_of(file.fileno()), terminal) != "journal"
        assert choose_style({}, file) == "json"
    assert choose_style({}, io.StringIO()) == "json"


def test_style_of_a_terminal() -> None:
    main, side = pty.openpty()
    with os.fdopen(main, "rb"), os.fdopen(side, "w") as terminal:
        assert choose_style({}, terminal) == "console"


def test_json_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    assert configure_logging({}, stream=stream, clock=lambda: 12.5) == "json"
    log = get_logger(recipe="nginx")
    log.info("tags moved", run=12, tags=["1", "2"], where=Path("/a"))
    log.debug("not asked for")
    log.bind(stage="check").warning("slow\n\x1b[2J")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [
        {
            "time": 12.5,
            "level": "info",
            "event": "tags moved",
            "recipe": "nginx",
            "run": 12,
            "tags": ["1", "2"],
            "where": "/a",
        },
        {
            "time": 12.5,
            "level": "warning",
            "event": "slow\n\x1b[2J",
            "recipe": "nginx",
            "stage": "check",
        },
    ]


def test_journal_gets_fields() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="m-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        tempfile.TemporaryFile("w") as stream,
    ):
        place = Path(folder) / "s"
        journal.bind(str(place))
        journal.settimeout(5)
        environ = environ_of(stream.fileno())
        assert configure_logging(environ, stream=stream, journal=place) == "journal"
        get_logger().error("check failed", recipe="nginx", run=7, stage="check")
        fields = set(journal.recv(4096).splitlines())
        assert fields == {
            b"MESSAGE=nginx: check failed (run=7, stage=check)",
            b"PRIORITY=3",
            b"SYSLOG_IDENTIFIER=minid",
            b"MINID_RECIPE=nginx",
            b"MINID_RUN=7",
            b"MINID_STAGE=check",
        }


def test_without_a_journal_lines_have_a_priority() -> None:
    with tempfile.TemporaryFile("w+") as stream:
        nowhere = Path("/nonexistent/socket")
        configure_logging(environ_of(stream.fileno()), stream=stream, journal=nowhere)
        get_logger().warning("page is suspect", recipe="nginx")
        stream.seek(0)
        assert stream.read() == "<4>nginx: page is suspect\n"


def test_hostile_text_stays_text() -> None:
    event = {
        "event": "page says \x1b[2J\nPRIORITY=0",
        "level": "info",
        "recipe": "a\u202eb",
        "Bad Key": "x",
        "deep": "\ud800",
        "url": "https://x/" + "y" * 10_000,
    }
    message = message_of(event)
    assert message.startswith("a\\x202eb: page says \\x1b[2J\\x0aPRIORITY=0 (")
    assert len(message) < 5000
    fields = journal_fields(event)
    assert set(fields) == {
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "MINID_RECIPE",
        "MINID_DEEP",
        "MINID_URL",
    }
    assert "\n" not in console_line(event, coloured=False)
    json_line(event).encode("ascii")


def test_values_that_json_does_not_know() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert json.loads(json_line({"event": "x", "loop": loop}))["loop"] == "[[...]]"
    assert "loop=[[...]]" in message_of({"event": "x", "loop": loop})


def test_traceback_has_lines_of_its_own() -> None:
    stream = io.StringIO()
    configure_logging({}, stream=stream)
    try:
        raise ValueError("from a page: \x1b[2J")
    except ValueError:
        get_logger().exception("poll failed", recipe="nginx")
    event = json.loads(stream.getvalue())
    first, *rest = message_of(event).splitlines()
    assert first == "nginx: poll failed"
    assert rest[-1] == "ValueError: from a page: \\x1b[2J"


def test_console_line_names_what_is_no_information() -> None:
    event = {"event": "held", "recipe": "nginx", "level": "warning", "time": 0.0}
    assert console_line(event, coloured=False).endswith(" warning: nginx: held")
    assert console_line(event, coloured=True).endswith(" \x1b[33mwarning: nginx: held\x1b[0m")
    assert console_line({**event, "level": "info"}, coloured=True).endswith(":00 nginx: held")


def test_libraries_are_heard() -> None:
    stream = io.StringIO()
    configure_logging({}, stream=stream)
    logging.getLogger("asyncio").error("Task exception was never %s", "retrieved")
    logging.getLogger("asyncio").info("chatter")
    (event,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert event["event"] == "Task exception was never retrieved"
    assert (event["level"], event["library"]) == ("error", "asyncio")


def test_bound_facts_come_along() -> None:
    stream = io.StringIO()
    configure_logging({}, stream=stream)
    with structlog.contextvars.bound_contextvars(run=3):
        get_logger().info("started")
    assert json.loads(stream.getvalue())["run"] == 3


def test_a_stream_that_takes_nothing_is_no_matter() -> None:
    stream = io.StringIO()
    configure_logging({}, stream=stream)
    stream.close()
    get_logger().info("said to nobody")
    with suppress(OSError), Path("/dev/full").open("w") as full:
        configure_logging({}, stream=full)
        try:
            get_logger().info("said to nobody")
        except OSError as error:
            pytest.fail(f"the log raised {error}")
