"""Collecting: taking out of the store what nothing stands on any more, beside whoever builds.

Rows go first, in one transaction. A blob goes when no row names it and no living lease does, which
is looked at with the gate of leases closed (`store.lease`): whoever takes up a blob meanwhile waits
for an instant and then finds it gone, and who has taken it up is seen. Killed anywhere, this leaves
only blobs that nothing names, for the next time.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.host.files import sync_folder
from minid.store.blobs import Blobs, named_blob
from minid.store.database import Database
from minid.store.lease import closed_gate, living_leases
from minid.store.reach import Reached, blobs_of, parse_row

_BATCH = 25
_TRIES = 50
_PAUSE_S = 0.02

Look = Callable[[], Reached]


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A row that goes: an image with its recipe and version, or a result's key and recipe, with the
    blobs that it stands on."""

    key: str
    recipe: str
    version: str = ""
    blobs: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Dead:
    """What is not to stay: images, results, runs whose stages go, and blobs with their sizes."""

    images: tuple[DeadRow, ...] = ()
    results: tuple[DeadRow, ...] = ()
    stages: tuple[int, ...] = ()
    blobs: tuple[tuple[Digest, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """Which blobs went, with their sizes, how many are in use by living processes, and the longest
    time for which those had to wait, in seconds."""

    blobs: tuple[tuple[Digest, int], ...] = ()
    in_use: int = 0
    longest_hold_s: float = 0.0


def find_dead(database: Database, blobs: Blobs, reached: Reached, before: float) -> Dead:
    """What is there and not reached. Of runs that began `before` that time, in seconds since the
    epoch, the stages go too."""
    images = database.query("SELECT manifest, recipe, version FROM images")
    results = database.query("SELECT key, recipe, output FROM results")
    runs = database.query(
        "SELECT DISTINCT run FROM stages JOIN runs ON runs.id = run"
        " WHERE started < ? AND status NOT IN ('queued', 'running')",
        (before,),
    )
    return Dead(
        tuple(DeadRow(str(m), str(r), str(v)) for m, r, v in images if m not in reached.images),
        tuple(
            DeadRow(str(key), str(recipe), "", blobs_of(json.loads(str(output))))
            for key, recipe, output in results
            if key not in reached.results
        ),
        tuple(int(str(run)) for (run,) in runs if run not in reached.runs),
        tuple(_dead_blobs(blobs, reached.blobs)),
    )


def _dead_blobs(blobs: Blobs, kept: Collection[Digest]) -> Iterator[tuple[Digest, int]]:
    """Files that are not blobs are `verify`'s to tell of."""
    with os.scandir(blobs.folder) as entries:
        for entry in entries:
            digest = _blob_name(entry)
            if digest is not None and digest not in kept:
                try:
                    yield digest, entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue


def _blob_name(entry: os.DirEntry[str]) -> Digest | None:
    return named_blob(entry.name) if entry.is_file(follow_symlinks=False) else None


def drop_rows(database: Database, leases: Path, find: Callable[[], Dead]) -> Dead:
    """Delete the dead rows, all at once, and say which; `find` looks for them, until nobody wrote
    meanwhile. A result that somebody takes up now stays."""
    for _ in range(_TRIES):
        before = database.version()
        dead = find()
        if not (dead.images or dead.results or dead.stages):
            if before == database.version() != -1:
                return dead
        else:
            with ExitStack() as gate, database.transaction() as connection:
                # The lock is ours now: what was true is true until this ends.
                if before == database.version() != -1:
                    # Who claims a result's blobs looks then whether the row is still there.
                    gate.enter_context(closed_gate(leases))
                    dead = _without_held(dead, held_blobs(leases))
                    _delete(connection, dead)
                    return dead
        time.sleep(_PAUSE_S)
    raise _busy(database)


def held_blobs(leases: Path) -> frozenset[Digest]:
    """The blobs that living processes hold."""
    return frozenset().union(*living_leases(leases).values())


def _without_held(dead: Dead, held: frozenset[Digest]) -> Dead:
    results = tuple(row for row in dead.results if held.isdisjoint(row.blobs))
    return replace(dead, results=results)


def _delete(connection: sqlite3.Connection, dead: Dead) -> None:
    for sql, keys in (
        ("DELETE FROM images WHERE manifest = ?", [row.key for row in dead.images]),
        ("DELETE FROM signatures WHERE manifest = ?", [row.key for row in dead.images]),
        ("DELETE FROM results WHERE key = ?", [row.key for row in dead.results]),
        ("DELETE FROM stages WHERE run = ?", list(dead.stages)),
    ):
        connection.executemany(sql, [(key,) for key in keys])


def drop_results(
    database: Database, lost: Collection[Digest], manifests: Collection[str] = ()
) -> int:
    """Delete results that stand on lost blobs or gave one of these images, and images without a tag
    that do; how many results. Rows that cannot be read go too."""
    gone = set(lost)

    def is_dead(text: object) -> bool:
        row = parse_row(str(text))
        return row is None or not gone.isdisjoint(blobs_of(row)) or row.get("manifest") in manifests

    results = database.query("SELECT key, output FROM results")
    images = database.query(
        "SELECT manifest, detail FROM images WHERE manifest NOT IN (SELECT manifest FROM tags)"
    )
    dead = Dead(
        tuple(DeadRow(str(key), "") for key, text in images if is_dead(text)),
        tuple(DeadRow(str(key), "") for key, text in results if is_dead(text)),
    )
    if dead.images or dead.results:
        with database.transaction() as connection:
            connection.executemany(
                "DELETE FROM images WHERE manifest = ? AND manifest NOT IN"
                " (SELECT manifest FROM tags)",
                [(row.key,) for row in dead.images],
            )
            _delete(connection, replace(dead, images=()))
    return len(dead.results)


def sweep_blobs(database: Database, blobs: Blobs, leases: Path, look: Look) -> Swept:
    """Remove the blobs that are not reached and that no living process holds."""
    swept = Swept()
    reached, version = _look(database, look)
    waiting = sorted(_dead_blobs(blobs, reached), key=lambda item: item[0].hex)
    while waiting:
        batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
        for _ in range(_TRIES):
            dead = [item for item in batch if item[0] not in reached]
            gone = _set_aside(database, blobs, leases, dead, version)
            if gone is not None:
                break
            reached, version = _look(database, look)
        else:
            raise _busy(database)
        taken, seconds = gone
        for digest, _ in taken:
            (blobs.temporary / digest.hex).unlink()
        swept = replace(
            swept,
            blobs=swept.blobs + tuple(taken),
            in_use=swept.in_use + len(dead) - len(taken),
            longest_hold_s=max(swept.longest_hold_s, seconds),
        )
    if swept.blobs:
        sync_folder(blobs.folder)
    return swept


def _look(database: Database, look: Look) -> tuple[frozenset[Digest], int]:
    """The blobs that are reached or that any row names at all, and the records' version then: a
    dead row of a run that was killed just now takes its blobs along the next time."""
    for _ in range(_TRIES):
        before = database.version()
        found = look().blobs | _named_blobs(database)
        if before == database.version() != -1:
            return found, before
        time.sleep(_PAUSE_S)
    raise _busy(database)


def _named_blobs(database: Database) -> frozenset[Digest]:
    rows = database.query("SELECT output FROM results")
    rows += database.query("SELECT detail FROM images")
    parsed = (parse_row(str(text)) for (text,) in rows)
    return frozenset(digest for row in parsed if row is not None for digest in blobs_of(row))


def _set_aside(
    database: Database,
    blobs: Blobs,
    leases: Path,
    dead: Sequence[tuple[Digest, int]],
    version: int,
) -> tuple[list[tuple[Digest, int]], float] | None:
    """Take dead blobs out of the store that nobody holds; which, and for how long the gate was
    closed. None, with nothing done, where the records are not of that version any more.

    A name is moved and not deleted, because deleting a large file takes its time.
    """
    taken = []
    with closed_gate(leases):
        begin = time.monotonic()
        # The leases first: one that ended just now left its word in the records.
        held = held_blobs(leases)
        if database.version() != version:
            return None
        for digest, size in dead:
            if digest not in held:
                try:
                    blobs.path(digest).rename(blobs.temporary / digest.hex)
                except FileNotFoundError:
                    continue
                taken.append((digest, size))
        return taken, time.monotonic() - begin


def _busy(database: Database) -> StoreError:
    return StoreError(
        f"{database.path}: expected a moment in which nobody writes, got none",
        hint="try again later; what was removed is removed",
    )
