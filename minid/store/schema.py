"""The tables of the records, and how a database comes to have them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from minid.errors import StoreError

VERSION = 1

TABLES = """
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  recipe TEXT NOT NULL,
  version TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN
    ('running', 'ok', 'unchanged', 'failed', 'interrupted')),
  reason TEXT NOT NULL,
  changes TEXT NOT NULL,
  started REAL NOT NULL,
  finished REAL,
  error TEXT NOT NULL DEFAULT '',
  exit_code INTEGER NOT NULL DEFAULT 0,
  log TEXT NOT NULL DEFAULT '',
  manifest TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX runs_by_recipe ON runs (recipe, id);
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
CREATE TABLE publications (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs (id),
  target TEXT NOT NULL,
  name TEXT NOT NULL,
  from_manifest TEXT NOT NULL,
  to_manifest TEXT NOT NULL,
  moved REAL NOT NULL
) STRICT;
CREATE INDEX publications_by_name ON publications (name, target, id);
CREATE TABLE inputs (
  recipe TEXT PRIMARY KEY,
  inputs TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES runs (id)
) STRICT;
"""


def prepare_database(connection: sqlite3.Connection) -> None:
    """Make the tables in a new database; StoreError for one that a newer minid wrote."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StoreError(
            f"records: expected schema version {VERSION} or older, got {found}",
            hint="a newer minid wrote this store; use that one",
        )
    if found == VERSION:
        return
    connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")


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
