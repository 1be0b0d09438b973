"""The door to the database: one connection, its transactions, and what SQLite says as a StoreError.

What a transaction has returned from is on disk, but for those that are not `settled`: they wait
for the next that is, or for `settle`. A `shared` database has other writers beside this one (the
service and its builds), so nothing waits there: an open transaction would keep them out.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from minid.errors import StoreError
from minid.store.schema import expect_version, prepare_database, roll_back

_BUSY_TIMEOUT_S = 30


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What SQLite says as a StoreError: a damaged file shows at any statement, not when opened.

    Values that do not fit are a fault of minid's own and pass as they are.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.Error as error:
        raise StoreError(f"{path}: expected a database of minid, got {error}") from error


class Database:
    """The SQLite file at `path`. `writable` opens it for writing, making it if it is not there.

    The journal is a rollback journal: with it several connections may write in turn, which a WAL
    of SQLite before 3.51.3 does not survive.
    """

    def __init__(self, path: Path, *, writable: bool, shared: bool = False) -> None:
        self._lock = threading.RLock()
        self.path = path
        self._shared = shared
        self._batches = 0
        uri = f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}"
        with _told(path):
            self._connection = sqlite3.connect(
                uri,
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=_BUSY_TIMEOUT_S,
            )
            if writable:
                self._connection.execute("PRAGMA journal_mode = TRUNCATE")
                self._connection.execute("PRAGMA synchronous = FULL")
                prepare_database(self._connection)
            self._connection.execute("PRAGMA foreign_keys = ON")
        if not writable:
            expect_version(path, int(str(self.query("PRAGMA user_version")[0][0])))

    def close(self) -> None:
        """Put what waits on disk, and close the connection."""
        try:
            self.settle()
        finally:
            self._connection.close()

    @contextmanager
    def transaction(self, *, settled: bool = True) -> Iterator[sqlite3.Connection]:
        """Changes that come together or not at all; not `settled`: they wait for the next."""
        with self._lock, _told(self.path):
            alone = not self._connection.in_transaction
            if alone:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SAVEPOINT step")
            try:
                yield self._connection
            except BaseException:
                self._undo(alone=alone)
                raise
            self._connection.execute("RELEASE step")
            if (settled or self._shared) and not self._batches:
                self._commit()

    def _undo(self, *, alone: bool) -> None:
        """Take a step back. An open transaction keeps other writers out, and SQLite may have rolled
        all of it back already."""
        if not self._connection.in_transaction:
            return
        if alone:
            self._connection.execute("ROLLBACK")
        else:
            self._connection.execute("ROLLBACK TO step")
            self._connection.execute("RELEASE step")

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            # What is told as not written must not come with the next that is, nor keep others out.
            if self._shared and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Put all that is written inside on disk at its end, in one turn; what was written before
        an error too. Other writers wait meanwhile: keep it short."""
        with self._lock:
            self._batches += 1
            try:
                yield
            finally:
                self._batches -= 1
                if not self._batches:
                    self.settle()

    def version(self) -> int:
        """A number that is another one once somebody else has written; -1 where that cannot be told
        at once, because they are about to."""
        with self._lock:
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                # The pragma alone may answer from memory.
                self._connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
                (found,) = self._connection.execute("PRAGMA data_version").fetchone()
                return int(found)
            except sqlite3.OperationalError:
                return -1
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000}")

    def settle(self) -> None:
        """Put what waits on disk; cheap where nothing does."""
        with self._lock, _told(self.path):
            if self._connection.in_transaction:
                self._commit()

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """The rows of a SELECT."""
        with self._lock, _told(self.path):
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                    raise
                # A killed writer left its journal, which this connection may not roll back.
                roll_back(self.path)
                return self._connection.execute(sql, values).fetchall()
