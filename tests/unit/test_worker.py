"""The worker's words, and whose fault an error is."""

from __future__ import annotations

import errno
import json
import time

import pytest

from minid.daemon.job import Result, dump_result, parse_message, parse_result
from minid.daemon.worker import Teller, judge_error
from minid.errors import (
    BuildError,
    DigestMismatchError,
    FetchError,
    HostError,
    MinidError,
    PublishError,
    RecipeError,
    StoreError,
)
from minid.pipeline import BelowFailedError


class Ear:
    """Keeps what a teller writes; its clock moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[bytes] = []
        self.teller = Teller(self.lines.append, lambda: self.now)

    def heard(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines]


def test_log_lines_come_at_most_five_a_second_and_the_last_before_what_follows():
    ear = Ear()
    for number in range(100):
        ear.teller.log_line("web", f"line {number}")
        ear.now += 0.01
    ear.teller.stage_finished("web", "compile", 1.23456, cached=False)
    *lines, end = ear.heard()
    assert 4 <= len(lines) <= 7
    assert lines[0]["line"] == "line 0"
    assert lines[-1]["line"] == "line 99"
    assert end["seconds"] == 1.235


def test_a_line_that_nothing_follows_comes_too():
    ear = Ear()
    ear.teller.log_line("web", "one")
    ear.teller.log_line("web", "two")
    deadline = time.monotonic() + 10
    while len(ear.lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [message["line"] for message in ear.heard()] == ["one", "two"]


def test_bytes_fetched_are_told_now_and_then_and_at_the_end():
    ear = Ear()
    for done in range(101):
        ear.teller.fetched("web", "web.tar", done, 100)
        ear.now += 0.01
    heard = ear.heard()
    assert 5 <= len(heard) <= 7
    assert heard[-1] == {
        "event": "fetched",
        "recipe": "web",
        "file": "web.tar",
        "done": 100,
        "total": 100,
    }


def test_a_long_line_is_cut():
    ear = Ear()
    ear.teller.log_line("web", "x" * 100_000)
    assert len(ear.lines[0]) < 1000


@pytest.mark.parametrize(
    ("error", "status", "retryable", "code"),
    [
        (RecipeError("a"), "failed", False, 11),
        (FetchError("a"), "failed", True, 12),
        (DigestMismatchError("a"), "failed", False, 13),
        (BuildError("a"), "failed", False, 20),
        (BuildError("a", log_tail=["cc: No space left on device"]), "infra", True, 20),
        (PublishError("a"), "failed", True, 25),
        (StoreError("a"), "infra", True, 26),
        (HostError("a"), "infra", True, 30),
        (BelowFailedError("a"), "skipped", False, 20),
        (OSError(errno.ENOSPC, "full"), "infra", True, 30),
        (OSError(errno.ENOENT, "gone"), "failed", False, 1),
        (MemoryError(), "infra", True, 30),
        (KeyError("a"), "failed", False, 1),
    ],
)
def test_whose_fault(error: Exception, status: str, retryable: bool, code: int):
    result = judge_error(error)
    assert (result.status, result.retryable, result.exit_code) == (status, retryable, code)
    assert result.error
    assert judge_error(error, cancelled=True).status == "cancelled"


def test_a_full_disk_below_an_error_of_ours_is_the_machines_fault():
    try:
        raise MinidError("web.toml: cannot write") from OSError(errno.ENOSPC, "full")
    except MinidError as error:
        assert judge_error(error).status == "infra"


def test_a_result_survives_the_way():
    result = Result(
        "failed",
        "plan:1",
        20,
        "a\nb",
        "look",
        log_tail=("x", "\x1b[0m"),
        stages={"compile": 1.5},
        checks={},
        moved=("store web:1",),
    )
    message = parse_message(dump_result(result))
    assert message is not None
    assert parse_result(message) == result


@pytest.mark.parametrize(
    "line",
    [b"", b"make: ok", b"[1]", b"{}", b'{"event": 1}', b"\xff\xfe", b"[" * 100_000, b"{" * 9],
)
def test_other_lines_are_no_messages(line: bytes):
    assert parse_message(line) is None


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"status": "great"},
        {"status": ["ok"]},
        {"status": "ok", "exit_code": "x"},
        {"status": "ok", "key": 7},
    ],
)
def test_other_objects_are_no_results(words: dict[str, object]):
    assert parse_result({"event": "result", **words}) is None
