"""One program started by the namespace's pid 1: its output, captured in bounds, and its end."""

# Not pathlib, as in container_server.
# ruff: noqa: PTH115, PTH208

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_BYTES = 256 << 10
TAIL_LINES = 40
LINE_CHARS = 400
_CHUNK = 1 << 16


class Capture:
    """The first and the last KEPT_BYTES of a stream of any length."""

    def __init__(self, kept: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._head, self._tail = bytearray(), bytearray()

    def add(self, data: bytes) -> None:
        """Take more output."""
        room = self._kept - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * self._kept:
            del self._tail[: -self._kept]

    def content(self) -> bytes:
        """What was kept; a cut shows as a line of three dots."""
        cut = len(self._tail) > self._kept
        return bytes(self._head) + (b"\n...\n" if cut else b"") + bytes(self._tail[-self._kept :])

    def tail_lines(self) -> list[str]:
        """The last lines, cut to a length that people read."""
        text = self.content()[-TAIL_LINES * LINE_CHARS :].decode("utf-8", "replace")
        return [line[:LINE_CHARS] for line in text.splitlines()[-TAIL_LINES:]]


class Streams:
    """What a program and its successors print: each stream for itself, and both as they came."""

    def __init__(self) -> None:
        self.stdout, self.stderr, self.both = Capture(), Capture(), Capture()


_started: set[int] = set()


def reap_orphans() -> None:
    """Take the ends of processes that nobody else waits for: the duty of a namespace's pid 1.

    A container's first process does not end before the last of its namespace was waited for, and
    what a runtime leaves behind in there when it fails comes to us.
    """
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in _started and _is_ended_child(name):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(name), os.WNOHANG)


def _is_ended_child(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state == "Z" and int(parent) == os.getpid()


def _doubled(descriptor: int) -> list[tuple[int, int, int]]:
    """Make a descriptor standard output and standard error."""
    return [(os.POSIX_SPAWN_DUP2, descriptor, at) for at in (1, 2)]


class Process:
    """A running `argv`; `pid_file` is where the runtime writes the pid of the contained process.

    `exit_code` is None while it runs, and 128 plus the signal for one that was killed. Its output
    goes to the descriptor `output`, which stays the caller's, or without one into `capture`, and
    with `streams` into these, each stream by a pipe of its own. Or it gets all of `stdio`, or the
    `terminal` of that path as its controlling one.
    """

    def __init__(
        self,
        argv: list[str],
        pid_file: str,
        name: str,
        output: int | Streams | None = None,
        *,
        stdio: Sequence[int] = (),
        terminal: str = "",
    ) -> None:
        self.name, self._pid_file = name, pid_file
        self.capture = output.both if isinstance(output, Streams) else Capture()
        self.exit_code: int | None = None
        self._readers: dict[int, tuple[Capture, ...]] = {}
        incoming: list[int] = []
        if terminal:  # whoever leads a session gets the first one it opens as its own
            actions = [(os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0), *_doubled(0)]
        elif stdio:
            actions = [(os.POSIX_SPAWN_DUP2, one, at) for at, one in enumerate(stdio)]
        else:
            incoming = self._open_pipes(output)
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, incoming[0], 1),
                (os.POSIX_SPAWN_DUP2, incoming[-1], 2),
            ]
        env = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.pid = os.posix_spawn(
            argv[0], argv, env, file_actions=actions, setsid=bool(terminal or stdio)
        )
        for descriptor in incoming:
            os.close(descriptor)
        _started.add(self.pid)
        self._pidfd = os.pidfd_open(self.pid)

    def _open_pipes(self, output: int | Streams | None) -> list[int]:
        """The writing ends for standard output and, where it is not the same, standard error."""
        if isinstance(output, int):
            return [os.dup(output)]
        captures: list[tuple[Capture, ...]] = [(self.capture,)]
        if output is not None:
            captures = [(output.stdout, output.both), (output.stderr, output.both)]
        incoming = []
        for takers in captures:
            outgoing, other = os.pipe()
            os.set_blocking(outgoing, False)
            self._readers[outgoing] = takers
            incoming.append(other)
        return incoming

    @property
    def started(self) -> bool:
        """Whether the contained process runs its program by now."""
        return bool(self.contained_pid())

    @property
    def is_over(self) -> bool:
        """Whether the contained process has ended, although the runtime may not have seen it."""
        if self.exit_code is not None:
            return True
        contained = self.contained_pid()
        if not contained:
            return False
        try:
            os.readlink(f"/proc/{contained}/ns/ipc")  # a process that exits gives these up early
        except (FileNotFoundError, ProcessLookupError):
            return True
        except OSError:
            return False
        return False

    def register(self, poll: select.poll) -> None:
        """Say what `update` waits for."""
        for descriptor in self._readers:
            poll.register(descriptor, select.POLLIN)
        if self.exit_code is None:
            poll.register(self._pidfd, select.POLLIN)

    def update(self, ready: dict[int, int]) -> None:
        """Take the output and the end that `ready` announces."""
        for descriptor in list(self._readers):
            if descriptor in ready:
                self._drain(descriptor, 1)
        if self.exit_code is None and self._pidfd in ready:
            for descriptor in list(self._readers):
                self._drain(
                    descriptor, 64
                )  # descendants may hold the pipe open for ever: no waiting for its end
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            _started.discard(self.pid)
            self.exit_code = 128 - status if status < 0 else status

    def settle(self, seconds: float) -> None:
        """Wait up to `seconds` for the end."""
        if self.exit_code is None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            self.update(dict(poll.poll(seconds * 1000)))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill the contained process, and with it, when it is a container's first, all of them. Or
        send it another signal."""
        contained = self.contained_pid()
        with contextlib.suppress(ProcessLookupError):
            os.kill(contained or self.pid, number)

    def close(self) -> None:
        """Take no more output."""
        for descriptor in self._readers:
            os.close(descriptor)
        self._readers = {}

    def contained_pid(self) -> int:
        """The contained process, in the server's namespace; 0 where there is none yet."""
        try:
            with open(self._pid_file) as file:
                return int(file.read() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def _drain(self, descriptor: int, chunks: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while chunks and descriptor in self._readers:
                data = os.read(descriptor, _CHUNK)
                for capture in self._readers[descriptor]:
                    capture.add(data)
                if not data:
                    os.close(descriptor)
                    del self._readers[descriptor]
                chunks -= 1
