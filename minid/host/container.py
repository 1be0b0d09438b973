"""Running a stored image without an engine: a container in namespaces of its own, for a check.

This is the side that lives in minid: it starts the child program (`container_init`), writes its id
map and asks it over a socket. All mounts and processes are in the child's namespaces and nothing is
written outside the layer cache, so when the child ends, however it ends, nothing is left.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Self

from minid import errors
from minid.errors import CheckError, HostError
from minid.formats.digest import Digest
from minid.host import cgroup, idmap, process
from minid.host.container_settings import (
    LogView,
    SeenProcess,
    StartSettings,
    process_names,
)
from minid.host.control_message import receive_with_descriptors, send_message

ADDRESS = "172.17.0.2"  # what Docker gives the first container; nothing else is on this network
HOSTNAME = "minid"
SCRATCH_BYTES = 2 << 30
MEMORY_BYTES = 4 << 30  # of all processes and the scratch space together, where cgroups can be had
LIMITS = {"RLIMIT_NPROC": 4096, "RLIMIT_DATA": 8 << 30, "RLIMIT_CORE": 0}
START_TIMEOUT_S = 120.0
_REPLY_TIMEOUT_S = 10.0
_SLICE_S = 0.05
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from minid.host.container_init import main; main(int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A layer as an uncompressed tar file whose digest is `diff_id`."""

    diff_id: Digest
    tar: Path


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What to run: the `config` part of the image's configuration, and its layers, lowest first."""

    config: Mapping[str, Any]
    layers: tuple[LayerFile, ...]


@dataclass(frozen=True, slots=True)
class ProgramState:
    """The image's own program: `exit_code` is None while it runs; `tail` is its last output.

    `started` says whether it was executed at all, and not only asked for.
    """

    started: bool
    alive: bool
    exit_code: int | None
    tail: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """A command that ran: `exit_code` None says its time was up. `where`: running or fresh."""

    exit_code: int | None
    found: bool
    tail: tuple[str, ...]
    where: str


def find_runtime() -> Path:
    """The OCI runtime: runc, else crun (which refuses hybrid cgroup hierarchies)."""
    found = process.find_program("runc") or process.find_program("crun")
    if found is None:
        raise HostError("runc: expected on PATH, got nothing", hint="apt-get install runc")
    return found


def check_machine() -> None:
    """HostError with the mending command unless containers can be run, as far as files tell."""
    find_runtime()
    idmap.plan_mapping()


def cached_layers(cache: Path) -> frozenset[Digest]:
    """The layers that are unpacked in the cache, as far as they are this user's."""
    try:
        names = os.listdir(cache / idmap.plan_mapping().name)  # noqa: PTH208 (only names)
    except FileNotFoundError:
        return frozenset()
    return frozenset(Digest(name) for name in names if not name.startswith("."))


def prune_layers(cache: Path, keep: Collection[Digest]) -> int:
    """Remove unpacked layers that are not in `keep` and that no check uses; how many went.

    In a namespace: their files belong to ids that an ordinary user cannot delete from outside.
    """
    if not cache.is_dir():
        return 0
    with Container(ContainerSpec({}, ()), cache) as container:
        return container.remove_layers(keep)


