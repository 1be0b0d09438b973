"""Running commands in a root file system, in a container, and taking what they changed as data.

Nothing of the machine is changed: the root is laid of stored layers for this alone, and its changes
are read when every process of the commands is dead.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import time
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import IO, Any

from minid.errors import CheckError, ComposeError, HostError
from minid.formats.digest import Digest
from minid.formats.tar import TarWriter
from minid.host.container import (
    START_TIMEOUT_S,
    Container,
    ContainerSpec,
    LayerFile,
)
from minid.model import Changes, Content, Entry, EntryKind, Limits

_KINDS: dict[str, EntryKind] = {"f": "file", "d": "directory", "l": "symlink", "h": "hardlink"}
_UNKNOWN = Digest("0" * 64)
_CAPABILITY = "security.capability"
_TICK_MS = 200
_PIECE = 1 << 16
_KILLED = 137


@dataclass(frozen=True, slots=True)
class CommandJob:
    """Shell commands and where they run: layers, lowest first. `environ` has NAME=value.

    `where` begins the messages, before `[N]`. `mtime` is the time of all that they change.
    `copied` keeps from using an overlay where there could be one.
    """

    commands: tuple[str, ...]
    layers: tuple[LayerFile, ...]
    where: str
    mtime: int
    limits: Limits
    environ: tuple[str, ...] = ()
    copied: bool = False


def run_commands(
    job: CommandJob,
    cache: Path,
    *,
    write: Callable[[bytes], object],
    log: Callable[[bytes], object],
    cancel: Event | None = None,
) -> Changes:
    """Run each command with `/bin/sh -euc` as the container's root; what they changed together.

    There is no network but loopback. `log` gets the output as it comes, `write` a tar of what was
    touched; a file's `content` has digest, size and `offset` in it, the caller names the blob. The
    root folder itself is no entry. `cache` is where layers are unpacked.

    ComposeError for a command that fails or passes a limit, and for what no layer can hold:
    devices, sockets, FIFOs, names that are no UTF-8 or hold control characters.
    """
    try:
        with _CommandContainer(job, cache, cancel) as container:
            watch = _Watch(job.limits, cancel)
            for number, command in enumerate(job.commands):
                where = f"{job.where}[{number}]"
                log(f"+ {where.rpartition(': ')[2]}: {command}\n".encode())
                status = container.run(("/bin/sh", "-euc", command), log, watch, where)
                if status:
                    raise ComposeError(
                        f"{where}: expected status 0, got {status}",
                        hint="memory may have run out" if status == _KILLED else "",
                    )
            try:
                return container.capture(write, job.mtime)
            except ComposeError as error:
                raise ComposeError(f"{job.where}: {error.message}") from error
    except CheckError as error:  # the container's own word for it
        raise ComposeError(f"{job.where}: cancelled") from error


class _Watch:
    """The limits of all commands together."""

    def __init__(self, limits: Limits, cancel: Event | None) -> None:
        self._limits, self._cancel = limits, cancel
        self._began = self._heard = time.monotonic()
        self._bytes = 0

    def note_output(self, size: int) -> None:
        self._heard = time.monotonic()
        self._bytes += size

    def check(self, where: str) -> None:
        """ComposeError when a limit is passed or minid is told to end."""
        if self._cancel is not None and self._cancel.is_set():
            raise ComposeError(f"{where}: cancelled")
        now = time.monotonic()
        passed = {
            "wall": now - self._began > self._limits.wall_s,
            "silence": now - self._heard > self._limits.silence_s,
            "log": self._bytes > self._limits.log_bytes,
        }
        for name in [name for name, is_passed in passed.items() if is_passed]:
            raise ComposeError(
                f"{where}: expected to stay within build.limits.{name}, got past it "
                f"after {now - self._began:.0f} s",
                hint=f"raise build.limits.{name} in config.toml if the command is right",
            )


class _CommandContainer(Container):
    """A container whose root stays the same from command to command."""

    def __init__(self, job: CommandJob, cache: Path, cancel: Event | None) -> None:
        super().__init__(ContainerSpec({}, job.layers), cache, cancel)
        self._commands = job

    def run(
        self,
        argv: tuple[str, ...],
        log: Callable[[bytes], object],
        watch: _Watch,
        where: str,
    ) -> int:
        """Run one command to its end; its exit status. ComposeError when `watch` says so."""
        self._send(
            {
                "do": "command",
                "argv": list(argv),
                "environ": list(self._commands.environ),
                "copied": self._commands.copied,
            }
        )
        _, (output,) = self._receive_fds(START_TIMEOUT_S)
        assert self._control is not None
        os.set_blocking(output, False)
        try:
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            poll.register(output, select.POLLIN)
            while True:
                ready = dict(poll.poll(_TICK_MS))
                if output in ready and not _forward(output, log, watch):
                    poll.unregister(output)
                watch.check(where)
                if self._control.fileno() in ready:
                    while _forward(output, log, watch):
                        watch.check(where)
                    return int(self._receive(START_TIMEOUT_S)["exit_code"])
        finally:
            os.close(output)

    def capture(self, write: Callable[[bytes], object], mtime: int) -> Changes:
        """What the commands changed, read when all of their processes are dead."""
        self._send({"do": "capture"})
        _, (stream,) = self._receive_fds(START_TIMEOUT_S)
        with open(stream, "rb") as file:
            found = json.loads(file.readline())
            entries = _write_entries(_parse_rows(found["rows"], mtime), file, write)
        return Changes(entries, tuple(found["deleted"]))


def _forward(output: int, log: Callable[[bytes], object], watch: _Watch) -> bool:
    """Pass a piece of output on; False when there is none now, or will never be."""
    with suppress(BlockingIOError):
        data = os.read(output, _PIECE)
        if data:
            log(data)
            watch.note_output(len(data))
        return bool(data)
    return False


def _parse_rows(rows: Iterable[list[Any]], mtime: int) -> Iterable[Entry]:
    for path, letter, mode, uid, gid, target, size, capability in rows:
        _check_text(path, path)
        _check_text(target, path)
        if any(part.startswith(".wh.") for part in path.split("/")):
            raise ComposeError(f"/{path}: expected no whiteout's name, got one")
        kind = _KINDS[letter]
        yield Entry(
            image_path=path,
            kind=kind,
            mode=0o777 if kind == "symlink" else mode,
            mtime=mtime,
            uid=uid,
            gid=gid,
            target=target,
            content=Content(_UNKNOWN, size) if kind == "file" else None,
            xattrs=((_CAPABILITY, bytes.fromhex(capability)),) if capability else (),
        )


def _check_text(text: str, path: str) -> None:
    """Names will stand in logs, pages and lists."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ComposeError(f"/{ascii(path)[1:-1]}: expected UTF-8, got other bytes") from None
    if not text.isprintable() and any(unicodedata.category(char) == "Cc" for char in text):
        raise ComposeError(f"/{ascii(path)[1:-1]}: expected no control characters, got some")


def _write_entries(
    entries: Iterable[Entry], file: IO[bytes], write: Callable[[bytes], object]
) -> tuple[Entry, ...]:
    """Write a tar of the entries, whose files' bytes follow each other in `file`."""
    tar = TarWriter(write)
    written: list[Entry] = []
    for entry in entries:
        if entry.content is None:
            tar.add(entry)
            written.append(entry)
            continue
        hasher = hashlib.sha256()
        offset = tar.add(entry, _read_exactly(file, entry.content.size, hasher.update))
        content = replace(entry.content, digest=Digest(hasher.hexdigest()), offset=offset)
        written.append(replace(entry, content=content))
    tar.close()
    return tuple(written)


def _read_exactly(file: IO[bytes], size: int, feed: Callable[[bytes], object]) -> Iterable[bytes]:
    while size:
        piece = file.read(min(size, _PIECE))
        if not piece:
            raise HostError(f"container: expected {size} more bytes of the changes, got their end")
        size -= len(piece)
        feed(piece)
        yield piece
