"""Leases: what a living process works on, so that nobody clears it away.

A lease is a file `leases/NAME` with a digest a line, locked (flock) by its holder for as long as
that lives, however it ends. A file that nobody locks is of a process that is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minid.formats.digest import Digest
from minid.host.files import exclusive_folder
from minid.host.process_table import is_gone
from minid.store import lock

_HOLDER = re.compile(r"[a-z]+-([0-9]{1,10})-[0-9a-f]+")


class Lease:
    """A lease that this process holds; see `open_lease`."""

    def __init__(self, gate: int, file: int, name: str) -> None:
        self._gate, self._file = gate, file
        self._lock = threading.Lock()  # a lock on the gate is the process's, not the thread's
        self._held: set[Digest] = set()
        self.name = name

    def hold(self, digests: Iterable[Digest]) -> None:
        """Keep blobs from being collected until the lease ends. Look only afterwards whether they
        are there: what was not held may go at any moment."""
        with self._lock:
            fresh = {digest for digest in digests if digest not in self._held}
            if not fresh:
                return
            # A line break at both ends: of a full disk part of a line may be left.
            lines = "\n".join(["", *(digest.hex for digest in fresh), ""]).encode()
            fcntl.flock(self._gate, fcntl.LOCK_SH)
            try:
                while lines:
                    lines = lines[os.write(self._file, lines) :]
            finally:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
            self._held |= fresh


@contextmanager
def open_lease(folder: Path, name: str) -> Iterator[Lease]:
    """Hold a new lease of that name below `folder`, which is made if it is not there.

    `ROLE-PID-HEX` tells others who holds it, for `await_heirs`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    gate = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(gate, fcntl.LOCK_SH)  # `clear_leases` must not meet it before it is locked
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        file = os.open(path, flags, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield Lease(gate, file, name)
        finally:
            path.unlink(missing_ok=True)
            os.close(file)
    finally:
        os.close(gate)


@contextmanager
def closed_gate(folder: Path) -> Iterator[None]:
    """While inside, no lease begins and none takes up more: keep it to milliseconds."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_folder(folder):
        yield


def living_leases(folder: Path) -> dict[str, frozenset[Digest]]:
    """The leases that somebody holds, by name, with the blobs they hold."""
    found: dict[str, frozenset[Digest]] = {}
    if not folder.is_dir():
        return found
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if _is_held(path):
                found[path.name] = frozenset(_parse(path.read_bytes()))
    return found


def _parse(data: bytes) -> Iterator[Digest]:
    """The digests of whole lines: where the gate is open, the last may be on its way."""
    for line in data[: data.rfind(b"\n") + 1].split():
        with contextlib.suppress(ValueError):
            yield Digest.parse(line.decode("ascii", "replace"))


def dead_leases(folder: Path) -> list[str]:
    """The leases whose holders ended without a chance to remove them: they were killed."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            if not _is_held(path):
                found.append(path.name)
    return found


def await_heirs(folder: Path, ended: str = "") -> None:
    """Return once no lease is held by a child alone whose parent was killed, or after HEIR_S, see
    `store.lock`; the holder of the lease `ended` is known to be gone."""
    until = time.monotonic() + lock.HEIR_S
    while _has_heirs(folder, ended) and time.monotonic() < until:
        time.sleep(lock.HEIR_LOOK_S)


def _has_heirs(folder: Path, ended: str) -> bool:
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _HOLDER.fullmatch(path.name)
        if path.name == ended or (match and is_gone(int(match[1]))):
            with contextlib.suppress(FileNotFoundError):
                if _is_held(path):
                    return True
    return False


def clear_leases(folder: Path) -> None:
    """Remove the files of holders that are gone."""
    if not folder.is_dir():
        return
    with closed_gate(folder):
        for path in folder.iterdir():
            if not _is_held(path):
                path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
