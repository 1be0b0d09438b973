"""The queue's side of the table of runs: a run is a row from the moment it is queued."""

from __future__ import annotations

import json
from collections.abc import Sequence

from minid.store.database import Database
from minid.store.records import RUN_COLUMNS, RunRow, run_row

_ENDED = "('ok', 'unchanged', 'failed', 'infra', 'skipped', 'interrupted', 'cancelled')"


class Queue:
    """Queued and running runs, what the last attempts were, and the settings of the service.

    What a method has returned from is on disk.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def enqueue(
        self,
        recipe: str,
        version: str,
        reason: str,
        changes: Sequence[str],
        now: float,
        *,
        key: str = "",
        priority: int = 0,
        not_before: float = 0.0,
        attempt: int = 1,
        forced: bool = False,
    ) -> int:
        """Queue a run of a recipe and return its id.

        A recipe waits once: where a run of it is queued already, that one takes the new version,
        reason and key, the higher priority and the earlier start, and stays forced if it was.
        """
        words = json.dumps(list(changes))
        with self._database.transaction() as connection:
            waiting = connection.execute(
                "SELECT id FROM runs WHERE recipe = ? AND status = 'queued'", (recipe,)
            ).fetchone()
            if waiting:
                connection.execute(
                    "UPDATE runs SET version = ?, reason = ?, changes = ?, key = ?, attempt = ?,"
                    " priority = max(priority, ?), not_before = min(not_before, ?),"
                    " forced = max(forced, ?) WHERE id = ?",
                    (version, reason, words, key, attempt, priority, not_before, forced, *waiting),
                )
                return int(waiting[0])
            cursor = connection.execute(
                "INSERT INTO runs (recipe, version, status, reason, changes, started, queued, key,"
                " priority, not_before, attempt, forced)"
                " VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(recipe, version, reason, words, now, now, key),
                    *(priority, not_before, attempt, int(forced)),
                ),
            )
            return int(cursor.lastrowid or 0)

    def queued(self) -> list[RunRow]:
        """The runs that wait: the highest priority first, then the oldest."""
        return self._select("status = 'queued' ORDER BY priority DESC, id")

    def running(self) -> list[RunRow]:
        """The runs that are marked as running, the oldest first."""
        return self._select("status = 'running' ORDER BY id")

    def ended(self, recipe: str, limit: int = 20) -> list[RunRow]:
        """The recipe's newest runs that are over, the newest first."""
        where = f"recipe = ? AND status IN {_ENDED} ORDER BY id DESC LIMIT ?"
        return self._select(where, recipe, limit)

    def interrupted(self) -> list[RunRow]:
        """The runs that were interrupted and are the newest of their recipes, the oldest first."""
        newest = "id = (SELECT max(id) FROM runs AS others WHERE others.recipe = runs.recipe)"
        return self._select(f"status = 'interrupted' AND {newest} ORDER BY id")

    def begin(self, run: int, now: float) -> bool:
        """Mark a queued run as running; False where it no longer waits."""
        return self._change("status = 'running', started = ?", run, "queued", now)

    def drop(self, run: int, status: str, error: str, now: float) -> bool:
        """End a run that waits, as `cancelled`, `unchanged` or `skipped`; False where it does not
        wait any more."""
        values = (status, error, now)
        return self._change("status = ?, error = ?, finished = ?", run, "queued", *values)

    def advance(self, run: int, priority: int) -> bool:
        """Move a run that waits, and have it wait for no time; False where it does not wait any
        more."""
        return self._change("priority = ?, not_before = 0", run, "queued", priority)

    def set_key(self, run: int, key: str) -> None:
        """Record what a run attempted, once that is known."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE runs SET key = ? WHERE id = ?", (key, run))

    def setting(self, name: str, default: str = "") -> str:
        """What was last set under that name."""
        rows = self._database.query("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else default

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting across restarts."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO settings (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def stage_seconds(self, recipe: str) -> dict[str, float]:
        """How long each stage last took where it was not in the store, in seconds."""
        rows = self._database.query(
            "SELECT stages.name, stages.seconds, max(stages.rowid) FROM stages JOIN runs"
            " ON runs.id = stages.run WHERE runs.recipe = ? AND NOT stages.cached"
            " GROUP BY stages.name",
            (recipe,),
        )
        return {str(name): float(str(seconds)) for name, seconds, _ in rows}

    def _select(self, where: str, *values: object) -> list[RunRow]:
        sql = f"SELECT {RUN_COLUMNS} FROM runs WHERE {where}"  # noqa: S608
        return [run_row(row) for row in self._database.query(sql, values)]

    def _change(self, what: str, run: int, status: str, *values: object) -> bool:
        with self._database.transaction() as connection:
            sql = f"UPDATE runs SET {what} WHERE id = ? AND status = ?"  # noqa: S608
            return connection.execute(sql, (*values, run, status)).rowcount == 1
