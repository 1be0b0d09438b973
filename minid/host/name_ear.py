"""Which users and groups a program asks its C library for: heard where the library asks nscd.

glibc and musl ask a name service cache daemon at /var/run/nscd/socket, glibc before it reads
/etc/passwd, musl after. The tracer turns that call to an abstract socket, whose names are the
network namespace's: the root gets no file, and the answer is what the root's own files say.
The protocol: nscd/nscd-client.h of glibc, version 2.
"""

from __future__ import annotations

import contextlib
import socket
import struct

ASKED = "/var/run/nscd/socket"
ADDRESS = (b"\0" + ASKED[1:].encode()).ljust(108, b"\0")  # all of sun_path, as both libraries pass
_VERSION = 2
_HEADER = struct.Struct("=iii")
_KINDS = {0: "user", 1: "uid", 2: "group", 3: "gid", 15: "groups of"}
_DISABLED = struct.pack("=ii", _VERSION, -1) + bytes(40)
_NOT_FOUND = struct.pack("=ii", _VERSION, 0) + bytes(40)
_MAX_NAMES = 1000


class NameEar:
    """Listens in the current network namespace. `names` are the questions in order, each once:
    (kind, name), kinds being user, uid, group, gid. `reads_files_first` is musl's way of asking.
    """

    def __init__(self, passwd: str, group: str) -> None:
        self._passwd = [line.split(":") for line in passwd.splitlines()]
        self._group = [line.split(":") for line in group.splitlines()]
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._server.bind(ADDRESS)
        self._server.listen(64)
        self._open: list[socket.socket] = []
        self.names: dict[tuple[str, str], None] = {}
        self.reads_files_first = False

    @property
    def waits(self) -> bool:
        """Whether somebody has called and was not answered."""
        return bool(self._open)

    def close(self) -> None:
        """Stop listening."""
        for one in (self._server, *self._open):
            one.close()

    def serve(self) -> None:
        """Answer what has come; never waits."""
        with contextlib.suppress(BlockingIOError):
            while True:
                caller, _ = self._server.accept()
                caller.setblocking(False)
                self._open.append(caller)
        for caller in list(self._open):
            try:
                data = caller.recv(4096)
                reply = self._answer(data)
                if reply:
                    caller.send(reply)
            except BlockingIOError:
                continue
            except OSError:
                pass
            self._open.remove(caller)
            caller.close()

    def _answer(self, data: bytes) -> bytes:
        if len(data) < _HEADER.size:
            return b""
        version, kind, length = _HEADER.unpack_from(data)
        key = data[_HEADER.size : _HEADER.size + max(0, length)].rstrip(b"\0")
        if version != _VERSION or kind not in _KINDS:
            return b"" if kind in (11, 12, 13) else _DISABLED  # GETFD…: no shared memory is had
        name = key.decode("utf-8", "replace")
        if len(self.names) < _MAX_NAMES:
            self.names[_KINDS[kind], name] = None
        found = self._find(kind, name)
        # A library that has yet to read the files is sent there: what it opens is worth knowing.
        return found or (_NOT_FOUND if self.reads_files_first else _DISABLED)

    def _find(self, kind: int, name: str) -> bytes:
        """An answer as nscd would give it, so that the library goes on asking."""
        if kind > 3:
            return b""
        table, at = (self._passwd, kind) if kind < 2 else (self._group, kind - 2)
        size, column = (7, 2 * at) if kind < 2 else (4, 2 * at)
        row = next((f for f in table if len(f) >= size and f[column] == name), None)
        if row is None:
            return b""
        with contextlib.suppress(ValueError, struct.error):
            return _pack_user(row) if kind < 2 else _pack_group(row)
        return b""


def _pack_user(row: list[str]) -> bytes:
    name, secret, gecos, home, shell = (_word(row[at]) for at in (0, 1, 4, 5, 6))
    numbers = (len(name), len(secret), int(row[2]), int(row[3]), len(gecos), len(home), len(shell))
    return struct.pack("=iiiiIIiii", _VERSION, 1, *numbers) + name + secret + gecos + home + shell


def _pack_group(row: list[str]) -> bytes:
    name, secret = _word(row[0]), _word(row[1])
    members = [_word(one) for one in row[3].split(",") if one]
    lengths = struct.pack(f"={len(members)}I", *map(len, members))
    head = struct.pack("=iiiiIi", _VERSION, 1, len(name), len(secret), int(row[2]), len(members))
    return head + lengths + name + secret + b"".join(members)


def _word(text: str) -> bytes:
    return text.encode("utf-8", "replace") + b"\0"
