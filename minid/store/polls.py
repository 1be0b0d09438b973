"""What is remembered of upstream pages, by URL, and of the hosts that asked to be left alone.

A lost row costs one repeated request, so many are written in one turn of the disk.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from minid.store.database import Database

MAX_BODY = 16 << 20


@dataclass(frozen=True, slots=True)
class PollState:
    """What the last requests for a page brought. Times in seconds since the epoch, 0 for never.

    `etag` and `last_modified` are the server's own words of the last whole answer, `whole_at` when
    that was, `digest` its body's SHA-256 in hex, `changed_at` when that was first seen, and
    `content_type` and `final_url` what it came with. `polled_at` is when the page was last asked
    for. `failures` counts failed requests in a row, `absent` those of them that said 404, since
    `absent_since`.
    """

    etag: str = ""
    last_modified: str = ""
    content_type: str = ""
    final_url: str = ""
    digest: str = ""
    whole_at: float = 0.0
    changed_at: float = 0.0
    polled_at: float = 0.0
    failures: int = 0
    absent: int = 0
    absent_since: float = 0.0


@dataclass(frozen=True, slots=True)
class PollRow:
    """One page: its state, and when it is due."""

    url: str
    state: PollState
    next_poll: float


@dataclass(frozen=True, slots=True)
class HostWait:
    """A host that is not to be asked before `until`, and why."""

    host: str
    until: float
    reason: str


class Polls:
    """The tables of pages and hosts. What a method has returned from is on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self) -> dict[str, PollRow]:
        """Every page by its URL, without its body."""
        found = self._database.query("SELECT url, state, next_poll FROM resources")
        return {
            str(url): PollRow(str(url), _parse_state(str(state)), float(str(next_poll)))
            for url, state, next_poll in found
        }

    def body(self, url: str) -> bytes | None:
        """The page's last whole body; None where there is none, or none that can be read."""
        rows = self._database.query("SELECT body FROM resources WHERE url = ?", (url,))
        packed = rows[0][0] if rows else None
        if not isinstance(packed, bytes):
            return None
        stream = zlib.decompressobj()
        try:
            body = stream.decompress(packed, MAX_BODY)
        except zlib.error:
            return None
        return body if stream.eof else None

    def keep(
        self,
        rows: Iterable[PollRow],
        bodies: Mapping[str, bytes | None],
        waits: Iterable[HostWait] = (),
    ) -> None:
        """Remember all this in one turn of the disk. Pages that are not in `bodies` keep theirs;
        None drops it. A wait that is over at 0 is forgotten."""
        states = [(row.url, _state_text(row.state), row.next_poll) for row in rows]
        packed = [
            (zlib.compress(body, 6) if body is not None else None, url)
            for url, body in bodies.items()
        ]
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO resources (url, state, next_poll) VALUES (?, ?, ?)"
                " ON CONFLICT (url) DO UPDATE SET state = excluded.state,"
                " next_poll = excluded.next_poll",
                states,
            )
            connection.executemany("UPDATE resources SET body = ? WHERE url = ?", packed)
            connection.executemany(
                "INSERT OR REPLACE INTO hosts (host, wait_until, reason) VALUES (?, ?, ?)",
                [(wait.host, wait.until, wait.reason) for wait in waits],
            )
            connection.execute("DELETE FROM hosts WHERE wait_until <= 0")

    def forget(self, urls: Iterable[str]) -> None:
        """Drop pages that nobody asks for any more."""
        words = [(url,) for url in urls]
        if words:
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM resources WHERE url = ?", words)

    def waits(self) -> dict[str, HostWait]:
        """The hosts that were told to be left alone, also those whose time is over."""
        rows = self._database.query("SELECT host, wait_until, reason FROM hosts")
        return {
            str(host): HostWait(str(host), float(str(until)), str(reason))
            for host, until, reason in rows
        }


_DEFAULTS = asdict(PollState())
_NAMES = tuple(field.name for field in fields(PollState))


def _state_text(state: PollState) -> str:
    """Only what is not as in a state of nothing."""
    words = {name: getattr(state, name) for name in _NAMES}
    return json.dumps({name: value for name, value in words.items() if value != _DEFAULTS[name]})


def _parse_state(text: str) -> PollState:
    """The state; what another version of minid wrote and this one does not know is left out."""
    try:
        words: Any = json.loads(text)
    except ValueError:
        return PollState()
    if not isinstance(words, dict):
        return PollState()
    known = {
        name: type(default)(words[name])
        for name, default in _DEFAULTS.items()
        if isinstance(words.get(name), type(default) if isinstance(default, str) else (int, float))
    }
    return PollState(**known)
