"""The records: runs, stages, results, images, tags, publications. The only SQL of minid.

One process holds the one connection that writes (see `store.lock`); readers open read-only. What a
method has returned from is on disk, but for stages, results and publications: they wait for the
next write of another kind, or for `settle`, because an edit makes a dozen of them and each alone
costs the disk several turns. Until then only this process sees them, and what is lost with it can
be made again. Blobs named here must be flushed before they are named.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minid.store.database import Database


@dataclass(frozen=True, slots=True)
class RunRow:
    """One attempt to bring one recipe up to date. Times in seconds since the epoch.

    Of a queued run, `started` is when it was queued. `not_before`, `attempt` and `key` (what was
    attempted, see `line.attempt`) are the queue's; `forced` runs every stage again.
    """

    id: int
    recipe: str
    version: str
    status: str
    reason: str
    changes: tuple[str, ...]
    started: float
    finished: float | None
    error: str
    exit_code: int
    log: str
    manifest: str
    queued: float = 0.0
    priority: int = 0
    not_before: float = 0.0
    attempt: int = 1
    forced: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class StageRow:
    """One step within a run: its key, whether the store had it, how long it took, with what."""

    name: str
    key: str
    cached: bool
    seconds: float
    tools: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag and the manifest digest it points at."""

    name: str
    manifest: str
    moved: float


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """A tag that moved at a target, from which manifest digest (may be empty) to which.

    A run moved it, or an edit (see `store.edits`); the number of the other is 0.
    """

    run: int
    target: str
    name: str
    from_manifest: str
    to_manifest: str
    moved: float
    edit: int = 0


RUN_COLUMNS = (
    "id, recipe, version, status, reason, changes, started, finished, error, exit_code, log, "
    "manifest, queued, priority, not_before, attempt, forced, key"
)


def run_row(row: Sequence[object]) -> RunRow:
    """A row of `RUN_COLUMNS`."""
    values = list(row)
    values[5] = tuple(json.loads(str(values[5])))
    values[16] = bool(values[16])
    return RunRow(*values)  # type: ignore[arg-type]


