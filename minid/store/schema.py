"""The tables of the records, and how a database comes to have them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from minid.errors import StoreError

VERSION = 4

RUNS = """
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  recipe TEXT NOT NULL,
  version TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN
    ('queued', 'running', 'ok', 'unchanged', 'failed', 'infra', 'skipped', 'interrupted',
     'cancelled')),
  reason TEXT NOT NULL,
  changes TEXT NOT NULL,
  started REAL NOT NULL,
  finished REAL,
  error TEXT NOT NULL DEFAULT '',
  exit_code INTEGER NOT NULL DEFAULT 0,
  log TEXT NOT NULL DEFAULT '',
  manifest TEXT NOT NULL DEFAULT '',
  queued REAL NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL DEFAULT 0,
  not_before REAL NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 1,
  forced INTEGER NOT NULL DEFAULT 0,
  key TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX runs_by_recipe ON runs (recipe, id);
CREATE INDEX runs_open ON runs (status) WHERE status IN ('queued', 'running');
"""

LINE = """
CREATE TABLE stages (
  run INTEGER NOT NULL REFERENCES runs (id),
  name TEXT NOT NULL,
  key TEXT NOT NULL,
  cached INTEGER NOT NULL,
  seconds REAL NOT NULL,
  tools TEXT NOT NULL
) STRICT;
CREATE INDEX stages_by_run ON stages (run);
CREATE TABLE results (
  key TEXT PRIMARY KEY,
  stage TEXT NOT NULL,
  recipe TEXT NOT NULL,
  output TEXT NOT NULL,
  created REAL NOT NULL
) STRICT;
CREATE TABLE images (
  manifest TEXT PRIMARY KEY,
  recipe TEXT NOT NULL,
  version TEXT NOT NULL,
  detail TEXT NOT NULL,
  created REAL NOT NULL
) STRICT;
CREATE TABLE tags (
  name TEXT PRIMARY KEY,
  manifest TEXT NOT NULL REFERENCES images (manifest),
  moved REAL NOT NULL
) STRICT;
CREATE TABLE inputs (
  recipe TEXT PRIMARY KEY,
  inputs TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES runs (id)
) STRICT;
"""

MOVES = """
CREATE TABLE edits (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN
    ('set', 'undo', 'recipe', 'rollback', 'load', 'import', 'pull')),
  recipe TEXT NOT NULL,
  from_manifest TEXT NOT NULL,
  to_manifest TEXT NOT NULL,
  who TEXT NOT NULL,
  time REAL NOT NULL,
  message TEXT NOT NULL,
  kept INTEGER NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX edits_by_recipe ON edits (recipe, id);
CREATE INDEX edits_by_manifest ON edits (to_manifest);
CREATE TABLE publications (
  id INTEGER PRIMARY KEY,
  run INTEGER REFERENCES runs (id),
  edit INTEGER REFERENCES edits (id),
  target TEXT NOT NULL,
  name TEXT NOT NULL,
  from_manifest TEXT NOT NULL,
  to_manifest TEXT NOT NULL,
  moved REAL NOT NULL,
  CHECK ((run IS NULL) <> (edit IS NULL))
) STRICT;
CREATE INDEX publications_by_name ON publications (name, target, id);
"""

SERVICE = """
CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  time REAL NOT NULL,
  kind TEXT NOT NULL,
  recipe TEXT NOT NULL,
  run INTEGER,
  text TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_recipe ON events (recipe, id);
CREATE TABLE tracks (
  recipe TEXT PRIMARY KEY,
  memory TEXT NOT NULL,
  newest TEXT NOT NULL,
  note TEXT NOT NULL,
  looked REAL NOT NULL
) STRICT;
CREATE TABLE locks (
  recipe TEXT PRIMARY KEY,
  lock TEXT NOT NULL,
  moved REAL NOT NULL
) STRICT;
CREATE TABLE resources (
  url TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  body BLOB,
  next_poll REAL NOT NULL
) STRICT;
CREATE INDEX resources_by_time ON resources (next_poll);
CREATE TABLE hosts (
  host TEXT PRIMARY KEY,
  wait_until REAL NOT NULL,
  reason TEXT NOT NULL
) STRICT;
"""

SIGNATURES = """
CREATE TABLE signatures (
  manifest TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('minisign', 'openssh')),
  key TEXT NOT NULL,
  signature BLOB NOT NULL,
  made REAL NOT NULL,
  PRIMARY KEY (manifest, key)
) STRICT;
"""

# The first version knew no queue: its runs began when they were recorded.
_TO_VERSION_2 = f"""
DROP INDEX runs_by_recipe;
ALTER TABLE runs RENAME TO runs_1;
{RUNS}
INSERT INTO runs (id, recipe, version, status, reason, changes, started, finished, error,
  exit_code, log, manifest, queued)
SELECT id, recipe, version, status, reason, changes, started, finished, error,
  exit_code, log, manifest, started FROM runs_1;
DROP TABLE runs_1;
{SERVICE}
"""  # noqa: S608 (nothing in it comes from outside)

# The second knew no edits: every tag was moved by a run.
_TO_VERSION_3 = f"""
DROP INDEX publications_by_name;
ALTER TABLE publications RENAME TO publications_2;
{MOVES}
INSERT INTO publications (id, run, target, name, from_manifest, to_manifest, moved)
SELECT id, run, target, name, from_manifest, to_manifest, moved FROM publications_2;
DROP TABLE publications_2;
"""  # noqa: S608 (nothing in it comes from outside)

_ALL = RUNS + LINE + MOVES + SERVICE + SIGNATURES
_STEPS = {
    1: _TO_VERSION_2 + _TO_VERSION_3 + SIGNATURES,
    2: _TO_VERSION_3 + SIGNATURES,
    3: SIGNATURES,
}


def prepare_database(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring those of an older minid up to date; StoreError for a database that
    a newer minid wrote. Every table is as it was, or as it should be, whenever this is killed."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StoreError(
            f"records: expected schema version {VERSION} or older, got {found}",
            hint="a newer minid wrote this store; use that one",
        )
    if found == VERSION:
        return
    # References of other tables keep the name `runs` when the old table is renamed away.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA legacy_alter_table = ON")
    connection.execute("BEGIN IMMEDIATE")  # others may be about to do the same
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    steps = "" if found == VERSION else _STEPS.get(found, _ALL)
    for statement in steps.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


class SchemaError(StoreError):
    """The database has the tables of another version of minid; `older` says which way."""

    def __init__(self, message: str, *, older: bool, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.older = older


def expect_version(path: Path, found: int) -> None:
    """SchemaError for a database that this minid cannot read as it is."""
    if found != VERSION:
        older = found < VERSION
        raise SchemaError(
            f"{path}: expected schema version {VERSION}, got {found}",
            older=older,
            hint="`minid build` brings it up to date"
            if older
            else "a newer minid wrote this store",
        )


def roll_back(path: Path) -> None:
    """Undo what a killed writer left half done in the database; StoreError where that is refused.

    Safe beside a living writer: its journal is not one to roll back.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10)
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}: expected to finish what a killed minid left, got {error}",
            hint="run `minid build` as the user who owns the store",
        ) from error
