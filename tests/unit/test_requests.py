"""Requests on the wire: what is written can be read, and nothing else can."""

from __future__ import annotations

import json

import pytest

from minid.daemon.requests import (
    REQUESTS,
    Approve,
    Build,
    Cancel,
    Drain,
    Follow,
    Ping,
    Request,
    error_of_status,
    parse_error,
    parse_request,
    request_line,
)
from minid.errors import BuildError, ConfigError, MinidError, UsageError


@pytest.mark.parametrize(
    "request_",
    [
        Ping(),
        Build(("nginx", "redis"), next=True),
        Follow((1, 2**40)),
        Cancel(7),
        Drain(wait=False),
        Approve("nginx", "1.28.0"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_request_comes_back_from_its_line(request_: Request) -> None:
    line = request_line(request_)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_request(line) == request_


def test_what_is_left_out_has_its_default() -> None:
    assert parse_request(b'{"request": "build"}') == Build((), next=False, force=False)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "expected a line of JSON"),
        (b"GET / HTTP/1.1", "expected a line of JSON"),
        (b"\xff\xfe\x00", "expected a line of JSON"),
        (b"[" * 60_000, "expected a line of JSON"),
        (b'{"request": "cancel", "run": ' + b"9" * 6000 + b"}", "expected a line of JSON"),
        (b"[1]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object, got null"),
        (b"{}", "request: expected one of ping, status"),
        (b'{"request": ["ping"]}', "request: expected one of"),
        (b'{"request": "halt"}', "got 'halt'"),
        (b'{"request": "ping", "now": 1}', "ping: expected a field of it (none), got 'now'"),
        (b'{"request": "cancel"}', "cancel.run: expected a value, got nothing"),
        (b'{"request": "cancel", "run": true}', "cancel.run: expected the number of a run"),
        (b'{"request": "cancel", "run": -1}', "cancel.run: expected the number of a run"),
        (b'{"request": "cancel", "run": 1e3}', "cancel.run: expected the number of a run"),
        (b'{"request": "follow", "runs": 3}', "follow.runs: expected a list, got int"),
        (b'{"request": "follow", "runs": [3, "4"]}', "follow.runs[1]: expected the number"),
        (b'{"request": "build", "names": "nginx"}', "build.names: expected a list, got str"),
        (b'{"request": "build", "names": [""]}', "build.names[0]: expected a word"),
        (b'{"request": "build", "names": ["a\\nb"]}', "build.names[0]: expected a word"),
        (b'{"request": "build", "names": ["\\ud800"]}', "build.names[0]: expected a word"),
        (b'{"request": "build", "force": 1}', "build.force: expected true or false, got 1"),
    ],
)
def test_anything_else_is_refused(line: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_request(line)
    assert says in caught.value.message
    assert len(caught.value.message) < 300


def test_every_request_is_written_down_with_its_answers() -> None:
    for name, made in REQUESTS.items():
        assert name == made.__name__.lower()
        assert "answer" in str(made.__doc__), name


def test_an_error_comes_back_as_its_class() -> None:
    sent = ConfigError("config.toml: expected a, got b", hint="see docs", log_tail=["x"])
    got = parse_error(json.loads(json.dumps(sent.as_json())))
    assert type(got) is ConfigError
    assert got.as_json() == sent.as_json()


@pytest.mark.parametrize(
    "value", [None, {}, [], {"kind": "Sequence"}, {"kind": 3}, {"exit_code": "x", "log_tail": 3}]
)
def test_a_strange_error_is_an_error(value: object) -> None:
    assert type(parse_error(value)) is MinidError


def test_an_error_of_a_later_class_keeps_its_status() -> None:
    got = parse_error({"kind": "TeapotError", "message": "short and stout", "exit_code": 41})
    assert (got.exit_code, got.message) == (41, "short and stout")
    assert MinidError.exit_code == 1
    assert parse_error({"kind": "BuildError"}).exit_code == BuildError.exit_code


def test_a_status_has_its_class() -> None:
    assert type(error_of_status(20, "broke", log_tail=["x"])) is BuildError
    assert type(error_of_status(10, "broke")) is ConfigError
    assert [error_of_status(code, "").exit_code for code in (0, 1, 99)] == [1, 1, 1]