class Records:
    """The line's tables in the database at `path`; `store.queue`, `store.events` and
    `store.releases` hold the service's, on the same `database`."""

    def __init__(self, path: Path, *, writable: bool, shared: bool = False) -> None:
        self.path = path
        self.database = Database(path, writable=writable, shared=shared)
        self._transaction = self.database.transaction
        self._query = self.database.query
        self.settle = self.database.settle
        self.close = self.database.close

    # runs

    def start_run(
        self, recipe: str, version: str, reason: str, changes: Sequence[str], now: float
    ) -> int:
        """Record that a run begins, and return its id. Waits for its log to be named."""
        with self._transaction(settled=False) as connection:
            cursor = connection.execute(
                "INSERT INTO runs (recipe, version, status, reason, changes, started, queued)"
                " VALUES (?, ?, 'running', ?, ?, ?, ?)",
                (recipe, version, reason, json.dumps(list(changes)), now, now),
            )
            return int(cursor.lastrowid or 0)

    def set_log(self, run: int, log: str) -> None:
        """Name the run's log file."""
        with self._transaction() as connection:
            connection.execute("UPDATE runs SET log = ? WHERE id = ?", (log, run))

    def fail_run(
        self, run: int, error: str, exit_code: int, now: float, status: str = "failed"
    ) -> None:
        """Record that a run did not reach its end and why. The recipe's last good image stays.

        `status` is `failed`, `infra` (the machine's fault, not the recipe's), `skipped` (what it
        stands on failed), `cancelled` or `interrupted`.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, error = ?, exit_code = ?, finished = ? WHERE id = ?",
                (status, error, exit_code, now, run),
            )

    def finish_run(
        self, run: int, recipe: str, manifest: str, inputs: Mapping[str, str], now: float
    ) -> None:
        """Record that a run reached its end, and with which inputs."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET status = 'ok', manifest = ?, finished = ? WHERE id = ?",
                (manifest, now, run),
            )
            connection.execute(
                "INSERT INTO inputs (recipe, inputs, run) VALUES (?, ?, ?)"
                " ON CONFLICT (recipe) DO UPDATE SET inputs = excluded.inputs, run = excluded.run",
                (recipe, json.dumps(dict(inputs)), run),
            )

    def record_unchanged(self, recipe: str, version: str, manifest: str, now: float) -> None:
        """Record that a run was asked for and nothing had to be done.

        Repeats move the time of the last such row instead of adding rows: a cron job that asks
        every minute must not fill the database.
        """
        with self._transaction() as connection:
            last = connection.execute(
                "SELECT id, status FROM runs WHERE recipe = ? ORDER BY id DESC LIMIT 1", (recipe,)
            ).fetchone()
            if last and last[1] == "unchanged":
                connection.execute("UPDATE runs SET finished = ? WHERE id = ?", (now, last[0]))
                return
            connection.execute(
                "INSERT INTO runs (recipe, version, status, reason, changes, started, finished,"
                " manifest, queued) VALUES (?, ?, 'unchanged', 'asked', '[]', ?, ?, ?, ?)",
                (recipe, version, now, now, manifest, now),
            )

    def interrupt_running(self, now: float) -> int:
        """Mark runs whose process died; only the holder of the lock may call this."""
        with self._transaction() as connection:
            return connection.execute(
                "UPDATE runs SET status = 'interrupted', finished = ?,"
                " error = 'minid ended before the run did' WHERE status = 'running'",
                (now,),
            ).rowcount

    def has_running(self) -> bool:
        """Whether any run is marked as running."""
        return bool(self._query("SELECT 1 FROM runs WHERE status = 'running' LIMIT 1"))

    def runs(self, recipe: str | None = None, limit: int = 50) -> list[RunRow]:
        """The newest runs, newest first, of one recipe or of all."""
        where = "WHERE recipe = ?" if recipe else ""
        values = (recipe, limit) if recipe else (limit,)
        rows = self._query(
            f"SELECT {RUN_COLUMNS} FROM runs {where} ORDER BY id DESC LIMIT ?",  # noqa: S608
            values,
        )
        return [run_row(row) for row in rows]

    def run(self, run: int) -> RunRow | None:
        """The run of that id."""
        if not 0 < run < 1 << 63:  # what SQLite can hold
            return None
        rows = self._query(f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ?", (run,))  # noqa: S608
        return run_row(rows[0]) if rows else None

    # stages and results

    def add_stage(self, run: int, stage: StageRow) -> None:
        """Record one stage of a run. Waits, see above."""
        with self._transaction(settled=False) as connection:
            connection.execute(
                "INSERT INTO stages (run, name, key, cached, seconds, tools)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    run,
                    stage.name,
                    stage.key,
                    int(stage.cached),
                    stage.seconds,
                    json.dumps(dict(stage.tools)),
                ),
            )

    def stages(self, run: int) -> list[StageRow]:
        """The stages of a run, in their order."""
        rows = self._query(
            "SELECT name, key, cached, seconds, tools FROM stages WHERE run = ? ORDER BY rowid",
            (run,),
        )
        return [
            StageRow(str(name), str(key), bool(cached), float(str(seconds)), json.loads(str(tools)))
            for name, key, cached, seconds, tools in rows
        ]

    def result(self, key: str) -> dict[str, object] | None:
        """What the stage with that key gave, if it ever ran to its end."""
        rows = self._query("SELECT output FROM results WHERE key = ?", (key,))
        return dict(json.loads(str(rows[0][0]))) if rows else None

    def add_result(
        self, key: str, stage: str, recipe: str, output: Mapping[str, object], now: float
    ) -> None:
        """Keep a stage's output. Its blobs must be flushed already. Waits, see above."""
        with self._transaction(settled=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO results (key, stage, recipe, output, created)"
                " VALUES (?, ?, ?, ?, ?)",
                (key, stage, recipe, json.dumps(dict(output)), now),
            )

    def inputs(self, recipe: str) -> dict[str, str]:
        """The inputs of the recipe's last good run; empty where there is none."""
        rows = self._query("SELECT inputs FROM inputs WHERE recipe = ?", (recipe,))
        return dict(json.loads(str(rows[0][0]))) if rows else {}

    # images, tags, publications

    def publish(
        self,
        run: int,
        image: Mapping[str, object],
        names: Sequence[str],
        now: float,
        *,
        edit: int = 0,
    ) -> list[PublicationRow]:
        """Move tags of the store to an image, in one transaction, remembering where they were.

        `image` has at least manifest, recipe and version. A `run` moves them, or with `run` 0 an
        `edit`. Returns the tags that moved.
        """
        manifest = str(image["manifest"])
        moved: list[PublicationRow] = []
        with self._transaction() as connection:
            self._insert_image(connection, image, now)
            for name in names:
                before = connection.execute(
                    "SELECT manifest FROM tags WHERE name = ?", (name,)
                ).fetchone()
                if before and before[0] == manifest:
                    continue
                was = before[0] if before else ""
                row = PublicationRow(run, "store", name, was, manifest, now, edit)
                self._insert_publication(connection, row)
                connection.execute(
                    "INSERT INTO tags (name, manifest, moved) VALUES (?, ?, ?) ON CONFLICT (name)"
                    " DO UPDATE SET manifest = excluded.manifest, moved = excluded.moved",
                    (name, manifest, now),
                )
                moved.append(row)
        return moved

    def untag(self, name: str, now: float, edit: int) -> PublicationRow:
        """Take a tag of the store away, in an edit; it leads to nothing afterwards."""
        with self._transaction() as connection:
            row = PublicationRow(0, "store", name, self.tagged(name), "", now, edit)
            connection.execute("DELETE FROM tags WHERE name = ?", (name,))
            self._insert_publication(connection, row)
            return row

    def add_image(self, image: Mapping[str, object], now: float) -> None:
        """Record an image that no tag points at: one that edits stand on."""
        with self._transaction() as connection:
            self._insert_image(connection, image, now)

    @staticmethod
    def _insert_image(
        connection: sqlite3.Connection, image: Mapping[str, object], now: float
    ) -> None:
        connection.execute(
            "INSERT INTO images (manifest, recipe, version, detail, created)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (manifest) DO UPDATE SET detail ="
            " excluded.detail",
            (image["manifest"], image["recipe"], image["version"], json.dumps(dict(image)), now),
        )

    @staticmethod
    def _insert_publication(connection: sqlite3.Connection, row: PublicationRow) -> None:
        connection.execute(
            "INSERT INTO publications (run, edit, target, name, from_manifest, to_manifest, moved)"
            " VALUES (nullif(?, 0), nullif(?, 0), ?, ?, ?, ?, ?)",
            (
                row.run,
                row.edit,
                row.target,
                row.name,
                row.from_manifest,
                row.to_manifest,
                row.moved,
            ),
        )

    def add_publication(self, row: PublicationRow) -> None:
        """Record that a tag moved at a target other than the store. Waits, see above."""
        with self._transaction(settled=False) as connection:
            self._insert_publication(connection, row)

    def published(self, target: str, name: str) -> str:
        """The manifest digest that was last published under a name at a target, or empty."""
        rows = self._query(
            "SELECT to_manifest FROM publications WHERE name = ? AND target = ?"
            " ORDER BY id DESC LIMIT 1",
            (name, target),
        )
        return str(rows[0][0]) if rows else ""

    def publications(
        self, name: str = "", target: str = "", *, limit: int = 50
    ) -> list[PublicationRow]:
        """The newest publications, newest first, of one name or of all, at one target or at all."""
        asked = {"name": name, "target": target}
        wanted = [column for column, value in asked.items() if value]
        where = "WHERE " + " AND ".join(f"{column} = ?" for column in wanted) if wanted else ""
        rows = self._query(
            "SELECT ifnull(run, 0), target, name, from_manifest, to_manifest, moved,"  # noqa: S608
            f" ifnull(edit, 0) FROM publications {where} ORDER BY id DESC LIMIT ?",
            (*(asked[column] for column in wanted), limit),
        )
        return [PublicationRow(*row) for row in rows]  # type: ignore[arg-type]

    def tagged(self, name: str) -> str:
        """The manifest digest that a tag of the store points at, or empty."""
        rows = self._query("SELECT manifest FROM tags WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def tags(self) -> list[TagRow]:
        """Every tag of the store, sorted by name."""
        rows = self._query("SELECT name, manifest, moved FROM tags ORDER BY name")
        return [TagRow(*row) for row in rows]  # type: ignore[arg-type]

    def image(self, manifest: str) -> dict[str, object] | None:
        """What is recorded of the image with that manifest digest."""
        rows = self._query("SELECT detail FROM images WHERE manifest = ?", (manifest,))
        return dict(json.loads(str(rows[0][0]))) if rows else None

    def last_release(self, recipe: str, version: str) -> dict[str, object] | None:
        """What is recorded of the newest image of a recipe that has another version."""
        rows = self._query(
            "SELECT detail FROM images WHERE recipe = ? AND version <> ?"
            " ORDER BY created DESC, rowid DESC LIMIT 1",
            (recipe, version),
        )
        return dict(json.loads(str(rows[0][0]))) if rows else None

    def images(self) -> list[dict[str, object]]:
        """Every image of the store, newest first."""
        rows = self._query("SELECT detail FROM images ORDER BY created DESC")
        return [dict(json.loads(str(detail))) for (detail,) in rows]