class Container:
    """An image in a place where it can be started and asked. Use as a context manager.

    `address` is where its services are reached, from sockets of `open_socket`.
    Entering unpacks layers that are not in `cache` yet. Every method raises HostError when the
    machine refuses, ImageError or UnpackError when the image is at fault, and CheckError when
    `cancel` is set meanwhile.
    """

    address = ADDRESS

    def __init__(self, spec: ContainerSpec, cache: Path, cancel: Event | None = None) -> None:
        self._spec, self._cache, self._cancel = spec, cache, cancel
        self._control: socket.socket | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._group: cgroup.MemoryGroup | None = None

    def __enter__(self) -> Self:
        mapping = idmap.plan_mapping()
        job = self._job(mapping)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._child = _start_child(theirs, self._passed())
            self._group = _limit_memory(self._child.pid)
            self._send(job)
            self._settle(self._child.pid, mapping)
        except BaseException:
            self.close()
            raise
        return self

    def _settle(self, pid: int, mapping: idmap.IdMapping) -> None:
        """See the child through to where it takes requests."""
        self._receive(START_TIMEOUT_S)  # it wants its map
        idmap.write_mapping(pid, mapping)
        self._send({})
        self._receive(START_TIMEOUT_S)  # it is ready

    def _passed(self) -> tuple[int, ...]:
        """Descriptors that the child shall have besides."""
        return ()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything and return when it is gone."""
        if self._control is not None:
            self._control.close()  # the child's inner half sees this and takes its namespace along
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(2)
            process.kill_group(self._child)
        if self._group is not None:
            self._group.remove()

    def start(self, settings: StartSettings | None = None) -> None:
        """Start the image's own program in a fresh container, which takes the place of the one
        there was; it may end at once, see `state`. `settings` None: those of the last start."""
        more = {} if settings is None else {"settings": settings.as_json()}
        self._ask("start", START_TIMEOUT_S, **more)

    def stop(self) -> None:
        """Send the program the image's stop signal; `state` tells of its end."""
        self._ask("stop")

    def start_again(self) -> None:
        """Start the program, which has ended, anew in its container."""
        self._ask("again")

    def read_log(self, stream: str, contains: str) -> LogView:
        """Look for a text in what the program printed since `start`, on `stdout`, `stderr` or ("")
        either."""
        reply = self._ask("log", stream=stream, contains=contains)
        return LogView(reply["found"], tuple(reply["tail"]))

    def processes(self) -> tuple[SeenProcess, ...]:
        """What runs in the container."""
        rows = self._ask("processes")["processes"]
        return tuple(
            SeenProcess(r["pid"], process_names(r["comm"], r["first"]), r["uid"], r["user"])
            for r in rows
        )

    def find_uid(self, user: str) -> int | None:
        """A user's number (a name, or a number itself) by the container's passwd."""
        found = self._ask("user", user=user)["uid"]
        return None if found is None else int(found)

    def state(self) -> ProgramState:
        """Whether the program runs, and what it said last."""
        reply = self._ask("status")
        return ProgramState(
            reply["started"], reply["alive"], reply["exit_code"], tuple(reply["tail"])
        )

    def execute(self, argv: tuple[str, ...], *, contains: str, timeout_s: float) -> ExecResult:
        """Run a command in the running container, or where that has ended, in one of its own.

        `contains` is searched in stdout and stderr together.
        """
        reply = self._ask(
            "exec",
            wait_s=timeout_s + _REPLY_TIMEOUT_S,
            argv=list(argv),
            contains=contains,
            timeout_s=timeout_s,
        )
        return ExecResult(reply["exit_code"], reply["found"], tuple(reply["tail"]), reply["where"])

    def open_socket(self) -> socket.socket:
        """A TCP socket in the container's network; connect it to `ADDRESS`."""
        self._send({"do": "socket"})
        _, descriptors = self._receive_fds(_REPLY_TIMEOUT_S)
        return socket.socket(fileno=descriptors[0])

    def libraries(self) -> tuple[str, ...]:
        """Files that the container's processes have mapped as code."""
        return tuple(self._ask("libraries")["libraries"])

    def audit(self, seconds: float, argv: tuple[str, ...] = ()) -> tuple[str, ...]:
        """End the program, start it anew for up to `seconds`; the paths that it did not find."""
        reply = self._ask("audit", wait_s=seconds + _REPLY_TIMEOUT_S, seconds=seconds, argv=argv)
        return tuple(reply["missed"])

    def remove_layers(self, keep: Collection[Digest]) -> int:
        """Remove layers from the cache that are not in `keep` and not in use; how many went."""
        kept = {digest.hex for digest in keep}
        names = [name for name in self._ask("cached")["layers"] if name not in kept]
        return sum(self._ask("remove", wait_s=START_TIMEOUT_S, layer=n)["removed"] for n in names)

    def _job(self, mapping: idmap.IdMapping) -> dict[str, Any]:
        cache = self._cache / mapping.name
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if mapping.direct:
            os.chown(cache, *mapping.root)
        return {
            "config": dict(self._spec.config),
            "layers": [
                {"id": layer.diff_id.hex, "tar": str(layer.tar.absolute())}
                for layer in self._spec.layers
            ],
            "cache": str(cache.absolute()),
            "runtime": str(find_runtime()),
            "root": mapping.direct,
            "hostname": HOSTNAME,
            "address": ADDRESS,
            "scratch_bytes": SCRATCH_BYTES,
            "limits": LIMITS,
        }

    def _ask(self, what: str, wait_s: float = _REPLY_TIMEOUT_S, **more: object) -> dict[str, Any]:
        self._send({"do": what, **more})
        return self._receive(wait_s)

    def _send(self, value: Mapping[str, Any]) -> None:
        assert self._control is not None
        try:
            send_message(self._control, value)
        except OSError as error:
            raise self._gone() from error

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        return self._receive_fds(timeout_s)[0]

    def _receive_fds(self, timeout_s: float) -> tuple[dict[str, Any], list[int]]:
        assert self._control is not None
        self._control.settimeout(_SLICE_S)
        deadline = time.monotonic() + timeout_s
        while True:
            if self._cancel is not None and self._cancel.is_set():
                raise CheckError("check: expected to end, got cancelled")
            try:
                message, descriptors = receive_with_descriptors(self._control)
                break
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise HostError(
                        f"container: expected an answer within {timeout_s:g} s, got none"
                    ) from None
            except OSError as error:
                raise self._gone() from error
        if message is None:
            raise self._gone()
        return _checked(message), descriptors

    def _gone(self) -> HostError:
        """What is known about a child that ended without a word."""
        said = b""
        if self._child is not None and self._child.stdout is not None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(1)
                said = self._child.stdout.read()
        lines = said.decode(errors="replace").splitlines()[-20:]
        return HostError("container: expected its keeper to answer, got its end", log_tail=lines)


def _start_child(theirs: socket.socket, passed: Sequence[int]) -> subprocess.Popen[bytes]:
    """The keeper, without site-packages: it needs the standard library and minid's own files."""
    package = str(Path(__file__).parents[2])
    argv = [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, package, str(theirs.fileno())]
    return process.start(argv, pass_fds=[theirs.fileno(), *passed])


def _limit_memory(pid: int) -> cgroup.MemoryGroup | None:
    """Put the keeper, and with it all that it will start, into a cgroup, where there may be one."""
    group = cgroup.make_memory_group(f"check-{pid}", MEMORY_BYTES)
    if group is None:
        return None
    with suppress(OSError):
        Path(group.procs).write_text(str(pid))
    for other in group.folder.parent.glob("check-*"):  # of a minid that was killed
        if not Path("/proc", other.name.removeprefix("check-")).exists():
            with suppress(OSError):
                other.rmdir()
    return group


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    if "error" in reply:
        kind = getattr(errors, str(reply.get("kind", "")), HostError)
        raise kind(reply["error"], hint=reply.get("hint", ""))
    return reply
