"""HTTP to a registry and to where it sends us: TLS, and bounds of size and time on all of it.

What an answer means, and who we are, is `registry_connection`'s.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from minid.errors import PublishError

if TYPE_CHECKING:
    import urllib3

CONNECT_S, READ_S = 10.0, 60.0
MIN_BYTES_PER_S = 10_000
MAX_SMALL_BYTES = 8 << 20
_PIECE_BYTES = 1 << 18
_CERTS_D = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry said. `body` is empty where the caller takes it by pieces."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def header(self, name: str) -> str:
        """A header's value, or empty."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), "")


class BrokenError(PublishError):
    """The connection broke before the answer was whole. `untrusted`: for its certificate."""

    untrusted = False


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL; ValueError for what is none of http or https."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("expected an http or https URL")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


class _Plug:
    """The socket of a host's one connection, held twice so that another thread can end it, in the
    middle of a handshake too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.ended = False

    def take(self, made: socket.socket) -> None:
        """Hold the socket of a new connection."""
        with self._lock:
            self._drop()
            self._socket = made.dup()
            if self.ended:
                self._shut()

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """End the connection if what is done here takes longer."""
        self.ended = False
        timer = threading.Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._drop()

    def _end(self) -> None:
        with self._lock:
            self.ended = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Wire:
    """Connections that are kept, one a host; one request at a time.

    `ca_file` and Docker's certs.d hold for `own_host` (`HOST[:PORT]`) alone. `name` is what errors
    begin with.
    """

    def __init__(self, name: str, own_host: str, ca_file: Path | None) -> None:
        self._name = name
        self._own_host = own_host
        self._ca_file = ca_file
        self._pools: dict[tuple[str, str, int], tuple[urllib3.HTTPConnectionPool, _Plug]] = {}

    def close(self) -> None:
        """Drop all connections."""
        for pool, plug in self._pools.values():
            pool.close()
            plug.close()

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """One request and its short answer. BrokenError where none comes, or not in time."""
        with (
            self._opened(method, url, headers, body, len(body or b"")) as response,
            self._translated(url),
        ):
            data = response.read(MAX_SMALL_BYTES + 1, decode_content=False)
            if len(data) > MAX_SMALL_BYTES:
                response.close()
                raise PublishError(f"{self._name}: expected a short answer, got a long one")
            response.release_conn()
            return Answer(response.status, dict(response.headers), data)

    @contextlib.contextmanager
    def stream(
        self, url: str, headers: Mapping[str, str], size: int
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """A GET whose body, of `size` bytes at most, is taken by pieces."""
        with self._opened("GET", url, headers, None, size) as response:
            try:
                answer = Answer(response.status, dict(response.headers))
                yield answer, self._pieces(url, response)
            finally:
                response.close()

    def _pieces(self, url: str, response: Any) -> Iterator[bytes]:  # noqa: ANN401 (urllib3's)
        with self._translated(url):
            yield from response.stream(_PIECE_BYTES, decode_content=False)

    @contextlib.contextmanager
    def _opened(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, size: int
    ) -> Iterator[Any]:
        """The response, whose body is still to come; all of it within the time that fits `size`."""
        with self._translated(url):
            pool, plug = self._pool(url)
        with plug.limited(CONNECT_S + READ_S + size / MIN_BYTES_PER_S):
            with self._translated(url):
                parts = urlsplit(url)
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                response = pool.urlopen(
                    method,
                    path,
                    body=body,
                    headers=dict(headers),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
            yield response
            if plug.ended:  # what came looks whole to http.client even in the middle of a header
                raise BrokenError(
                    f"{self._name}: expected a whole answer of {_place(url)} in time, got a part"
                )

    @contextlib.contextmanager
    def _translated(self, url: str) -> Iterator[None]:
        from http.client import HTTPException

        from urllib3.exceptions import HTTPError

        try:
            yield
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            text = str(error).rpartition(": ")[2][:200] or type(error).__name__
            untrusted = "certificate" in str(error).lower()
            hint = "publish.registry_ca or --ca FILE, with its authority" if untrusted else ""
            broken = BrokenError(
                f"{self._name}: expected an answer of {_place(url)}, got: {text}", hint=hint
            )
            broken.untrusted = untrusted
            raise broken from error

    def _pool(self, url: str) -> tuple[urllib3.HTTPConnectionPool, _Plug]:
        key = origin(url)
        if key not in self._pools:
            self._pools[key] = self._make_pool(*key)
        return self._pools[key]

    def _make_pool(
        self, scheme: str, host: str, port: int
    ) -> tuple[urllib3.HTTPConnectionPool, _Plug]:
        import urllib3

        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        pool: urllib3.HTTPConnectionPool
        if scheme == "https":
            context = self._context(host, port)
            pool = urllib3.HTTPSConnectionPool(host, port, timeout=timeout, ssl_context=context)
        else:
            pool = urllib3.HTTPConnectionPool(host, port, timeout=timeout)
        plug = _Plug()
        base: Any = pool.ConnectionCls

        class Plugged(base):  # type: ignore[misc]
            def _new_conn(self) -> socket.socket:
                made: socket.socket = super()._new_conn()
                plug.take(made)
                return made

        pool.ConnectionCls = Plugged
        return pool, plug

    def _context(self, host: str, port: int) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if origin(f"https://{self._own_host}") != ("https", host, port):
            return context
        given = [self._ca_file] if self._ca_file else []
        known = [folder / self._own_host / "ca.crt" for folder in _CERTS_D]
        for path in (*given, *(path for path in known if path.is_file())):
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise PublishError(f"{path}: expected certificates, got: {error}") from error
        return context


def _place(url: str) -> str:
    """Host and port of a URL to show: its path and query may hold what grants access."""
    try:
        _, host, port = origin(url)
    except ValueError:
        return "nobody"
    return f"{host}:{port}"
