"""What is remembered of pages and hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.store.database import Database
from minid.store.polls import HostWait, PollRow, Polls, PollState

STATE = PollState(
    etag='W/"a\\"b"',
    last_modified="Thu, 01 Jan 1970 00:00:00 GMT",
    content_type="text/html",
    final_url="https://x.example/b",
    digest="d",
    whole_at=1.5,
    changed_at=1.25,
    polled_at=2.5,
    failures=3,
    absent=1,
    absent_since=0.5,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "records.sqlite", writable=True)
    yield made
    made.close()


def test_pages_come_back_as_they_were(database: Database) -> None:
    polls = Polls(database)
    rows = [PollRow("a", STATE, 9.25), PollRow("b", PollState(), 1.0)]
    polls.keep(rows, {"a": b"body" * 1000})
    again = Polls(Database(database.path, writable=False))
    assert again.rows() == {"a": rows[0], "b": rows[1]}
    assert again.body("a") == b"body" * 1000
    assert again.body("b") is again.body("c") is None


def test_a_body_stays_until_it_is_replaced(database: Database) -> None:
    polls = Polls(database)
    polls.keep([PollRow("a", STATE, 1.0)], {"a": b"one"})
    polls.keep([PollRow("a", PollState(), 2.0)], {})
    assert (polls.body("a"), polls.rows()["a"].next_poll) == (b"one", 2.0)
    polls.keep([PollRow("a", PollState(), 2.0)], {"a": None})
    assert polls.body("a") is None
    polls.keep([PollRow("a", PollState(), 2.0)], {"a": b""})
    assert polls.body("a") == b""
    polls.forget(["a", "b"])
    assert polls.rows() == {}


@pytest.mark.parametrize("packed", [b"", b"no zlib", b"x\x9c\xcb", 7, "text"])
def test_a_damaged_body_is_none(database: Database, packed: object) -> None:
    polls = Polls(database)
    polls.keep([PollRow("a", STATE, 1.0)], {})
    with database.transaction() as connection:
        connection.execute("UPDATE resources SET body = CAST(? AS BLOB)", (packed,))
    assert polls.body("a") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"etag": 7, "failures": "x", "new": 1}'])
def test_a_state_of_another_kind_is_one_of_nothing(database: Database, text: str) -> None:
    polls = Polls(database)
    polls.keep([PollRow("a", STATE, 1.0)], {})
    with database.transaction() as connection:
        connection.execute("UPDATE resources SET state = ?", (text,))
    assert polls.rows()["a"].state == PollState()


def test_hosts_wait(database: Database) -> None:
    polls = Polls(database)
    polls.keep([], {}, [HostWait("a", 5.0, "asked to"), HostWait("b", 1.0, "")])
    polls.keep([], {}, [HostWait("a", 7.0, "asked again"), HostWait("b", 0.0, "")])
    assert Polls(database).waits() == {"a": HostWait("a", 7.0, "asked again")}
