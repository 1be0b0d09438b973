"""What happened, for people: `minid events`, and what notifications are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from minid.store.database import Database

KEPT = 20_000
_TRIM_EVERY = 1000


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event. `kind` is a word of docs/reference/events.md; `run` is None where none is meant;
    `time` in seconds since the epoch."""

    id: int
    time: float
    kind: str
    recipe: str
    run: int | None
    text: str
    detail: Mapping[str, str]


class Events:
    """The newest `KEPT` events and up to a thousand more."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        kind: str,
        text: str,
        now: float,
        *,
        recipe: str = "",
        run: int | None = None,
        detail: Mapping[str, str] | None = None,
    ) -> EventRow:
        """Record an event and return it."""
        words = json.dumps(dict(detail or {}), sort_keys=True)
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO events (time, kind, recipe, run, text, detail)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (now, kind, recipe, run, text, words),
            )
            number = int(cursor.lastrowid or 0)
            if number % _TRIM_EVERY == 0:
                connection.execute("DELETE FROM events WHERE id <= ?", (number - KEPT,))
        return EventRow(number, now, kind, recipe, run, text, dict(detail or {}))

    def after(self, number: int, limit: int = 1000) -> list[EventRow]:
        """Events with a larger id, the oldest first."""
        return self._select("WHERE id > ? ORDER BY id LIMIT ?", number, limit)

    def newest(self, limit: int = 50, recipe: str = "") -> list[EventRow]:
        """The newest events, of one recipe or of all, the oldest of them first."""
        where = "WHERE recipe = ?" if recipe else "WHERE ? = ''"
        return self._select(f"{where} ORDER BY id DESC LIMIT ?", recipe, limit)[::-1]

    def last_of(self, recipe: str, kind: str) -> EventRow | None:
        """The newest event of that kind about a recipe, or None."""
        where = "WHERE recipe = ? AND kind = ? ORDER BY id DESC LIMIT 1"
        return next(iter(self._select(where, recipe, kind)), None)

    def _select(self, rest: str, *values: object) -> list[EventRow]:
        sql = f"SELECT id, time, kind, recipe, run, text, detail FROM events {rest}"  # noqa: S608
        return [
            EventRow(*facts, json.loads(str(detail)))  # type: ignore[arg-type,call-arg]
            for *facts, detail in self._database.query(sql, values)
        ]
