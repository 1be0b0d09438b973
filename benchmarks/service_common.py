"""A real service for the benchmarks: a process of its own, asked and looked at from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from common import REPOSITORY, timed

sys.path.insert(0, str(REPOSITORY))  # the tests' recipes, which take a second to build


class Measured:
    """A service in a working folder. `ready_s` is how long it took from its start to READY=1."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], ready_s: float) -> None:
        self.folder = folder
        self.process = process
        self.ready_s = ready_s

    def megabytes(self, key: str = "VmRSS") -> float:
        """A size of the process: VmRSS now, or VmHWM at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{key}:")[1].split()[0]) / 1024

    def processor_s(self) -> float:
        """Seconds of processor time until now of its threads, by the scheduler's own count."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def wakeups(self) -> int:
        """How often its threads gave up the processor of their own accord."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            text = (task / "status").read_text()
            total += int(text.split("voluntary_ctxt_switches:")[1].split()[0])
        return total

    def kill(self) -> None:
        """At once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def service(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Measured]:
    """`minid daemon` in the folder, from READY on; stopped at the end."""
    with (folder / "daemon.log").open("a") as log, _manager() as (address, manager):
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", "from minid.cli.main import main; main()", "daemon"],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "NOTIFY_SOCKET": address,
                **(environ or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        _wait_ready(manager, process, folder)
        ready_s = time.perf_counter() - began
    try:
        yield Measured(folder, process, ready_s)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(120)


@contextmanager
def _manager() -> Iterator[tuple[str, socket.socket]]:
    """The service manager's address and socket. It is closed once the service is ready: nobody
    reads it then, and a full one holds the service up."""
    name = f"minid-benchmark-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        yield f"@{name}", manager


def _wait_ready(manager: socket.socket, process: subprocess.Popen[bytes], folder: Path) -> None:
    manager.settimeout(1.0)
    while process.poll() is None:
        try:
            if b"READY=1" in manager.recv(4096).split(b"\n"):
                return
        except TimeoutError:
            continue
    sys.exit(
        f"minid daemon: expected to get ready, got exit code {process.returncode}; see "
        f"{folder / 'daemon.log'}"
    )


def wait_until(what: Callable[[], object], seconds: float, every_s: float = 0.005) -> None:
    """Wait until it is true; ends the benchmark where it does not come true."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            sys.exit(f"waited {seconds:g} s in vain")
        time.sleep(every_s)


def record_in_own_process(folder: Path) -> None:
    """Have the records say that everything in the folder is built."""
    timed(
        [
            sys.executable,
            str(REPOSITORY / "benchmarks" / "folder.py"),
            "--part",
            "record",
            str(folder),
        ]
    )
