"""Pid 1 of a check's namespace: starts containers of one image and answers requests about them.

Requests and replies are single JSON messages on a SOCK_SEQPACKET socket, one request at a time:
start, stop, again, status, log, processes, user, exec, socket, libraries, audit; cached and remove
are about the layer cache; command and capture about one root file system that commands change, see
`container_commands`. A container is a bundle run by an OCI runtime that inherits this process's
user and network namespace. See `container_init` for what came before.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH102, PTH108

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from minid.errors import HostError, ImageError, MinidError
from minid.formats import runtime_spec
from minid.host import container_bundle, layer_folder
from minid.host.container_commands import CommandSpace
from minid.host.container_process import Capture, Process, Streams, reap_orphans
from minid.host.container_view import contained_processes, mapped_files
from minid.host.control_message import receive_message, send_message
from minid.host.file_audit import FileAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_LISTED = 400
_DEATH_S = 0.05
_END_S = 5.0


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
        self._bundle = ""
        self._settings: dict[str, Any] = {}
        self._streams = Streams()
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
            message = receive_message(self._control)
            if message is None:
                os._exit(0)
            self._answer(message)

    def _patience_ms(self) -> int | None:
        if self._exec is None:
            return None
        if self._exec.process is None:
            return 2
        return max(0, int((self._exec.deadline - time.monotonic()) * 1000) + 1)

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        return {
            "start": self._start,
            "stop": self._stop,
            "again": self._again,
            "log": self._log,
            "processes": self._processes,
            "user": self._user,
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
        except (MinidError, OSError) as error:
            reply = _tell(error)
        if reply is not None:
            self._reply(reply)

    def _finish_command(self) -> None:
        assert self._command is not None
        self._reply({"exit_code": self._command.exit_code})
        self._command = None

    def _reply(self, value: dict[str, Any]) -> None:
        send_message(self._control, value)

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        """A fresh container in the place of the one there was."""
        self._end_main()
        self._settings = request.get("settings", self._settings)
        self._streams = Streams()
        self._main = self._launch((), output=self._streams)
        self._bundle = f"{self._work}/{self._main.name}"
        return {"root": self._how}

    def _end_main(self) -> None:
        """Kill the container and wait until its ports are free."""
        if self._main is None:
            return
        self._main.kill()
        deadline = time.monotonic() + _END_S
        while self._main.exit_code is None and time.monotonic() < deadline:
            reap_orphans()
            self._main.settle(0.02)
        self._main.close()
        self._main = None

    def _stop(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Send the image's stop signal; `status` tells of the end."""
        number = runtime_spec.stop_signal(self._job["config"])
        if self._main is not None and self._main.started and not self._main.is_over:
            self._main.kill(number)
        return {}

    def _again(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Start the program that has ended anew, on the files it left."""
        if self._main is None or self._main.exit_code is None:
            raise HostError("container: expected one that has ended, got one that runs")
        self._main.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._bundle}/pid")
        self._bundles += 1
        self._main = self._run_bundle(self._bundle, f"c{self._bundles}", self._streams)
        return {}

    def _log(self, request: dict[str, Any]) -> dict[str, Any]:
        """Look into what the container's program printed; `stream` empty means either."""
        capture: Capture = getattr(self._streams, request["stream"] or "both")
        wanted = str(request["contains"]).encode()
        return {"found": wanted in capture.content(), "tail": capture.tail_lines()}

    def _processes(self, _request: dict[str, Any]) -> dict[str, Any]:
        if self._main is None:
            return {"processes": []}
        with self._open_root() as root:
            users = container_bundle.list_users(root)
        rows = contained_processes()[:MAX_LISTED]
        return {"processes": [row | {"user": users.get(row["uid"], "")} for row in rows]}

    def _user(self, request: dict[str, Any]) -> dict[str, Any]:
        """A user's number by the container's own passwd, or nothing."""
        with contextlib.suppress(ImageError):
            if self._main is not None:
                with self._open_root() as root:
                    return {"uid": container_bundle.find_user(root, request["user"])["uid"]}
        return {"uid": None}

    @contextlib.contextmanager
    def _open_root(self) -> Iterator[int]:
        """The running container's root folder."""
        root = os.open(f"{self._bundle}/rootfs", os.O_PATH | os.O_DIRECTORY)
        try:
            yield root
        finally:
            os.close(root)

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
            self._reply(_tell(error))
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

    def _launch(
        self,
        argv: tuple[str, ...] | list[str],
        listener: str = "",
        output: Streams | None = None,
    ) -> Process:
        """A new container of the image, with a root file system of its own."""
        self._bundles += 1
        name = f"c{self._bundles}"
        bundle = f"{self._work}/{name}"
        os.mkdir(bundle)
        self._write_bundle(bundle, tuple(argv), listener)
        return self._run_bundle(bundle, name, output)

    def _run_bundle(self, bundle: str, name: str, output: int | Streams | None = None) -> Process:
        pid_file = f"{bundle}/pid"
        command = self._runtime(
            "run", "--no-new-keyring", "--bundle", bundle, "--pid-file", pid_file, name
        )
        return Process(command, pid_file, name, output)

    def _enter(self, main: Process, argv: list[str]) -> Process:
        """A command in the running container."""
        bundle = self._bundle
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
        self._how = container_bundle.write_bundle(
            bundle,
            self._job,
            self._layers,
            argv=argv,
            settings=self._settings,
            listener=listener,
        )

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
        self._end_main()
        with FileAudit(f"{self._work}/audit") as audit:
            process = self._launch(request.get("argv") or (), listener=audit.path)
            audit.watch(process, deadline)
            process.kill()
        return {"missed": audit.missed()[:MAX_LISTED]}


def _tell(error: MinidError | OSError) -> dict[str, Any]:
    """An error as a reply."""
    if isinstance(error, MinidError):
        return {"error": error.message, "kind": type(error).__name__, "hint": error.hint}
    if error.errno == errno.ENOSPC:  # the scratch space is the image's and ours
        full = "container: expected room for a command, got a full file system"
        return {"error": full, "kind": "ImageError", "hint": "the image's programs filled it"}
    return {"error": f"container: {error.strerror}: {error.filename or ''}", "kind": "HostError"}
