"""A real service, `minid daemon`, in a test's working folder: started, asked, stopped, killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minid.cli.daemon_client import Daemon
from minid.daemon.requests import Ping, Request
from minid.errors import MinidError
from minid.store.events import Events
from minid.store.queue import Queue
from minid.store.records import Records, RunRow
from tests.support.line import GROUND_FILES, GROUND_TABLES, Line, line_folder, wait_for
from tests.support.users import ROOT


class RunningDaemon:
    """One life of the service after the other in one working folder."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.log = line.folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, not waiting for anything."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.line.argv("daemon"),
                cwd=self.line.folder,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.line.folder),
                    "PYTHONPATH": str(ROOT),
                    **self.line.environ,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def start_ready(self) -> None:
        """Start it, and wait until it answers."""
        self.start()
        wait_for(lambda: not self.alive or self.answers(), 60)
        assert self.alive, self.log.read_text()[-5000:]

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def answers(self) -> bool:
        """Whether it listens."""
        try:
            return bool(self.ask(Ping()))
        except (MinidError, OSError):
            return False

    def ask(self, request: Request) -> dict[str, Any]:
        """Its only answer to a request."""
        return Daemon(self.line.state / "minid.sock").ask_once(request)

    def signal(self, number: int) -> None:
        """Send this process, and no other, a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        """How it ended."""
        assert self.process is not None
        return self.process.wait(seconds)

    def kill(self) -> None:
        """As the kernel would: it alone, and it can do nothing about it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """As systemd would; its status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def remove(self) -> None:
        """End it whatever it does."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    # what its records say

    def rows(self, recipe: str = "") -> list[RunRow]:
        """Runs, the oldest first, of one recipe or of all."""
        with open_records(self.line) as records:
            return records.runs(recipe or None, limit=100_000)[::-1]

    def over(self) -> bool:
        """Whether nothing runs and nothing waits, by the records."""
        with open_records(self.line) as records:
            queue = Queue(records.database)
            return not queue.queued() and not queue.running()

    def events(self, kind: str) -> list[str]:
        """The events of a kind as `recipe: text`, the oldest first."""
        with open_records(self.line) as records:
            rows = Events(records.database).newest(100_000)
        return [f"{row.recipe}: {row.text}" for row in rows if row.kind == kind]


@contextmanager
def daemon_of(line: Line) -> Iterator[RunningDaemon]:
    """The service in the folder, ready, and gone afterwards."""
    running = RunningDaemon(line)
    try:
        running.start_ready()
        yield running
    finally:
        running.remove()


@contextmanager
def daemon_line() -> Iterator[Line]:
    """A working folder for a service, without recipes and with room on any disk."""
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        (folder / "recipes").mkdir()
        set_daemon_options(line, ['min_free = "1 kB"'])
        yield line


@contextmanager
def open_records(line: Line) -> Iterator[Records]:
    """The records, to be read."""
    records = Records(line.state / "records.sqlite", writable=False)
    try:
        yield records
    finally:
        records.close()


def set_daemon_options(line: Line, daemon: Sequence[str] = (), **build: object) -> None:
    """More of config.toml: lines of [daemon], and values of [build]."""
    file = line.folder / "config.toml"
    text = file.read_text().partition("\n[daemon]\n")[0].rstrip() + "\n"
    for key, value in build.items():
        text = text.replace("[build]\n", f"[build]\n{key} = {value}\n")
    file.write_text(text + "\n[daemon]\n" + "".join(f"{line}\n" for line in daemon))


def add_tools(line: Line, count: int, base: str = "ground", compile_s: float = 0.0) -> None:
    """Recipes `tool0` and so on: a shell script each, laid on `base` after `compile_s`."""
    for number in range(count):
        name = f"tool{number}"
        files = {
            "tool": f"{name}\n",
            "Makefile": f"all:\n\tsleep {compile_s}\ninstall:\n"
            f"\tmkdir -p $(DESTDIR)/usr/share\n\tcp tool $(DESTDIR)/usr/share/{name}\n",
        }
        tables = TOOL_TABLES.replace("{base}", base).replace("{name}", name)
        line.add_recipe(name, files, tables)


def add_ground(line: Line, version: str = "1.0.0") -> None:
    """The base of the tools."""
    line.add_recipe("ground", GROUND_FILES, GROUND_TABLES, version=version)


TOOL_TABLES = """
[rootfs]
base = "{base}"

[image]
cmd = ["/bin/tool", "id"]
comment = "{name} one"
tags = ["latest"]

[[check]]
exec = ["/bin/tool", "id"]
contains = "uid=0"
"""


# what must not be left


def traces(line: Line) -> list[str]:
    """Processes that work in the folder or have a mount of it, this one left out."""
    name = line.folder.parent.name.encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        for part in ("cmdline", "environ", "mountinfo"):
            with suppress(OSError):
                if name in (process / part).read_bytes():
                    found.append(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
                    break
    return found


def left_over(line: Line) -> list[str]:
    """Job folders, temporary blobs, half-written files, and mounts."""
    folders = [line.state / "jobs", line.store / "tmp"]
    found = [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]
    found += [str(path) for path in line.state.rglob(".minid-new-*")]
    name = line.folder.parent.name
    return found + [
        row for row in Path("/proc/self/mountinfo").read_text().split("\n") if name in row
    ]


def store_faults(line: Line) -> list[str]:
    """What is wrong with the store: blobs that are not what their names say, tags that lead
    nowhere, an index that is not what the records say, runs that are taken for running."""
    faults = []
    folder = line.store / "blobs" / "sha256"
    for path in folder.iterdir():
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            faults.append(f"blob {path.name}")
    with open_records(line) as records:
        tags = {tag.name: tag.manifest for tag in records.tags()}
        if records.has_running():
            faults.append("a run is marked as running")
    if tags != line.tags():
        faults.append(f"index.json has {line.tags()}, the records {tags}")
    for name, digest in tags.items():
        faults += [f"{name}: no blob {lost}" for lost in _lost_blobs(line, digest)]
    return faults


def _lost_blobs(line: Line, manifest: str) -> list[str]:
    folder = line.store / "blobs" / "sha256"
    if not (folder / manifest.removeprefix("sha256:")).is_file():
        return [manifest]
    parsed = json.loads(line.blob(manifest))
    named = [parsed["config"]["digest"], *(layer["digest"] for layer in parsed["layers"])]
    return [digest for digest in named if not (folder / digest.removeprefix("sha256:")).is_file()]
