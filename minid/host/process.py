"""The one door through which minid starts other programs.

Argument lists only, a clean environment, no inherited descriptors, standard input shut, a session
of its own. What a program is for belongs in the module that calls it.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from minid.errors import HostError
from minid.host.capabilities import capabilities_withheld

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PACKAGES = {
    "bwrap": "bubblewrap",
    "newuidmap": "uidmap",
    "mount": "mount",
    "git": "git",
    "gpgv": "gpgv",
    "ssh-keygen": "openssh-client",
    "strip": "binutils",
}
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended. `status` is its exit code, or minus the signal that killed it."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


def search_path() -> str:
    """PATH as minid was given it, with the system's own folders behind: users lack some."""
    folders = os.environ.get("PATH", "").split(":") + SYSTEM_PATH.split(":")
    return ":".join(dict.fromkeys(folder for folder in folders if folder.startswith("/")))


def find_program(name: str) -> Path | None:
    """The program of that name on PATH, or None."""
    found = shutil.which(name, path=search_path())
    return Path(found) if found else None


def need_program(name: str) -> Path:
    """The program of that name; HostError with the command that installs it when it is missing."""
    found = find_program(name)
    if found is None:
        package = _PACKAGES.get(name, name)
        raise HostError(f"{name}: expected on PATH, got nothing", hint=f"apt-get install {package}")
    return found


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    input_bytes: bytes | None = None,
    stdin: int = subprocess.DEVNULL,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    max_output: int = 16 << 20,
    with_capabilities: bool = False,
) -> Finished:
    """Run a program to its end and return what it wrote, whatever its status is.

    Its input is `input_bytes`, or what the descriptor `stdin` reads. `environ` replaces the clean
    environment (PATH and LC_ALL=C.UTF-8). HostError when the program
    is missing, when `timeout_s` passes, or when it writes more than `max_output` bytes: its whole
    process group is killed then.
    """
    child = start(
        argv,
        stdin=subprocess.PIPE if input_bytes is not None else stdin,
        stderr=subprocess.PIPE,
        environ=environ,
        cwd=cwd,
        pass_fds=pass_fds,
        with_capabilities=with_capabilities,
    )
    try:
        stdout, stderr = _exchange(child, input_bytes or b"", timeout_s, max_output)
    except BaseException:
        kill_group(child)
        raise
    finally:
        _close_pipes(child)
    return Finished(tuple(argv), child.returncode, stdout, stderr)


def start(
    argv: Sequence[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.STDOUT,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    with_capabilities: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program for streaming; the caller reads, waits and, to stop it, calls `kill_group`.

    Standard error goes where standard output goes unless `stderr` says otherwise. Capabilities that
    a service gave minid (see `capabilities`) are passed on only `with_capabilities`: newuidmap
    needs them, and who starts it. HostError when the program is missing or cannot be executed.
    """
    program = argv[0] if "/" in argv[0] else str(need_program(argv[0]))
    try:
        with nullcontext() if with_capabilities else capabilities_withheld():
            return subprocess.Popen(
                [program, *argv[1:]],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(environ) if environ is not None else clean_environ(),
                cwd=cwd,
                pass_fds=tuple(pass_fds),
                close_fds=True,
                start_new_session=True,
                bufsize=0,
            )
    except OSError as error:
        raise HostError(f"{argv[0]}: expected a program to start, got {error.strerror}") from error


def clean_environ() -> dict[str, str]:
    """The environment programs get unless their caller gives another."""
    return {"PATH": search_path(), "LC_ALL": "C.UTF-8"}


def kill_group(child: subprocess.Popen[bytes], grace_s: float = 0.0) -> None:
    """End the child's whole process group, SIGTERM and `grace_s` seconds first if any; reap it."""
    if grace_s and child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)
    # The group may outlive its leader, and its number is not reused while a member lives.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _exchange(
    child: subprocess.Popen[bytes], pending: bytes, timeout_s: float, max_output: int
) -> tuple[bytes, bytes]:
    """Feed and drain the child until it ends; (stdout, stderr)."""
    deadline = time.monotonic() + timeout_s
    outputs = {child.stdout: bytearray(), child.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select(_left(child, deadline, timeout_s)):
                if key.fileobj is child.stdin:
                    pending = _feed(child, pending, selector)
                    continue
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                outputs[key.fileobj].extend(chunk)  # type: ignore[index]
                if sum(map(len, outputs.values())) > max_output:
                    raise HostError(
                        f"{_name(child)}: expected at most {max_output} bytes of output, got more"
                    )
    try:
        child.wait(_left(child, deadline, timeout_s))
    except subprocess.TimeoutExpired:
        raise _late(child, timeout_s) from None
    return bytes(outputs[child.stdout]), bytes(outputs[child.stderr])


def _feed(
    child: subprocess.Popen[bytes], pending: bytes, selector: selectors.BaseSelector
) -> bytes:
    """Write what the child takes; close its input at the end. Returns what is left."""
    assert child.stdin is not None
    try:
        pending = pending[os.write(child.stdin.fileno(), pending[:_CHUNK]) :] if pending else b""
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        pending = b""  # the program did not want it all: its status tells whether that is bad
    if not pending:
        selector.unregister(child.stdin)
        child.stdin.close()
    return pending


def _left(child: subprocess.Popen[bytes], deadline: float, timeout_s: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _late(child, timeout_s)
    return left


def _late(child: subprocess.Popen[bytes], timeout_s: float) -> HostError:
    return HostError(f"{_name(child)}: expected to end within {timeout_s:g} s, got no end")


def _name(child: subprocess.Popen[bytes]) -> str:
    return Path(child.args[0]).name  # type: ignore[index,arg-type]


def _close_pipes(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None and not stream.closed:
            stream.close()
