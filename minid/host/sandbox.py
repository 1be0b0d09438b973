"""The sandbox of builds: running a command in its enclosure, under limits.

What a command sees is decided in `enclosure.py`. There is no way to run a build outside of it:
what the machine lacks is an error, which `minid doctor` explains.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from minid.errors import HostError
from minid.formats.digest import Digest
from minid.host import process
from minid.host.cgroup import make_memory_group
from minid.host.enclosure import SandboxSpec, bind_sources, sandbox_argv, sandbox_data
from minid.host.namespace import (
    JOBSERVER_FDS,
    STATUS_FD,
    BuildIdentity,
    LaunchJob,
    Namespace,
    start_launch,
)
from minid.host.watch import Watch
from minid.model import Environment

__all__ = [
    "BUILD_UID",
    "BuildIdentity",
    "SandboxResult",
    "SandboxSpec",
    "build_identity",
    "run_sandbox",
    "sandbox_argv",
]

# The user that builds run as when minid is root and config.toml names none. It has no name and
# owns nothing else: Debian gives out no number between 30000 and 59999 by itself.
BUILD_UID = 59999

_TICK_S = 0.2
_LOOK_SHARE = 20
_LOOK_MAX_S = 2.0
_DOCTOR = "minid doctor says what this machine lacks"
_HINTS = (
    ("disable-userns", "bubblewrap 0.8 or later is needed"),
    ("mount proc", "/proc is covered here: in a service, ProtectKernelTunables= must be off"),
    (
        "creating new namespace",
        "user namespaces are off: see sysctl kernel.unprivileged_userns_clone",
    ),
    ("No permissions to create", "user namespaces are off: see sysctl user.max_user_namespaces"),
)


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How a sandboxed command ended; every process of it is dead.

    `status` is its exit code, 128 + signal when a signal ended it, -9 when minid did. `ended_by`
    is empty, `cancelled`, or the limit that was passed: wall, silence, log, cpu, processes,
    memory, disk, inodes, file. `peak_bytes` is None where nobody measured it.
    """

    status: int
    ended_by: str
    seconds: float
    cpu_s: float
    peak_bytes: int | None


def build_identity(user: str) -> BuildIdentity:
    """Whom builds run as: `user` (`[build] user`: a name or number) or BUILD_UID when minid is
    root, nobody else when it is not. HostError for a user that is missing or is root.
    """
    if os.geteuid() != 0:
        return BuildIdentity()
    uid = gid = BUILD_UID
    if user:
        import pwd

        try:
            entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        except KeyError:
            raise HostError(f"build.user: expected a user of this machine, got {user!r}") from None
        uid, gid = entry.pw_uid, entry.pw_gid
    if not uid or not gid:
        raise HostError(f"build.user: expected an unprivileged user, got {user!r}")
    return BuildIdentity(uid, gid)


def run_sandbox(
    spec: SandboxSpec,
    identity: BuildIdentity,
    *,
    output: Callable[[bytes], None],
    cancel: threading.Event | None = None,
) -> SandboxResult:
    """Run the command to its end, or to the first limit, and return when no process of it is left.

    `output` gets standard output and error together, as they come, at most `limits.log_bytes`.
    HostError when the sandbox itself cannot start.
    """
    writable = tuple(source for source, _, is_writable in spec.binds if is_writable)
    name = f"{os.getpid()}-{threading.get_ident():x}-{time.monotonic_ns():x}"
    group = make_memory_group(name, spec.limits.memory_bytes)
    try:
        return _Run(spec, Watch(spec.limits, writable, group), output, cancel).finish(identity)
    finally:
        if group is not None:
            group.remove()


