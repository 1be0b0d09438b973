"""A process namespace from outside: starting one through `launch.py`, counting it, ending it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from minid.errors import HostError
from minid.host import process
from minid.host.process_table import ProcessRow, descendants, process_table

# Descriptor numbers that bwrap's command line names. They are fixed so that the line is a pure
# value; launch.py moves the real descriptors there.
STATUS_FD = 3
FILTER_FD = 4
JOBSERVER_FDS = (8, 9)
DATA_FD = 10

_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class BuildIdentity:
    """Whom untrusted programs run as: the user to drop to, or None where minid is not root."""

    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class LaunchJob:
    """What `launch.py` has to do before it becomes `argv`.

    `fds` pairs a descriptor of this process with its number there. `data` are small texts that
    appear as descriptors from DATA_FD upwards. `sources` are host paths among bwrap's binds, which
    are moved in front of the build user where that user cannot reach them. `limits` are named as
    in the resource module. `cgroups` are cgroup.procs files to join. A `trusted` program keeps the
    rights that minid has, and mounts where nobody else sees it.
    """

    argv: tuple[str, ...]
    fds: tuple[tuple[int, int], ...] = ()
    data: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    cgroups: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    trusted: bool = False


def start_launch(
    job: LaunchJob,
    identity: BuildIdentity,
    error_fd: int,
    *,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.STDOUT,
) -> subprocess.Popen[bytes]:
    """Start the job with its output on a pipe. Must be waited for in the thread that calls this.

    A failure before `argv` runs is written to `error_fd`; nothing means it runs.
    """
    if os.geteuid() == 0 and not identity.uid and not job.trusted:
        raise HostError("sandbox: expected a build user to drop to, got root")
    value = {
        "argv": [str(process.need_program(job.argv[0])), *job.argv[1:]],
        "parent": os.getpid(),
        "uid": identity.uid,
        "gid": identity.gid,
        "fds": [list(pair) for pair in job.fds],
        "data": list(job.data),
        "data_fd": DATA_FD,
        "filter_fd": FILTER_FD,
        "sources": list(job.sources),
        "limits": dict(job.limits),
        "cgroups": list(job.cgroups),
        "environ": dict(job.environ),
        "trusted": job.trusted,
        "error_fd": error_fd,
    }
    # Not as an argument: one argument holds 128 KiB at most, and everybody can read it.
    with open(os.memfd_create("job"), "w+b") as request:
        request.write(json.dumps(value).encode())
        request.seek(0)
        argv = [sys.executable, "-I", "-S", "-B", str(_LAUNCH), str(request.fileno())]
        fds = [*(source for source, _ in job.fds), error_fd, request.fileno()]
        return process.start(
            argv, stdout=stdout, stderr=stderr, pass_fds=fds, with_capabilities=job.trusted
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """What the living processes of a namespace use. `resident_bytes` counts shared pages twice."""

    resident_bytes: int = 0
    cpu_s: float = 0.0
    processes: int = 0


@dataclass(slots=True)
class Namespace:
    """A process namespace known by its first process: when that dies, the kernel kills all."""

    pid: int
    _pidfd: int = field(default=-1)

    def __post_init__(self) -> None:
        with suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(self.pid)

    def kill(self, wait_s: float = 10.0) -> None:
        """Kill every process in it and return when all are gone; HostError after `wait_s`."""
        if self._pidfd < 0:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if not select.select([self._pidfd], [], [], wait_s)[0]:
            raise HostError(f"sandbox: expected process {self.pid} to die, got no end")

    def close(self) -> None:
        """Forget it."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def usage(self) -> Usage:
        """What its processes use now; CPU time includes those that have ended."""
        rows = descendants(process_table(), self.pid)
        return Usage(
            resident_bytes=sum(row.resident_bytes for row in rows),
            cpu_s=sum(row.cpu_s for row in rows),
            processes=len(rows),
        )

    def proportional_bytes(self) -> int:
        """What they keep in memory with shared pages counted once. Slow: the kernel walks pages."""
        return sum(map(_proportional_bytes, descendants(process_table(), self.pid)))


def _proportional_bytes(row: ProcessRow) -> int:
    """The process's part of what it shares; 0 if gone, all it has where nobody tells."""
    try:
        text = Path(f"/proc/{row.pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except OSError:
        return row.resident_bytes
    lines = (line for line in text.splitlines() if line.startswith("Pss:"))
    return sum(int(line.split()[1]) << 10 for line in lines)
