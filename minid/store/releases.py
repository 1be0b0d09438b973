"""What is known of upstreams: what the tracker remembers of each recipe, and where it moved it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from minid.formats.digest import Digest
from minid.recipe_lock import Lock
from minid.store.database import Database
from minid.store.schema import SchemaError


@dataclass(frozen=True, slots=True)
class TrackRow:
    """What the tracker remembers of one recipe. `memory` is JSON that `upstream` alone reads;
    `newest` is the newest release that is known and may be empty, `note` what a person should
    see of it, and `looked` when its page was last judged, in seconds since the epoch."""

    recipe: str
    memory: Mapping[str, object]
    newest: str = ""
    note: str = ""
    looked: float = 0.0


class Releases:
    """The tracker's memory and the locks, by recipe. What a method has returned from is on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def batch(self) -> AbstractContextManager[None]:
        """Put all that is written inside on disk in one turn; see `Database.batch`."""
        return self._database.batch()

    @contextmanager
    def together(self) -> Iterator[None]:
        """As `batch`, and where the end is an error, nothing of it comes on disk."""
        with self._database.batch(), self._database.transaction():
            yield

    def tracks(self) -> dict[str, TrackRow]:
        """What is remembered of every recipe."""
        rows = self._database.query("SELECT recipe, memory, newest, note, looked FROM tracks")
        return {str(row[0]): _track_row(row) for row in rows}

    def track(self, recipe: str) -> TrackRow | None:
        """What is remembered of one recipe."""
        rows = self._database.query(
            "SELECT recipe, memory, newest, note, looked FROM tracks WHERE recipe = ?", (recipe,)
        )
        return _track_row(rows[0]) if rows else None

    def keep_track(self, row: TrackRow) -> None:
        """Remember it."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO tracks (recipe, memory, newest, note, looked)"
                " VALUES (?, ?, ?, ?, ?)",
                (row.recipe, json.dumps(dict(row.memory)), row.newest, row.note, row.looked),
            )

    def locks(self) -> dict[str, Lock]:
        """Where recipes were moved to."""
        rows = self._database.query("SELECT recipe, lock FROM locks")
        return {str(recipe): _parse_lock(str(lock)) for recipe, lock in rows}

    def lock(self, recipe: str) -> Lock | None:
        """Where one recipe was moved to."""
        rows = self._database.query("SELECT lock FROM locks WHERE recipe = ?", (recipe,))
        return _parse_lock(str(rows[0][0])) if rows else None

    def set_lock(self, recipe: str, lock: Lock | None, now: float) -> None:
        """Move a recipe, or with None give the word back to its file."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM locks WHERE recipe = ?", (recipe,))
            if lock is not None:
                words = {key: str(value) for key, value in asdict(lock).items()}
                words |= {"sha256": str(lock.sha256), "of_sha256": str(lock.of_sha256)}
                connection.execute(
                    "INSERT INTO locks (recipe, lock, moved) VALUES (?, ?, ?)",
                    (recipe, json.dumps(words | {"pinned": lock.pinned}), now),
                )


def stored_locks(path: Path) -> dict[str, Lock]:
    """The locks in the records at `path`, read-only; none where there are no records yet, or those
    of an older minid, which knew no locks."""
    if not path.is_file():
        return {}
    try:
        database = Database(path, writable=False)
    except SchemaError as error:
        if error.older:
            return {}
        raise
    try:
        return Releases(database).locks()
    finally:
        database.close()


def _track_row(row: tuple[object, ...]) -> TrackRow:
    recipe, memory, newest, note, looked = row
    return TrackRow(
        str(recipe), json.loads(str(memory)), str(newest), str(note), float(str(looked))
    )


def _parse_lock(text: str) -> Lock:
    words = json.loads(text)
    digests = {key: Digest.parse(words[key]) for key in ("sha256", "of_sha256")}
    return Lock(**{**words, **digests})
