"""What a program asks of the kernel, and what it is answered: one row for each different question.

Runs in the keeper of a container (see `container_server`), which is the parent of what it traces.
It changes nothing of what the program sees, but for the names it asks for: see `name_ear`.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH115, PTH208

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from minid.formats import syscalls
from minid.host import name_ear, ptrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from minid.host.name_ear import NameEar

_AT_FDCWD = 0xFFFFFFFF & -100
_MAX_ROWS = 20_000
_MAX_PATH = 4096
_TICK_S = 0.02
_NEEDS_OWNER = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR})
_KILLED = 128 + signal.SIGKILL
_ACCOUNTS = ("/etc/passwd", "/etc/group")


class _Pending:
    """A call that has begun."""

    def __init__(self, shape: syscalls.Shape, path: str, flags: int = 0) -> None:
        self.shape, self.path, self.flags = shape, path, flags
        self.poked, self.saved = 0, b""  # memory of the caller that is given back afterwards


class Tracer:
    """Traces one container. `rows` maps (call, path, flags, error) to when it came first in ms, a
    number that grows with its last time, the thread, that one's uid, and how often.

    Nothing is noted before the container's own program is executed, or failed to be.
    """

    def __init__(self, pid: int, ear: NameEar) -> None:
        self.pid, self._ear = pid, ear
        self.rows: dict[tuple[str, str, int, int], list[int]] = {}
        self.ends: dict[int, int] = {}
        self.code: int | None = None
        self.executed = False
        self.living: set[int] = set()
        self.background = False
        self._processes: set[int] = set()
        machine = os.uname().machine
        self._calls = syscalls.watched_calls(machine)
        self._architecture = ptrace.ARCHITECTURES.get(machine, 0)
        self._pending: dict[int, _Pending] = {}
        self._turn = 0
        self._began = time.monotonic()
        self.fresh = self._began
        self._last_file = ""

    def attach(self) -> None:
        """Take every thread of the container's first process. OSError where that is forbidden."""
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                ptrace.seize(int(tid))
                self.living.add(int(tid))

    def run(self, tick: Callable[[], bool]) -> None:
        """Follow until nobody is left, or `tick`, which is called often, says that it is enough."""
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, _TICK_S, _TICK_S)
        last = 0.0
        try:
            while True:
                stop = ptrace.wait_stop()
                if stop is not None:
                    self._take(stop)
                now = time.monotonic()
                if now - last > _TICK_S:
                    last = now
                    if tick():
                        return
        except ChildProcessError:
            return
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _take(self, stop: ptrace.Stop) -> None:
        if stop.ended:
            self._end(stop)
            return
        if stop.tid not in self.living:
            self.living.add(stop.tid)
        with contextlib.suppress(OSError, ValueError):
            if stop.event == ptrace.EVENT_EXEC:
                self._executed(stop.tid)
            elif stop.event in ptrace.EVENTS_FORK:
                self._processes.add(ptrace.event_message(stop.tid))
            elif stop.in_call:
                self._call(stop.tid)
        if self._ear.waits or self._turn % 8 == 0:
            self._ear.serve()
        self._turn += 1
        ptrace.resume(stop)

    def _end(self, stop: ptrace.Stop) -> None:
        self.living.discard(stop.tid)
        self._pending.pop(stop.tid, None)
        if len(self.ends) < _MAX_ROWS:
            self.ends[stop.tid] = stop.code
        if stop.tid == self.pid:
            self.code = stop.code
            # What lives on when the first process goes is killed with it, and ends before it.
            killed = any(self.ends.get(tid) == _KILLED for tid in self._processes)
            self.background = stop.code == 0 and killed

    def _executed(self, tid: int) -> None:
        former = ptrace.event_message(tid)
        begun = self._pending.pop(former, None) or self._pending.pop(tid, None)
        if not self.executed:
            self.executed = True
            self._began = time.monotonic()
        if begun is not None:
            self._note(tid, begun, 0)

    def _call(self, tid: int) -> None:
        call = ptrace.read_call(tid)
        if call is None or call.architecture != self._architecture:
            return
        if call.result is None:
            shape = self._calls.get(call.number)
            if shape is not None and (self.executed or shape.name == "exec"):
                self._pending[tid] = self._begin(tid, shape, call.arguments)
            return
        begun = self._pending.pop(tid, None)
        if begun is None:
            return
        if begun.poked:
            _write(tid, begun.poked, begun.saved)
            return
        if -4096 < call.result < 0:
            if call.result > -512:  # else the kernel will begin the call once more
                self._note(tid, begun, -call.result)
        else:
            self._note(tid, begun, 0)

    def _begin(self, tid: int, shape: syscalls.Shape, arguments: tuple[int, ...]) -> _Pending:
        flags = arguments[shape.flags] & 0xFFFFFFFF if shape.flags >= 0 else 0
        if shape.name == "openat2":
            flags = struct.unpack("=Q", _read(tid, arguments[2], 8))[0] & 0xFFFFFFFF
        if shape.address >= 0:
            return self._begin_address(tid, shape, arguments)
        if shape.path < 0:
            return _Pending(shape, "")
        path = _read_text(tid, arguments[shape.path])
        if not path and shape.path >= 0:
            return _Pending(shape, "", flags)  # of an open file: nothing is looked for
        if not path.startswith("/"):
            folder = _AT_FDCWD if shape.folder < 0 else arguments[shape.folder] & 0xFFFFFFFF
            source = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
            path = os.readlink(f"/proc/{tid}/{source}").rstrip("/") + "/" + path
        return _Pending(shape, os.path.normpath("/" + path.lstrip("/")), flags)

    def _begin_address(
        self, tid: int, shape: syscalls.Shape, arguments: tuple[int, ...]
    ) -> _Pending:
        at, length = arguments[shape.address], arguments[shape.address + 1]
        data = _read(tid, at, min(length, 110))
        path = show_address(data)
        if shape.name == "connect" and path == f"unix:{name_ear.ASKED}" and length == 110:
            self._ear.reads_files_first = self._last_file in _ACCOUNTS
            begun = _Pending(shape, path)
            begun.poked, begun.saved = at + 2, data[2:]
            _write(tid, at + 2, name_ear.ADDRESS)
            return begun
        return _Pending(shape, path)

    def _note(self, tid: int, begun: _Pending, error: int) -> None:
        name = {"creat": "open", "openat2": "open"}.get(begun.shape.name, begun.shape.name)
        flags = begun.flags | (syscalls.O_CREAT if begun.shape.name == "creat" else 0)
        flags = (
            flags & 3
            | (4 if flags & syscalls.O_CREAT else 0)
            | (8 if flags & syscalls.directory_flag(os.uname().machine) else 0)
        )
        if name == "open":
            self._last_file = begun.path
        key = (name, begun.path[:_MAX_PATH], flags, error)
        row = self.rows.get(key)
        self._turn += 1
        if row is not None:
            row[1], row[4] = self._turn, row[4] + 1
            return
        if len(self.rows) >= _MAX_ROWS:
            return
        self.fresh = time.monotonic()
        uid = _uid(tid) if error in _NEEDS_OWNER or flags & 4 else 0
        self.rows[key] = [int((self.fresh - self._began) * 1000), self._turn, tid, uid, 1]

    def facts(self) -> list[list[Any]]:
        """The rows in order of time, as JSON values: call, path, flags, error, then as above."""
        return [[*key, *row] for key, row in self.rows.items()]


