"""A web server on loopback that lies, stalls and breaks off: each path has a behaviour of its own.

Raw sockets, because http.server is too honest for what upstream servers and proxies really do.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What the server was asked: the request line's words and the headers, lower-case names."""

    method: str
    target: str
    headers: dict[str, str]


Behaviour = Callable[[socket.socket, Request], None]


class LyingServer:
    """Listens from `with` on. `paths` maps a request target to its behaviour; others are 404."""

    def __init__(self, paths: dict[str, Behaviour] | None = None) -> None:
        self.paths = dict(paths or {})
        self.requests: list[Request] = []
        self.connections = 0
        self.sent = 0
        self.tls: ssl.SSLContext | None = None
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def __enter__(self) -> LyingServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    @property
    def open(self) -> bool:
        return not self._closing.is_set()

    def _accept(self) -> None:
        while True:
            try:
                plug, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(plug,), daemon=True).start()

    def _serve(self, plug: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), plug:
            if self.tls is not None:
                plug = self.tls.wrap_socket(plug, server_side=True)
            with plug:
                request = read_request(plug)
                self.requests.append(request)
                self.paths.get(request.target, status(404))(plug, request)

    # Behaviours that go on until the server closes or the client has enough.

    def endless(self) -> Behaviour:
        """A body without an end."""

        def act(plug: socket.socket, _: Request) -> None:
            plug.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while self.open:
                plug.sendall(b"x" * 65536)
                self.sent += 65536

        return act

    def dripping(self, head: bytes, pause_s: float = 0.02) -> Behaviour:
        """`head`, and then a byte now and then for ever."""

        def act(plug: socket.socket, _: Request) -> None:
            plug.sendall(head)
            while self.open:
                plug.sendall(b"x")
                time.sleep(pause_s)

        return act

    def silent(self) -> Behaviour:
        """Takes the request and says nothing."""

        def act(plug: socket.socket, _: Request) -> None:
            self._closing.wait()

        return act

    def tunnel(self, port: int) -> Behaviour:
        """What a proxy does with CONNECT, with every host being port `port` of loopback."""

        def act(plug: socket.socket, _: Request) -> None:
            with socket.create_connection(("127.0.0.1", port)) as far:
                plug.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(far, plug), daemon=True)
                back.start()
                _pump(plug, far)
                back.join()

        return act


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def read_request(plug: socket.socket) -> Request:
    """Read up to the empty line."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = plug.recv(4096)
        if not piece:
            raise ValueError("no request")
        data += piece
    first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def raw(data: bytes) -> Behaviour:
    """These bytes, then the end of the connection."""
    return lambda plug, _: plug.sendall(data)


def body(data: bytes, *headers: str, length: int | None = None, code: int = 200) -> Behaviour:
    """An answer with a Content-Length, which is a lie where `length` is given."""
    announced = len(data) if length is None else length
    lines = [f"HTTP/1.1 {code} Said So", f"Content-Length: {announced}", *headers, "", ""]
    return raw("\r\n".join(lines).encode() + data)


def status(code: int, *headers: str) -> Behaviour:
    """An answer of that status, with a short page."""
    return body(b"<h1>no</h1>", *headers, code=code)


def redirect(location: str, code: int = 302) -> Behaviour:
    """A redirect to `location`."""
    return body(b"", f"Location: {location}", code=code)


def reset(data: bytes = b"") -> Behaviour:
    """`data`, then a TCP reset."""

    def act(plug: socket.socket, _: Request) -> None:
        plug.sendall(data)
        time.sleep(0.02)  # a reset overtakes data that the client has not read
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return act


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One behaviour a request; the last one for all that follow."""
    left: Iterator[Behaviour] = iter(behaviours)
    lock = threading.Lock()

    def act(plug: socket.socket, request: Request) -> None:
        with lock:
            chosen = next(left, behaviours[-1])
        chosen(plug, request)

    return act