class _Run:
    """One run in progress: the child, its pipes, and what has been heard from them."""

    def __init__(
        self,
        spec: SandboxSpec,
        watch: Watch,
        output: Callable[[bytes], None],
        cancel: threading.Event | None,
    ) -> None:
        self.spec = spec
        self.watch = watch
        self.output = output
        self.cancel = cancel
        self.namespace: Namespace | None = None
        self.status_text = b""
        self.error_text = b""
        self.tail = b""

    def finish(self, identity: BuildIdentity) -> SandboxResult:
        """Start, follow and end it."""
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        error_read, error_write = os.pipe2(os.O_CLOEXEC)
        try:
            job = self._job(status_write)
            try:
                child = start_launch(job, identity, error_write)
            finally:
                os.close(status_write)
                os.close(error_write)
            with child:
                return self._result(child, self._follow(child, status_read, error_read))
        finally:
            os.close(status_read)
            os.close(error_read)
            if self.namespace is not None:
                self.namespace.close()

    def _job(self, status_fd: int) -> LaunchJob:
        spec, limits, group = self.spec, self.spec.limits, self.watch.group
        fds = [(status_fd, STATUS_FD), *zip(spec.jobserver or (), JOBSERVER_FDS, strict=False)]
        rlimits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_FSIZE": limits.file_bytes,
            # More than the watch allows, so that it sees the bomb and can name it.
            "RLIMIT_NPROC": limits.processes * 5 // 4 + 16,
            "RLIMIT_NOFILE": limits.open_files,
            "RLIMIT_CPU": limits.cpu_s,
        }
        if group is None:
            # A stop for what grows faster than the watch looks; the watch names the limit.
            rlimits["RLIMIT_DATA"] = limits.memory_bytes + (1 << 30)
        return LaunchJob(
            argv=tuple(sandbox_argv(spec)),
            fds=tuple(fds),
            data=tuple(text for _, _, text in sandbox_data(spec)),
            sources=tuple(str(source) for source in bind_sources(spec)),
            limits=tuple(rlimits.items()),
            cgroups=(group.procs,) if group is not None else (),
        )

    def _follow(self, child: subprocess.Popen[bytes], status_fd: int, error_fd: int) -> str:
        """Pass output on until the child ends or a limit is passed; the limit's name."""
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            for stream in (child.stdout.fileno(), status_fd, error_fd):
                os.set_blocking(stream, False)
            selector.register(child.stdout.fileno(), selectors.EVENT_READ, self._hear_output)
            selector.register(status_fd, selectors.EVENT_READ, self._hear_status)
            selector.register(error_fd, selectors.EVENT_READ, self._hear_error)
            try:
                reason = self._wait(child, selector)
            finally:
                self._kill_all(child)
            deadline = time.monotonic() + 5
            while selector.get_map() and time.monotonic() < deadline:
                self._hear(selector)
        return reason

    def _wait(self, child: subprocess.Popen[bytes], selector: selectors.BaseSelector) -> str:
        next_look = 0.0
        while child.poll() is None:
            if selector.get_map():
                self._hear(selector)
            else:
                time.sleep(_TICK_S / 10)
            if self.cancel is not None and self.cancel.is_set():
                return "cancelled"
            if self.watch.output_bytes > self.spec.limits.log_bytes:
                return "log"
            if (began := time.monotonic()) >= next_look:
                if reason := self.watch.exceeded(self.namespace):
                    return reason
                # Looking costs the build's own processors: a twentieth of one is enough.
                ended = time.monotonic()
                next_look = ended + max(_TICK_S, min(_LOOK_SHARE * (ended - began), _LOOK_MAX_S))
        return ""

    def _hear(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select(_TICK_S):
            chunk = os.read(key.fd, 1 << 16)
            if chunk:
                key.data(chunk)
            else:
                selector.unregister(key.fileobj)

    def _hear_output(self, chunk: bytes) -> None:
        room = max(0, self.spec.limits.log_bytes - self.watch.output_bytes)
        self.watch.note_output(len(chunk))
        self.tail = (self.tail + chunk)[-4096:]
        if room:
            self.output(chunk[:room])

    def _hear_status(self, chunk: bytes) -> None:
        self.status_text += chunk
        if self.namespace is None and (pid := self._status_value("child-pid")) is not None:
            self.namespace = Namespace(pid)

    def _hear_error(self, chunk: bytes) -> None:
        self.error_text += chunk

    def _status_value(self, name: str) -> int | None:
        """A number from the JSON lines that bwrap has written so far."""
        import json

        for line in self.status_text.splitlines():
            with suppress(ValueError):
                value = json.loads(line).get(name)
                if isinstance(value, int):
                    return value
        return None

    def _kill_all(self, child: subprocess.Popen[bytes]) -> None:
        """Kill the namespace's first process, which takes all others along, then bwrap."""
        if self.namespace is not None:
            self.watch.cpu_s = max(self.watch.cpu_s, self.namespace.usage().cpu_s)
            self.namespace.kill()
        process.kill_group(child)

    def _result(self, child: subprocess.Popen[bytes], reason: str) -> SandboxResult:
        status = self._status_value("exit-code")
        if not reason and status is None:
            raise self._start_failure(child)
        watch = self.watch
        if not reason and status:
            reason = self._late_reason(status)
        peak = watch.group.peak_bytes() if watch.group is not None else watch.peak_bytes or None
        return SandboxResult(
            status=-9 if status is None else status,
            ended_by=reason,
            seconds=time.monotonic() - watch.started,
            cpu_s=watch.cpu_s,
            peak_bytes=peak,
        )

    def _late_reason(self, status: int) -> str:
        """The limit behind a command that failed by itself: the kernel's signals, a full disk."""
        if self.watch.group is not None and self.watch.group.was_exceeded():
            return "memory"
        by_signal = {128 + 24: "cpu", 128 + 25: "file"}
        return by_signal.get(status) or self.watch.judge_disk()

    def _start_failure(self, child: subprocess.Popen[bytes]) -> HostError:
        got = (self.error_text or self.tail).decode(errors="replace").strip()
        return HostError(
            f"sandbox: expected bwrap to start, got {got or f'status {child.returncode}'!r}",
            hint=next((hint for word, hint in _HINTS if word in got), _DOCTOR),
        )


def host_environment(digest: Digest) -> Environment:
    """The machine's own file system as an environment."""
    return Environment(name="host", kind="host", root="/", digest=digest)