def show_address(data: bytes) -> str:
    """A socket address as text: `unix:/path`, `inet:1.2.3.4:80`, `inet6:::1:80`, `family:16`."""
    if len(data) < 2:
        return "family:0"
    (family,) = struct.unpack_from("=H", data)
    if family == socket.AF_UNIX:
        name = data[2:]
        shown = "@" + name[1:].decode("utf-8", "replace") if name[:1] == b"\0" else _text(name)
        return f"unix:{shown.rstrip(chr(0))}"
    if family == socket.AF_INET and len(data) >= 8:
        port = int.from_bytes(data[2:4], "big")
        return f"inet:{socket.inet_ntop(family, data[4:8])}:{port}"
    if family == socket.AF_INET6 and len(data) >= 24:
        port = int.from_bytes(data[2:4], "big")
        return f"inet6:{socket.inet_ntop(family, data[8:24])}:{port}"
    return f"family:{family}"


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _uid(tid: int) -> int:
    """The effective user of a thread."""
    try:
        with open(f"/proc/{tid}/status", errors="replace") as file:
            line = next((line for line in file if line.startswith("Uid:")), "Uid: 0 0")
    except OSError:
        return 0
    return int(line.split()[2])


def _read(tid: int, address: int, size: int) -> bytes:
    with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), size, address)


def _write(tid: int, address: int, data: bytes) -> None:
    with open(f"/proc/{tid}/mem", "r+b", buffering=0) as memory:
        os.pwrite(memory.fileno(), data, address)


def _read_text(tid: int, address: int) -> str:
    """A C string of another process's memory, page by page: the next page may not be there."""
    if not address:
        return ""
    text = b""
    with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
        while b"\0" not in text and len(text) < _MAX_PATH:
            here = address + len(text)
            text += os.pread(memory.fileno(), _MAX_PATH - here % _MAX_PATH, here)
    return _text(text)
