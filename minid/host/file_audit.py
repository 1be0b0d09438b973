"""Which files a program looked for in vain: told by the kernel, without ptrace or strace.

The container's system calls that name files are announced on a descriptor (seccomp_unotify(2)) that
the OCI runtime hands over on a socket. Each is let through at once; whether the file was there is
looked up beside it. An aid for recipe authors: it may miss a file, it never changes what happens.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH115

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

from minid.host.container_fs import open_in_root

if TYPE_CHECKING:
    from minid.host.container_process import Process

QUIET_S = 0.08
_RECV, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND of linux/seccomp.h
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_CONTINUE = 1
_AT_FDCWD = 0xFFFFFF9C
_HIDDEN = ("/proc/", "/sys/", "/dev/")

# System call number → (which argument is the directory, which the path, which the open flags).
_CALLS: dict[str, dict[int, tuple[int | None, int, int | None]]] = {
    "x86_64": {
        2: (None, 0, 1),
        4: (None, 0, None),
        6: (None, 0, None),
        21: (None, 0, None),
        59: (None, 0, None),
        257: (0, 1, 2),
        262: (0, 1, None),
        269: (0, 1, None),
        332: (0, 1, None),
        437: (0, 1, None),
        439: (0, 1, None),
    },
    "aarch64": {
        48: (0, 1, None),
        56: (0, 1, 2),
        79: (0, 1, None),
        221: (None, 0, None),
        291: (0, 1, None),
        437: (0, 1, None),
        439: (0, 1, None),
    },
}


class FileAudit:
    """Listens at the socket `path` for containers' file calls, while it is entered."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._server = socket.socket(socket.AF_UNIX)
        self._listeners: list[int] = []
        self._missed: dict[str, None] = {}
        self._found: set[str] = set()
        self._last = 0.0
        self._calls = _CALLS.get(os.uname().machine, {})

    def __enter__(self) -> FileAudit:
        self._server.bind(self.path)
        self._server.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for listener in self._listeners:
            os.close(listener)

    @property
    def quiet(self) -> bool:
        """Whether calls came and none has come for a while."""
        return bool(self._last) and time.monotonic() - self._last > QUIET_S

    def register(self, poll: select.poll) -> None:
        """Say what `update` waits for."""
        for descriptor in (self._server.fileno(), *self._listeners):
            poll.register(descriptor, select.POLLIN)

    def update(self, ready: dict[int, int]) -> None:
        """Take new listeners and let waiting calls through."""
        if self._server.fileno() in ready:
            self._accept()
        for listener in list(self._listeners):
            events = ready.get(listener, 0)
            if events & select.POLLIN:
                self._serve(listener)
            elif events:  # nobody is left who could call
                self._listeners.remove(listener)
                os.close(listener)

    def watch(self, process: Process, deadline: float) -> None:
        """Listen until the process has ended, or no calls come any more, or the deadline has."""
        while time.monotonic() < deadline and process.exit_code is None and not self.quiet:
            poll = select.poll()
            process.register(poll)
            self.register(poll)
            ready = dict(poll.poll(50))
            process.update(ready)
            self.update(ready)

    def missed(self) -> list[str]:
        """Paths that were not there, in order; without those whose name was found elsewhere."""
        return [path for path in self._missed if path.rpartition("/")[2] not in self._found]

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(1)
            _, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        self._listeners += descriptors
        self._last = time.monotonic()

    def _serve(self, listener: int) -> None:
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECV, buffer)
        except OSError:
            return  # the caller was killed meanwhile
        call, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        with contextlib.suppress(OSError, ValueError, LookupError):
            self._look(pid, number, arguments)
        with contextlib.suppress(OSError):
            fcntl.ioctl(listener, _SEND, bytearray(_RESPONSE.pack(call, 0, 0, _CONTINUE)))
        self._last = time.monotonic()

    def _look(self, pid: int, number: int, arguments: list[int]) -> None:
        folder_at, path_at, flags_at = self._calls[number]
        if flags_at is not None and arguments[flags_at] & os.O_CREAT:
            return
        path = _read_text(pid, arguments[path_at])
        if not path or len(self._missed) > 5000:
            return
        if not path.startswith("/"):
            folder = _AT_FDCWD if folder_at is None else arguments[folder_at] & 0xFFFFFFFF
            source = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
            path = os.readlink(f"/proc/{pid}/{source}").rstrip("/") + "/" + path
        path = os.path.normpath(path)
        if path.startswith(_HIDDEN):
            return
        if _exists(pid, path):
            self._found.add(path.rpartition("/")[2])
            self._missed.pop(path, None)
        else:
            self._missed[path] = None


def _exists(pid: int, path: str) -> bool:
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(open_in_root(root, path, os.O_PATH))
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        os.close(root)


def _read_text(pid: int, address: int) -> str:
    """A C string of another process's memory, page by page: the next page may not be there."""
    text = b""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        while b"\0" not in text and len(text) < 4096:
            here = address + len(text)
            text += os.pread(memory.fileno(), 4096 - here % 4096, here)
    return text.partition(b"\0")[0].decode("utf-8", "surrogateescape")
