"""One writer: the lock that the process which changes the store holds for as long as it does."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from minid.host.files import lock_if_free
from minid.host.process_table import is_gone

_LOOK_S = 0.05
# A child has the descriptors of who forked it, locks with them, until it becomes its program. On a
# busy machine that takes some tens of milliseconds, for which it outlives a parent that is killed.
HEIR_S = 5.0
HEIR_LOOK_S = 0.005


@contextmanager
def writer_lock(path: Path, on_wait: Callable[[str], None], role: str = "") -> Iterator[int]:
    """Hold the lock file at `path`, waiting for another holder to end; gives its descriptor, which
    a child that inherits it holds as well.

    `on_wait` is called once for each holder that is waited for, with its record: its process id
    and, after a space, its `role` if it has one. What it raises ends the waiting. The kernel frees
    the lock when its holder dies, however it dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, on_wait)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {role}".strip().encode() + b"\n", 0)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def free_lock(path: Path) -> Iterator[bool]:
    """Hold the lock if nobody does; whether that is so. Others wait meanwhile: keep it short.

    Who is about to let go is waited for, at most HEIR_S: a holder that was killed, and one that
    keeps it short.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + HEIR_S
    while True:
        with lock_if_free(path) as descriptor:
            if descriptor is not None:
                os.ftruncate(descriptor, 0)  # `_take` tells of no holder without a record
                yield True
                return
        if time.monotonic() > until or not _is_ending(path):
            break
        time.sleep(HEIR_LOOK_S)
    yield False


def _is_ending(path: Path) -> bool:
    """Whether the record is of a process that is gone, or there is none (`lock_holder` writes none,
    nor does `free_lock`)."""
    pid = path.read_text(errors="replace").partition(" ")[0].strip()
    return not pid or (pid.isdecimal() and is_gone(int(pid)))


def _take(descriptor: int, on_wait: Callable[[str], None]) -> None:
    told = ""
    for attempt in count():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            record = _record(descriptor)
            # `lock_holder` holds it for an instant, which is not worth a word.
            if attempt and record and record != told:
                on_wait(record)
                told = record
            time.sleep(_LOOK_S)
        else:
            return


def lock_holder(path: Path) -> str:
    """The record of the process that holds the lock now; empty where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _record(descriptor)
    finally:
        os.close(descriptor)
    return ""


def _record(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
