"""A workbench's namespace from the side that lives in minid: open it, work in it, look at it.

The place of a workbench is a folder `ids-…` for each map of user ids, as in the layer cache: there
lie the image as one layer folder and what was done to it, see `bench_server`. All mounts and
processes end with this process, however it ends; what was done stays on disk at every moment.
"""

from __future__ import annotations

import json
import os
import select
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from minid.errors import HostError, UsageError
from minid.formats.changes import Seen
from minid.host import idmap
from minid.host.bench_tools import ToolRoot, lay_tools, read_tools
from minid.host.container import (
    START_TIMEOUT_S,
    Container,
    ContainerSpec,
    LayerFile,
    _checked,
)
from minid.host.files import remove_tree

_MESSAGE_BYTES = 100_000  # what a socket takes at once everywhere
_PID_FILE = "keeper"


@dataclass(frozen=True, slots=True)
class BenchJob:
    """Where a workbench lies and how to open it.

    `layer` is the whole image as one layer; its tar is read where it is not unpacked yet. `lock` is
    an open descriptor whose lock the namespace shall keep as long as it lives. With `join`, the pid
    that `keeper_pid` gave, its namespaces are entered instead of new ones. `tools` are roots whose
    programs shall be at hand. Without `laid` it is there to be cleared
    only; `open` lets others join.
    """

    place: Path
    layer: LayerFile
    lock: int
    join: int = 0
    copied: bool = False
    laid: bool = True
    open: bool = False
    tools: tuple[ToolRoot, ...] = ()
    has_shell: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: `argv` empty means the root's shell. `environ` has NAME=value. `size` is that of
    the terminal, rows and columns."""

    argv: tuple[str, ...]
    environ: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    terminal: bool = False
    size: tuple[int, int] = (24, 80)


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended; `missing` names a program that could not be found or executed."""

    exit_code: int
    missing: str = ""


