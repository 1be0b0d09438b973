"""One HTTP request over one connection to one judged address: the engine room of `host.http`.

Connecting, proxies, TLS, the watch over slow servers, and what a broken connection means. What an
answer means is `host.http`'s.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import minid
from minid.config import Fetching
from minid.errors import FetchError
from minid.formats.url import WebAddress, is_inside_name, is_public, parse_web_address, refusal

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.connection import HTTPConnection


@dataclass(frozen=True, slots=True)
class Proxy:
    """A web proxy. `authorization` is the header's value, or empty."""

    host: str
    port: int
    authorization: str = ""

    @property
    def url(self) -> str:
        """Where it is, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def parse_proxy(url: str) -> Proxy:
    """Read `http://[user:password@]host:port[/]`. FetchError, without the password, otherwise."""
    plain = url if "://" in url else f"http://{url}"
    scheme, _, rest = plain.partition("://")
    user, at, place = rest.rpartition("@")
    address = parse_web_address(f"{scheme}://{place}")
    if address.scheme != "http":
        raise refusal(str(address), "a proxy that is spoken to over http", address.scheme)
    port = address.port if urlsplit(address.url).port else 8080
    if not at:
        return Proxy(address.host, port)
    import base64

    token = base64.b64encode(unquote(user).encode()).decode()
    return Proxy(address.host, port, f"Basic {token}")


def resolve(host: str, port: int) -> list[str]:
    """The host's IP addresses, in the resolver's order. OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_inside(address: WebAddress, proxied: bool) -> bool:
    """Whether an address is on an inside host; a name that does not resolve is not."""
    if proxied:
        return is_inside_name(address.host)
    try:
        return not all(map(is_public, resolve(address.host, address.port)))
    except (OSError, UnicodeError):
        return False


