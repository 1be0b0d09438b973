"""Pid 1 of a check's namespace: starts containers of one image and answers requests about them.

Requests and replies are single JSON messages on a SOCK_SEQPACKET socket, one request at a time:
start, status, exec, socket, libraries, audit; cached and remove are about the layer cache; command
and capture about one root file system that commands change, see `container_commands`. A
container is a bundle run by an OCI runtime that inherits this process's user and network
namespace. See `container_init` for what came before.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH102, PTH108, PTH112, PTH208

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from minid.errors import ImageError, MinidError
from minid.formats import runtime_spec
from minid.host import container_fs, layer_folder
from minid.host.container_commands import CommandSpace
from minid.host.container_process import Process, reap_orphans
from minid.host.file_audit import FileAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_MESSAGE = 1 << 20
MAX_LISTED = 400
_DEATH_S = 0.05


class _Exec:
    """A command that was asked for and has not been answered."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.argv: list[str] = request["argv"]
        self.contains = str(request.get("contains", "")).encode()
        self.deadline = time.monotonic() + float(request["timeout_s"])
        self.process: Process | None = None
        self.where = ""


class Server:
    """The containers of one check. `job` is what `minid.host.container` sent."""

    def __init__(self, control: socket.socket, job: dict[str, Any]) -> None:
        self._control, self._job = control, job
        self._work = f"{job['shelf']}/work"
        self._layers = [f"{job['shelf']}/layers/{layer['id']}" for layer in job["layers"]]
        self._main: Process | None = None
        self._exec: _Exec | None = None
        self._space: CommandSpace | None = None
        self._command: Process | None = None
        self._bundles = 0
        self._how = ""

    def run(self) -> None:
        """Serve until the other end is closed; then leave, which ends every process here."""
        while True:
            self._wait()
            if self._exec is not None:
                self._advance(self._exec)
            if self._command is not None and self._command.exit_code is not None:
                self._finish_command()

    def _wait(self) -> None:
        """Until a request, output or an end; requests are answered here."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        every = (self._main, self._exec and self._exec.process, self._command)
        processes = [process for process in every if process]
        for process in processes:
            process.register(poll)
        ready = dict(poll.poll(self._patience_ms()))
        for process in processes:
            process.update(ready)
        if self._control.fileno() in ready:
            message = self._control.recv(MAX_MESSAGE)
            if not message:
                os._exit(0)
            self._answer(json.loads(message))

    def _patience_ms(self) -> int | None:
        if self._exec is None:
            return None
        if self._exec.process is None:
            return 2
        return max(0, int((self._exec.deadline - time.monotonic()) * 1000) + 1)

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        return {
            "start": self._start,
            "status": self._status,
            "exec": self._begin_exec,
            "socket": self._socket,
            "libraries": self._libraries,
            "audit": self._audit,
            "cached": self._cached,
            "remove": self._remove,
            "command": self._start_command,
            "capture": self._capture,
        }

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            reply = self._handlers()[request["do"]](request)
        except MinidError as error:
            reply = {"error": error.message, "kind": type(error).__name__, "hint": error.hint}
        except OSError as error:
            where = error.filename or ""
            reply = {"error": f"container: {error.strerror}: {where}", "kind": "HostError"}
        if reply is not None:
            self._reply(reply)

    def _finish_command(self) -> None:
        assert self._command is not None
        self._reply({"exit_code": self._command.exit_code})
        self._command = None

    def _reply(self, value: dict[str, Any]) -> None:
        self._control.send(json.dumps(value).encode())

    def _start(self, _request: dict[str, Any]) -> dict[str, Any]:
        self._main = self._launch(())
        return {"root": self._how}

    def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        if self._main is None:
            return {"started": False, "alive": False, "exit_code": None, "tail": []}
        return {
            "started": self._main.started,
            "alive": self._main.exit_code is None,
            "exit_code": self._main.exit_code,
            "tail": self._main.capture.tail_lines(),
        }

    def _socket(self, _request: dict[str, Any]) -> None:
        """A TCP socket of the container's network, for the other end to connect."""
        with socket.socket() as sock:
            socket.send_fds(self._control, [b'{"fds": 1}'], [sock.fileno()])

    def _begin_exec(self, request: dict[str, Any]) -> None:
        self._exec = _Exec(request)
        self._advance(self._exec)

    def _advance(self, task: _Exec) -> None:
        """Start, watch and answer an exec: in the running container, or in one of its own."""
        try:
            reply = self._step(task)
        except (MinidError, OSError) as error:
            self._exec = None
            message = error.message if isinstance(error, MinidError) else f"container: {error}"
            self._reply({"error": message, "kind": type(error).__name__})
            return
        if reply is not None:
            self._exec = None
            self._reply(reply)

    def _step(self, task: _Exec) -> dict[str, Any] | None:
        if time.monotonic() >= task.deadline:
            if task.process is not None:
                task.process.kill()
            return self._exec_reply(task, None)
        if task.process is None:
            self._begin(task)
            return None
        code = task.process.exit_code
        if code is None:
            return None
        if task.where == "running" and code != 0 and self._main_dies():
            task.process = None  # the program ended under the command: its own container, then
            return None
        return self._exec_reply(task, code)

    def _begin(self, task: _Exec) -> None:
        main = self._main
        if main is None or main.is_over:
            task.process, task.where = self._launch(task.argv), "fresh"
        elif main.started:
            task.process, task.where = self._enter(main, task.argv), "running"

    def _main_dies(self) -> bool:
        """Whether the container's own program has ended, or does so in a moment."""
        if self._main is None:
            return True
        reap_orphans()
        self._main.settle(_DEATH_S)
        return self._main.is_over

    def _exec_reply(self, task: _Exec, code: int | None) -> dict[str, Any]:
        process = task.process
        found = process is not None and task.contains in process.capture.content()
        lines = process.capture.tail_lines() if process is not None else []
        if process is not None:
            process.close()
        return {"exit_code": code, "found": found, "tail": lines, "where": task.where}

    def _runtime(self, *arguments: str) -> list[str]:
        program = self._job["runtime"]
        # Cgroups are neither needed nor, in a user namespace, to be had.
        quiet = "--rootless=true" if program.endswith("runc") else "--cgroup-manager=disabled"
        return [program, "--root", f"{self._work}/runtime", quiet, *arguments]

    def _launch(self, argv: tuple[str, ...] | list[str], listener: str = "") -> Process:
        """A new container of the image, with a root file system of its own."""
        self._bundles += 1
        name = f"c{self._bundles}"
        bundle = f"{self._work}/{name}"
        os.mkdir(bundle)
        self._write_bundle(bundle, tuple(argv), listener)
        return self._run_bundle(bundle, name)

    def _run_bundle(self, bundle: str, name: str, output: int | None = None) -> Process:
        pid_file = f"{bundle}/pid"
        command = self._runtime(
            "run", "--no-new-keyring", "--bundle", bundle, "--pid-file", pid_file, name
        )
        return Process(command, pid_file, name, output)

    def _enter(self, main: Process, argv: list[str]) -> Process:
        """A command in the running container."""
        bundle = f"{self._work}/{main.name}"
        with open(f"{bundle}/config.json") as file:
            process = json.load(file)["process"] | {"args": argv}
        with open(f"{bundle}/process.json", "w") as file:
            json.dump(process, file)
        pid_file = f"{bundle}/exec.pid"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(pid_file)
        options = ("--process", f"{bundle}/process.json", "--pid-file", pid_file)
        return Process(self._runtime("exec", *options, main.name), pid_file, main.name)

    def _write_bundle(self, bundle: str, argv: tuple[str, ...], listener: str) -> None:
        config, hostname = self._job["config"], self._job["hostname"]
        self._how = container_fs.lay_root(self._layers, bundle, f"{bundle}/rootfs")
        root = os.open(f"{bundle}/rootfs", os.O_PATH | os.O_DIRECTORY)
        try:
            user = runtime_spec.resolve_user(
                str(config.get("User") or ""),
                container_fs.read_in_root(root, "etc/passwd"),
                container_fs.read_in_root(root, "etc/group"),
            )
        except ValueError as error:
            raise ImageError(f"etc/passwd: expected numbers as ids, got {error}") from error
        finally:
            os.close(root)
        binds = self._write_network_files(bundle, hostname)
        shows_sys = os.path.isdir("/sys/kernel")
        spec = runtime_spec.runtime_config(
            config, user, argv=argv, hostname=hostname, binds=binds, sys=shows_sys
        )
        if listener:
            spec = runtime_spec.with_listener(spec, listener, os.uname().machine)
        with open(f"{bundle}/config.json", "w") as file:
            json.dump(spec, file)

    def _write_network_files(self, bundle: str, hostname: str) -> list[tuple[str, str]]:
        """hosts, hostname and resolv.conf, which Docker puts over those of every image."""
        texts = {
            "hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost\n{self._job['address']}\t{hostname}\n",
            "hostname": f"{hostname}\n",
            "resolv.conf": "",
        }
        for name, text in texts.items():
            with open(f"{bundle}/{name}", "w") as file:
                file.write(text)
        return [(f"{bundle}/{name}", f"/etc/{name}") for name in texts]

    def _start_command(self, request: dict[str, Any]) -> None:
        """Begin a command in the root that all share; its output goes down a pipe at once, its exit
        code is a message of its own later."""
        if self._space is None:
            folder = f"{self._work}/commands"
            self._space = CommandSpace(self._layers, folder, copied=request["copied"])
        self._space.write_config(request["argv"], request["environ"], self._job["hostname"])
        self._bundles += 1
        with self._pipe() as incoming:
            name = f"c{self._bundles}"
            self._command = self._run_bundle(self._space.folder, name, incoming)

    def _capture(self, _request: dict[str, Any]) -> None:
        """What the commands changed, down a pipe."""
        assert self._space is not None
        changes = self._space.find_changes(self._job["scratch_bytes"])
        with self._pipe() as incoming:
            self._space.send(changes, incoming)

    def _send_descriptor(self, descriptor: int) -> None:
        """Give a descriptor away."""
        socket.send_fds(self._control, [b'{"fds": 1}'], [descriptor])
        os.close(descriptor)

    @contextlib.contextmanager
    def _pipe(self) -> Iterator[int]:
        """The writing end of a pipe whose reading end the other side gets."""
        outgoing, incoming = os.pipe()
        self._send_descriptor(outgoing)
        try:
            yield incoming
        finally:
            os.close(incoming)

    def _libraries(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"libraries": sorted(mapped_files())[:MAX_LISTED]}

    def _cached(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"layers": layer_folder.list_layers(f"{self._job['shelf']}/layers")}

    def _remove(self, request: dict[str, Any]) -> dict[str, Any]:
        cache = f"{self._job['shelf']}/layers"
        return {"removed": layer_folder.remove_layer(cache, request["layer"])}

    def _audit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start the program once more, listening to its file calls; what it missed."""
        deadline = time.monotonic() + float(request["seconds"])
        if self._main is not None:
            self._main.kill()
            self._main.settle(0.3)
        with FileAudit(f"{self._work}/audit") as audit:
            process = self._launch(request.get("argv") or (), listener=audit.path)
            while time.monotonic() < deadline and process.exit_code is None and not audit.quiet:
                poll = select.poll()
                process.register(poll)
                audit.register(poll)
                ready = dict(poll.poll(50))
                process.update(ready)
                audit.update(ready)
            process.kill()
        return {"missed": audit.missed()[:MAX_LISTED]}


def mapped_files() -> set[str]:
    """Files that processes in containers have mapped as code."""
    found: set[str] = set()
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        with contextlib.suppress(OSError):
            if not _in_container(pid):
                continue
            with open(f"/proc/{pid}/maps", errors="replace") as file:
                rows = (line.rstrip("\n").split(maxsplit=5) for line in file)
                found |= {r[5] for r in rows if len(r) == 6 and "x" in r[1] and r[5][0] == "/"}
    return found


def _in_container(pid: str) -> bool:
    """Whether the process is in a process namespace below this one."""
    with open(f"/proc/{pid}/status", errors="replace") as file:
        line = next((line for line in file if line.startswith("NSpid:")), "")
    return len(line.split()) > 2
