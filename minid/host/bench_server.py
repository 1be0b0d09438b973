"""Pid 1 of a workbench's namespace: a root file system that stays, and what people do in it.

The namespace's side of `minid.host.bench_container`. The place of the workbench is bound at
`layers`: the image as one layer folder, `.upper` and `.work` of an overlay, or `.root`, a copy.
Whatever looks into the root or changes it here does so in a child that has it as its root
directory: programs in there that exchange folders for links at that moment lead it nowhere.
"""

# Not pathlib, as in container_server.
# ruff: noqa: PTH102, PTH104, PTH112, PTH208

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minid.errors import HostError, ImageError, MinidError
from minid.formats import runtime_spec
from minid.host import bench_root, container_fs
from minid.host.bench_tools import TOOLS
from minid.host.container_bundle import write_network_files
from minid.host.container_process import Process, reap_orphans
from minid.host.container_server import Server
from minid.host.files import remove_tree

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

_NETWORK_FILES = ("hosts", "hostname", "resolv.conf")
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as a shell answers
_UMASK = 0o022
_STARTING_MS = 20


class BenchServer(Server):
    """The one root of a workbench and the commands in it. `job["bench"]` has `stdio` (three
    descriptors), `tools` (whether there are some), `places` for what the shelf shows of them."""

    def __init__(self, control: socket.socket, job: dict[str, Any]) -> None:
        super().__init__(control, job)
        self._options: dict[str, Any] = job["bench"]
        self._place = f"{job['shelf']}/layers"
        self._root = ""
        self._tools = f"{self._place}/.tools" if self._options["tools"] else ""
        self._name = f"{self._work}/bench-{os.getpid()}"
        self._killed_by = 0
        self._signals: list[int] = []  # for a command whose process is not known yet
        for one in (*self._options["stdio"], self._options["lock"]):
            os.set_inheritable(one, False)

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        return {
            "lay": self._lay,
            "enter": self._enter_root,
            "signal": self._signal,
            "scan": self._scan,
            "read": self._read,
            "restore": self._restore,
            "clear": self._clear,
        }

    # the root

    def _lay(self, request: dict[str, Any]) -> dict[str, Any]:
        """Show the root, made first where it is new; says how: overlay or copy."""
        mounted, copy = f"{self._work}/root", f"{self._place}/.root"
        if request["joined"]:
            self._root = copy if os.path.isdir(copy) else mounted
        elif os.path.isdir(copy):
            self._root = copy
        else:
            self._root = self._lay_new(mounted, copy, copied=request["copied"])
        return {"how": "copy" if self._root == copy else "overlay"}

    def _lay_new(self, mounted: str, copy: str, *, copied: bool) -> str:
        upper, lower = f"{self._place}/.upper", self._layers[0]
        fresh = not os.path.isdir(upper) or not os.listdir(upper)
        if not (copied and fresh):
            try:
                self._mount_overlay(mounted, upper, lower)
                return mounted
            except OSError as error:
                if not fresh:
                    raise HostError(
                        f"overlay: expected to be mountable as it was before, got {error.strerror}",
                        hint="what was done in the workbench lies there; mend the machine, "
                        "or --discard it",
                    ) from error
        remove_tree(Path(f"{self._place}/.new"))
        os.mkdir(f"{self._place}/.new")
        container_fs.copy_tree(lower, f"{self._place}/.new", linked=False)
        os.rename(f"{self._place}/.new", copy)
        return copy

    def _mount_overlay(self, mounted: str, upper: str, lower: str) -> None:
        scratch = f"{self._place}/.work"
        for folder in (upper, scratch, mounted):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
        if not os.listdir(upper):  # the root folder takes its looks from there
            container_fs.copy_looks(lower, upper)
        # Without user xattrs overlay could not make a folder anew that the image has.
        os.setxattr(upper, "user.minid", b"")
        os.removexattr(upper, "user.minid")
        options = f"lowerdir={lower},upperdir={upper},workdir={scratch},userxattr"
        container_fs.mount("overlay", mounted, "overlay", 0, options)

    def _clear(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Delete all that the workbench holds; nobody may be in it."""
        for name in os.listdir(self._place):
            remove_tree(Path(f"{self._place}/{name}"))
        return {}

    # commands

    def _enter_root(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Begin a command; a message of its own tells its exit code later. With a terminal its
        controlling end goes to the other side at once."""
        self._bundles += 1
        self._killed_by = 0
        bundle = f"{self._name}-{self._bundles}"
        os.mkdir(bundle)
        argv, status = self._find_program(request)
        if status:
            return {"exit_code": status, "missing": argv[0]}
        self._write_config(bundle, argv, request)
        name = os.path.basename(bundle)  # noqa: PTH119
        pid_file = f"{bundle}/pid"
        command = self._runtime(
            "run", "--no-new-keyring", "--bundle", bundle, "--pid-file", pid_file, name
        )
        if request["terminal"]:
            master, terminal = self._open_terminal()
            self._command = Process(command, pid_file, name, terminal=terminal)
            self._send_descriptor(master)
        else:
            self._command = Process(command, pid_file, name, stdio=self._options["stdio"])
        return None

    def _open_terminal(self) -> tuple[int, str]:
        """The controlling end of a new terminal, and the path of its other end: of a devpts of our
        own, whatever the machine shows of its."""
        folder = f"{self._work}/pts"
        if not os.path.isdir(folder):
            os.mkdir(folder)
            container_fs.mount("devpts", folder, "devpts", 0, "newinstance,ptmxmode=0666,mode=620")
        master = os.open(f"{folder}/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        number = bench_root.unlock_terminal(master)
        return master, f"{folder}/{number}"

    def _find_program(self, request: dict[str, Any]) -> tuple[list[str], int]:
        """The command as words, and 127 or 126 where there is no such program."""
        argv: list[str] = list(request["argv"]) or self._find_shell()
        if argv[0].startswith(TOOLS):
            return argv, 0
        environ = dict(word.partition("=")[::2] for word in request["environ"])
        folders = [""] if "/" in argv[0] else environ.get("PATH", "").split(":")
        root, status = os.open(self._root, os.O_PATH | os.O_DIRECTORY), _NOT_FOUND
        try:
            for folder in folders:
                if folder.startswith(TOOLS) and self._has_tool(argv[0]):
                    return argv, 0
                path = f"{folder}/{argv[0]}" if folder else argv[0]
                with contextlib.suppress(OSError):
                    file = container_fs.open_in_root(root, path, os.O_PATH)
                    mode = os.fstat(file).st_mode
                    os.close(file)
                    if stat.S_ISREG(mode) and mode & 0o111:
                        return argv, 0
                    status = _NOT_EXECUTABLE
        finally:
            os.close(root)
        return argv, status

    def _has_tool(self, name: str) -> bool:
        return os.path.isfile(f"{self._tools}/bin/{name}")  # noqa: PTH113

    def _find_shell(self) -> list[str]:
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY)
        try:
            os.close(container_fs.open_in_root(root, "/bin/sh", os.O_PATH))
        except OSError:
            if self._tools and self._has_tool("sh"):
                return [f"{TOOLS}/bin/sh"]
            raise ImageError(
                "expected /bin/sh in the root, got nothing",
                hint="name a command that is there, or bring a shell along with --tools",
            ) from None
        finally:
            os.close(root)
        return ["/bin/sh"]

    def _write_config(self, bundle: str, argv: list[str], request: dict[str, Any]) -> None:
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY)
        try:
            user = runtime_spec.resolve_user(
                request["user"],
                container_fs.read_in_root(root, "etc/passwd"),
                container_fs.read_in_root(root, "etc/group"),
            )
            with contextlib.suppress(OSError):
                os.close(container_fs.open_in_root(root, request["cwd"], os.O_PATH))
                user["cwd"] = request["cwd"]
        except ValueError as error:
            raise ImageError(f"etc/passwd: expected numbers as ids, got {error}") from error
        finally:
            os.close(root)
        config = {"Env": request["environ"], "WorkingDir": user.pop("cwd", "/")}
        spec = runtime_spec.runtime_config(
            config,
            user,
            argv=argv,
            hostname=self._job["hostname"],
            sys=os.path.isdir("/sys/kernel"),
        )
        spec["root"]["path"] = self._root
        spec["process"]["user"]["umask"] = _UMASK
        spec["process"]["terminal"] = request["terminal"]
        if request["terminal"]:
            height, width = request["size"]
            spec["process"]["consoleSize"] = {"height": height, "width": width}
        spec["mounts"] += self._binds(bundle)
        if self._tools:  # strace and gdb look into programs that run already
            for held in ("bounding", "effective", "permitted"):
                if spec["process"]["capabilities"][held]:
                    spec["process"]["capabilities"][held].append("CAP_SYS_PTRACE")
        with open(f"{bundle}/config.json", "w") as file:
            json.dump(spec, file)

    def _binds(self, bundle: str) -> list[dict[str, Any]]:
        """Files of the network where the image has none, as Docker gives them, and the tools; all
        to be read only: what somebody wrote there would be no change of the root."""
        write_network_files(bundle, self._job["hostname"], self._job["address"])
        lower = self._layers[0]
        names = _NETWORK_FILES if os.path.isdir(f"{lower}/etc") else ()
        pairs = [
            (f"{bundle}/{name}", f"/etc/{name}")
            for name in names
            if not os.path.lexists(f"{lower}/etc/{name}")
            and not bench_root.has_bytes(f"{self._root}/etc/{name}")
        ]
        if self._tools:
            pairs.append((self._tools, TOOLS))
            for number, place in enumerate(self._options["places"]):
                pairs.append((f"{self._job['shelf']}/shown{number}", TOOLS + place))
        return [
            {
                "destination": target,
                "type": "bind",
                "source": source,
                "options": ["rbind", "rprivate", "ro", "nosuid", "nodev"],
            }
            for source, target in pairs
        ]

    def _signal(self, request: dict[str, Any]) -> None:
        """Do to the command what a signal of its terminal would do; there is no answer."""
        self._signals.append(int(request["number"]))

    def _patience_ms(self) -> int | None:
        return _STARTING_MS if self._signals else super()._patience_ms()

    def _wait(self) -> None:
        super()._wait()
        if self._signals and self._command is None:
            self._signals = []
        elif self._signals and self._command is not None:
            first = self._command.contained_pid()
            while first and self._signals:
                self._deliver(first, self._signals.pop(0))

    def _deliver(self, first: int, number: int) -> None:
        """Signal all processes of the command. The kernel keeps signals without a handler from a
        namespace's first one."""
        for pid in bench_root.processes_of(first):
            if pid != first or bench_root.minds(pid, number):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            else:
                self._killed_by = number
        if self._killed_by:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)

    def _finish_command(self) -> None:
        assert self._command is not None
        code = 128 + self._killed_by if self._killed_by else self._command.exit_code
        self._command = None
        reap_orphans()
        self._reply({"exit_code": code})

    # looking and restoring

    def _scan(self, _request: dict[str, Any]) -> None:
        upper = f"{self._place}/.upper" if self._root != f"{self._place}/.root" else ""
        # What the overlay shows of the image's own has its bytes; the child cannot look there.
        own = bench_root.list_upper(upper) if upper else None
        self._in_root(lambda: bench_root.scan(own))

    def _read(self, request: dict[str, Any]) -> None:
        self._in_root(lambda: bench_root.read_files(request["paths"]))

    def _restore(self, request: dict[str, Any]) -> None:
        self._in_root(lambda: bench_root.restore(request["paths"]))

    def _in_root(self, work: Callable[[], Iterator[bytes]]) -> None:
        """Send what `work` gives down a pipe, from a child with the root as its root directory and
        the image's folder as its working directory. The last line is JSON: {} or an error."""
        with self._pipe() as outgoing:
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                return
            try:
                os.chdir(self._layers[0])
                os.chroot(self._root)
                for piece in work():
                    bench_root.write_all(outgoing, piece)
                bench_root.write_all(outgoing, b"{}\n")
            except BrokenPipeError:
                pass
            except BaseException as error:
                bench_root.write_all(outgoing, json.dumps(_told(error)).encode() + b"\n")
            finally:
                os._exit(0)


def _told(error: BaseException) -> dict[str, str]:
    if isinstance(error, MinidError):
        return {"error": error.message, "kind": type(error).__name__, "hint": error.hint}
    if isinstance(error, OSError):
        long = error.errno == errno.ENAMETOOLONG
        hint = "a folder lies too deep: remove it in the shell" if long else ""
        return {"error": f"workbench: {error.strerror}: {error.filename!r}", "hint": hint}
    return {"error": "workbench: " + "".join(traceback.format_exception(error))[-500:]}