class Watch:
    """Ends a transfer that is too slow or takes too long, by shutting its socket down.

    Timeouts of single reads do not see a server that sends a byte now and then, in its headers or
    in its body. `received` is the caller's count of body bytes; `reason` says what was expected
    and got once the watch has bitten.
    """

    def __init__(self, limits: Fetching) -> None:
        self.received = 0
        self.reason: tuple[str, str] | None = None
        self._limits = limits
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="download watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def guard(self, plug: socket.socket) -> None:
        """Make `plug` the socket that is shut down."""
        self._socket = plug
        if self.reason is not None:
            raise OSError("the watch has ended this transfer")

    def _look(self) -> None:
        limits = self._limits
        deadline = time.monotonic() + limits.total_timeout_s
        window_s = limits.read_timeout_s
        seen: int | None = None  # the first window is for connecting and for the headers
        while not self._over.wait(min(window_s, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                self._cut(f"an end within {limits.total_timeout_s:g} s", "none")
                return
            rate = limits.min_bytes_per_s if seen is None else (self.received - seen) / window_s
            if rate < limits.min_bytes_per_s:
                self._cut(f"at least {limits.min_bytes_per_s} bytes/s", f"{rate:.0f} bytes/s")
                return
            seen = self.received

    def _cut(self, wanted: str, got: str) -> None:
        self.reason = (wanted, got)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own shutdown: that swaps state the reading thread uses.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Exchange:
    """One request and its answer. Network trouble of any kind is a FetchError.

    Where `inside_allowed` is False, only public addresses are connected to.
    """

    def __init__(
        self,
        address: WebAddress,
        limits: Fetching,
        watch: Watch,
        *,
        proxy: Proxy | None = None,
        inside_allowed: bool = False,
    ) -> None:
        self.address = address
        self._limits = limits
        self._watch = watch
        self._proxy = proxy
        self._inside_allowed = inside_allowed
        self._connection: HTTPConnection | None = None
        self._answer: BaseHTTPResponse | None = None

    def ask(self) -> int:
        """Send the request and read the answer's headers; the status."""
        with self._translated():
            connection = self._connection = self._open()
            connection.request(
                "GET",
                self._target(),
                headers=self._headers(),
                preload_content=False,
                decode_content=False,
                enforce_content_length=False,  # the caller counts, and says it in its own words
            )
            self._answer = connection.getresponse()
        return self._answer.status

    def header(self, name: str) -> str:
        """The answer's header of that name, or an empty string."""
        assert self._answer is not None
        return self._answer.headers.get(name) or ""

    def read(self) -> bytes:
        """The next bytes of the body as they were sent, empty at its end."""
        assert self._answer is not None
        limits = self._limits
        # A read that is not done is no progress in the watch's eyes: half a window's worth.
        size = int(limits.min_bytes_per_s * limits.read_timeout_s) // 2
        with self._translated():
            chunk = self._answer.read(max(1, min(1 << 16, size)))
            if self._watch.reason is not None:
                raise OSError("the watch has ended this transfer")
        self._watch.received += len(chunk)
        return chunk

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()

    def _target(self) -> str:
        if self._proxy is None or self.address.scheme == "https":
            return self.address.target
        return f"http://{self.address.authority}{self.address.target}"

    def _headers(self) -> dict[str, str]:
        headers = {
            "Host": self.address.authority,
            "User-Agent": f"minid/{minid.__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if self._proxy and self._proxy.authorization and self.address.scheme == "http":
            headers["Proxy-Authorization"] = self._proxy.authorization
        return headers

    def _open(self) -> HTTPConnection:
        from urllib3.connection import HTTPConnection, HTTPSConnection

        address, proxy, timeout = self.address, self._proxy, self._limits.read_timeout_s
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        plug = self._plug(host, port)
        connection: HTTPConnection
        if address.scheme == "https":
            context = ssl.create_default_context()
            connection = HTTPSConnection(host, port, timeout=timeout, ssl_context=context)
        else:
            connection = HTTPConnection(host, port, timeout=timeout)
        if proxy and address.scheme == "https":
            secret = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            connection.set_tunnel(address.host, address.port, secret)
        # The address that was judged is the one that is used: the name is not resolved again.
        connection._new_conn = lambda: plug  # type: ignore[method-assign]
        try:
            connection.connect()
        except BaseException:
            plug.close()
            raise
        self._watch.guard(connection.sock)
        return connection

    def _plug(self, host: str, port: int) -> socket.socket:
        """A connected socket to the first address of the host that is allowed and answers."""
        if self._proxy and not self._inside_allowed and is_inside_name(self.address.host):
            raise self._stay_outside()
        last: OSError | None = None
        for number in resolve(host, port):
            if not (self._proxy or self._inside_allowed or is_public(number)):
                raise self._stay_outside()
            try:
                plug = socket.create_connection((number, port), self._limits.connect_timeout_s)
            except OSError as error:
                last = error
                continue
            self._watch.guard(plug)
            return plug
        raise last or OSError("no address")

    def _stay_outside(self) -> FetchError:
        host = self.address.host
        return refusal(str(self.address), "a public address", f"the inside host {host!r}")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the network raises into a FetchError that says what the watch knows."""
        from http.client import HTTPException

        from urllib3.exceptions import HTTPError

        try:
            yield
        except (OSError, HTTPException, HTTPError, ValueError) as error:
            if self._watch.reason is not None:
                wanted, got = self._watch.reason
                raise FetchError(f"{self.address}: expected {wanted}, got {got}") from error
            raise _network_failure(self.address, error) from error


def _network_failure(address: WebAddress, error: Exception) -> FetchError:
    """What a connection's end means, and whether another attempt can help."""
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return refusal(str(address), f"an IP address of {address.host!r}", str(error.strerror))
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        return refusal(str(address), "a trusted TLS connection", str(reason))
    if isinstance(error, TimeoutError):
        return FetchError(f"{address}: expected bytes in time, got none")
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return FetchError(f"{address}: expected an answer, got {text}")