def keeper_pid(place: Path) -> int:
    """The process that keeps the open namespace of the workbench at `place`; 0 for none."""
    try:
        return int((place / _PID_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def keeper_lives(pid: int) -> bool:
    """Whether that process's namespaces can be entered still."""
    try:
        return bool(Path(f"/proc/{pid}/ns/user").readlink())
    except OSError:
        return False


class BenchContainer(Container):
    """A workbench, open. `how` is `overlay` or `copy`. Raises as `Container` does."""

    def __init__(self, job: BenchJob, stdio: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__(ContainerSpec({}, (job.layer,) if job.laid else ()), job.place)
        self._bench = job
        self._stdio = [_doubled(one) for one in stdio]
        self.how = ""

    def __enter__(self) -> BenchContainer:
        try:
            super().__enter__()
            if not self._bench.laid:
                return self
            self.how = self._lay()
            if self._bench.open and not self._bench.join:
                self._note_keeper()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End everything and return when it is gone."""
        if not self._bench.join:
            with suppress(FileNotFoundError):
                (self._bench.place / _PID_FILE).unlink()
        super().close()
        for one in self._stdio:
            os.close(one)
        self._stdio = []

    def _lay(self) -> str:
        joined, copied = bool(self._bench.join), self._bench.copied
        reply = self._ask("lay", wait_s=START_TIMEOUT_S, joined=joined, copied=copied)
        return str(reply["how"])

    def _note_keeper(self) -> None:
        """Write down who is in the namespaces, for those who come later."""
        assert self._child is not None
        temporary = self._bench.place / f".{_PID_FILE}"
        temporary.write_text(str(self._child.pid))
        temporary.replace(self._bench.place / _PID_FILE)

    def _settle(self, pid: int, mapping: idmap.IdMapping) -> None:
        if self._bench.join:
            self._receive(START_TIMEOUT_S)
        else:
            super()._settle(pid, mapping)

    def _gone(self) -> HostError:
        if self._bench.join:
            return HostError("workbench: expected the shell that opened it to live, got its end")
        return super()._gone()

    def _passed(self) -> tuple[int, ...]:
        return (*self._stdio, self._bench.lock)

    def _job(self, mapping: idmap.IdMapping) -> dict[str, Any]:
        job, bench = super()._job(mapping), self._bench
        binds = self._lay_tools(bench.place / mapping.name / ".tools")
        options = {
            "stdio": self._stdio,
            "lock": bench.lock,
            "join": bench.join,
            "tools": bool(bench.tools),
            "shown": [source for source, _ in binds],
            "places": [place for _, place in binds],
        }
        return job | {"bench": options}

    def _lay_tools(self, folder: Path) -> tuple[tuple[str, str], ...]:
        bench = self._bench
        if bench.join:
            found = read_tools(folder) if bench.tools else ()
            if found is None:
                raise UsageError(
                    "--tools: expected the shell that is open to have them, got one without",
                    hint="end it, and begin it with --tools",
                )
            return found
        remove_tree(folder)
        return lay_tools(folder, bench.tools, has_shell=bench.has_shell) if bench.tools else ()

    # commands

    def start_command(self, command: Command) -> int:
        """Begin a command; the controlling end of its terminal, which is the caller's then, or -1.

        `finished` tells the end, also of a command that could not begin.
        """
        words = {
            "argv": list(command.argv),
            "environ": list(command.environ),
            "cwd": command.cwd,
            "user": command.user,
            "terminal": command.terminal,
            "size": list(command.size),
        }
        if len(json.dumps(words)) > _MESSAGE_BYTES:
            raise UsageError(
                f"shell: expected a command of at most {_MESSAGE_BYTES} bytes, got a longer one",
                hint="put it into a script on standard input",
            )
        self._send({"do": "enter", **words})
        if not command.terminal:
            return -1
        reply, descriptors = self._receive_fds(START_TIMEOUT_S)
        if descriptors:
            return descriptors[0]
        self._early = reply
        return -1

    _early: dict[str, Any] | None = None

    @property
    def control(self) -> int:
        """A descriptor that becomes readable when the command has ended."""
        assert self._control is not None
        return self._control.fileno()

    def finished(self) -> CommandEnd:
        """Wait for the command's end."""
        assert self._control is not None
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        reply = self._early
        if reply is None:
            poll.poll()
            reply = self._receive(START_TIMEOUT_S)
        self._early = None
        return CommandEnd(int(reply["exit_code"]), str(reply.get("missing", "")))

    def signal(self, number: int) -> None:
        """Do to the command what such a signal of a terminal does."""
        self._send({"do": "signal", "number": number})

    # the root

    def scan(self) -> list[Seen]:
        """All that lies in the root now, but the root folder itself."""
        self._send({"do": "scan"})
        with self._stream() as file:
            found = []
            while (row := _next_row(file)) is not None:
                found.append(_parse_seen(row))
        return found

    def read_files(self, paths: Sequence[str], write: Callable[[str, bytes], object]) -> None:
        """Give the bytes of each file to `write`, with its path, in pieces."""
        for batch in _batches(paths):
            self._send({"do": "read", "paths": batch})
            with self._stream() as file:
                for path in batch:
                    while size := _piece_size(file):
                        write(path, file.read(size))
                assert _next_row(file) is None

    def restore(self, paths: Sequence[str]) -> None:
        """Bring each path, and all below it, back to what the image has there, also nothing."""
        for batch in _batches(paths):
            self._send({"do": "restore", "paths": batch})
            with self._stream() as file:
                assert _next_row(file) is None

    def clear(self) -> None:
        """Delete all that the workbench holds; nobody else may have it open."""
        self._ask("clear", wait_s=START_TIMEOUT_S)

    @contextmanager
    def _stream(self) -> Iterator[IO[bytes]]:
        _, (stream,) = self._receive_fds(START_TIMEOUT_S)
        with open(stream, "rb") as file:
            yield file


def _doubled(descriptor: int) -> int:
    """Another descriptor of the same file, or of /dev/null where it is closed."""
    try:
        return os.dup(descriptor)
    except OSError:
        return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)


def _next_row(file: IO[bytes]) -> list[Any] | None:
    """A row, or None behind the last; raises what the namespace met."""
    line = file.readline()
    if not line.endswith(b"\n"):
        raise HostError("workbench: expected the end of the list, got nothing")
    value = json.loads(line)
    if isinstance(value, dict):
        _checked(value)
        return None
    return list(value)


def _piece_size(file: IO[bytes]) -> int:
    head = file.read(1)
    if head == b"{":  # the namespace's last word comes early: an error
        _checked(json.loads(head + file.readline()))
    head += file.read(3)
    if len(head) < 4:
        raise HostError("workbench: expected the bytes of a file, got their end")
    return int(struct.unpack("!I", head)[0])


def _parse_seen(row: list[Any]) -> Seen:
    path, kind, mode, uid, gid, mtime, size, target, capability, own = row
    return Seen(
        path, kind, mode, uid, gid, mtime, size, target, bytes.fromhex(capability), bool(own)
    )


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for path in paths:
        length = len(json.dumps(path)) + 2
        if batch and size + length > _MESSAGE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch
