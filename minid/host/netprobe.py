"""Asking a program on a socket: one HTTP/1.1 GET, one TCP exchange.

Sockets come from the caller, because the program may live in another network namespace. http.client
is not used: it resolves names and is slow to import, and a checked server may answer anything.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minid.formats import fastcgi

MAX_HEADER = 64 << 10
MAX_BODY = 4 << 20


class NoAnswerError(Exception):
    """Nothing that could be understood came back; the text says what was seen."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A response: `headers` with lower-case names, `body` cut at MAX_BODY."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name, or None."""
        return next((value for key, value in self.headers if key == name.lower()), None)


def retry_delays() -> Iterator[float]:
    """Seconds to wait between tries: 3 ms at first, growing to a quarter of a second."""
    delay = 0.003
    while True:
        yield delay
        delay = min(delay * 1.3, 0.25)


def http_get(
    sock: socket.socket,
    address: tuple[str, int],
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    timeout_s: float = 5.0,
) -> HttpAnswer:
    """GET `path`; NoAnswerError for anything but a well-formed response within `timeout_s`.

    Redirects are an answer like any other. The socket is connected; the caller closes it.
    """
    host = "localhost" if address[1] == 80 else f"localhost:{address[1]}"
    sent = {name.lower() for name, _ in headers}
    lines = [] if "host" in sent else [("Host", host)]
    lines += [*headers, ("User-Agent", "minid"), ("Accept", "*/*"), ("Connection", "close")]
    return http_exchange(sock, address, f"GET {path}", lines, timeout_s=timeout_s)


def http_exchange(
    sock: socket.socket,
    address: tuple[str, int] | str,
    request: str,
    headers: Sequence[tuple[str, str]],
    body: Iterable[bytes] | None = None,
    *,
    timeout_s: float,
) -> HttpAnswer:
    """One request (`METHOD path`) on a fresh socket, a `body` in chunks; NoAnswerError as above.

    An answer that comes before the body is through ends the sending. What `body` raises passes.
    """
    reader = _Reader(sock, time.monotonic() + timeout_s)
    lines = [f"{request} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append("Transfer-Encoding: chunked")
    head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
    try:
        reader.connect(address)
        reader.send(head)
    except OSError as error:
        raise NoAnswerError(_reason(error)) from error
    for chunk in body or ():
        if chunk and not _send_chunk(reader, b"%x\r\n%b\r\n" % (len(chunk), chunk)):
            break
    else:
        if body is not None:
            _send_chunk(reader, b"0\r\n\r\n")
    try:
        return _read_answer(reader)
    except (OSError, ValueError) as error:
        raise NoAnswerError(_reason(error)) from error


def _send_chunk(reader: _Reader, framed: bytes) -> bool:
    """Whether the peer still takes the body; if not, its answer says why."""
    try:
        reader.send(framed)
        return True
    except OSError:
        return False


def tcp_exchange(
    sock: socket.socket,
    address: tuple[str, int],
    send: bytes,
    expect: bytes,
    timeout_s: float = 5.0,
) -> bytes:
    """Connect, send, and read until `expect` is in what came back; returns all that came back.

    Returns without `expect` in it when the peer closes or `timeout_s` passes; NoAnswerError when
    there is no connection. An empty `expect` reads nothing.
    """
    reader = _Reader(sock, time.monotonic() + timeout_s)
    try:
        reader.connect(address)
        reader.send(send)
    except OSError as error:
        raise NoAnswerError(_reason(error)) from error
    try:
        while expect not in reader.pending and len(reader.pending) < MAX_BODY and reader.more():
            pass
    except OSError:
        pass  # what came until then is the answer
    return bytes(reader.pending)


def fastcgi_exchange(
    sock: socket.socket, address: tuple[str, int], request: bytes, timeout_s: float = 5.0
) -> fastcgi.FastCgiAnswer:
    """Send a FastCGI request and read until its end; NoAnswerError where none comes."""
    reader = _Reader(sock, time.monotonic() + timeout_s)
    try:
        reader.connect(address)
        reader.send(request)
        while len(reader.pending) < fastcgi.MAX_ANSWER and reader.more():
            if fastcgi.parse_answer(bytes(reader.pending)).ended:
                break
        answer = fastcgi.parse_answer(bytes(reader.pending))
    except (OSError, ValueError) as error:
        raise NoAnswerError(_reason(error)) from error
    if not answer.ended:
        raise NoAnswerError(f"an answer without an end: {bytes(reader.pending[:80])!r}")
    return answer


def with_tls(sock: socket.socket) -> socket.socket:
    """The socket, not connected yet, with TLS over it for `localhost`; any certificate is taken."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname="localhost")


class _Reader:
    """A socket with a deadline and the bytes that were read and not yet used."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self.pending = bytearray()

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self._sock.settimeout(left)

    def connect(self, address: tuple[str, int] | str) -> None:
        self._arm()
        self._sock.connect(address)

    def send(self, data: bytes) -> None:
        if data:
            self._arm()
            self._sock.sendall(data)

    def more(self) -> bool:
        """Read some more; False at the end of the stream."""
        self._arm()
        chunk = self._sock.recv(1 << 16)
        self.pending += chunk
        return bool(chunk)

    def line(self) -> bytes:
        """The next line without its end."""
        while b"\n" not in self.pending:
            if len(self.pending) > MAX_HEADER:
                raise ValueError(f"a line of more than {MAX_HEADER} bytes")
            if not self.more():
                raise ValueError(f"the connection was closed after {bytes(self.pending[:80])!r}")
        end = self.pending.index(b"\n")
        line = bytes(self.pending[:end]).rstrip(b"\r")
        del self.pending[: end + 1]
        return line

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        while len(self.pending) < size:
            if not self.more():
                raise ValueError(f"{len(self.pending)} bytes of a body that is to have {size}")
        data = bytes(self.pending[:size])
        del self.pending[:size]
        return data

    def rest(self, limit: int) -> bytes:
        """All up to the end of the stream, cut at `limit`."""
        while len(self.pending) < limit and self.more():
            pass
        return bytes(self.pending[:limit])


def _read_answer(reader: _Reader) -> HttpAnswer:
    while True:
        status = _parse_status(reader.line())
        headers = _read_headers(reader)
        if status >= 200:  # 1xx answers come before the real one
            break
    answer = HttpAnswer(status, headers, b"")
    if status in (204, 304):
        return answer
    return HttpAnswer(status, headers, _read_body(reader, answer))


def _parse_status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit() or len(code) != 3:
        raise ValueError(f"{line[:80]!r} where an HTTP/1 status line belongs")
    return int(code)


def _read_headers(reader: _Reader) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    size = 0
    while line := reader.line():
        size += len(line)
        if size > MAX_HEADER:
            raise ValueError(f"more than {MAX_HEADER} bytes of headers")
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.strip().lower(), value.strip()))
    return tuple(headers)


def _read_body(reader: _Reader, answer: HttpAnswer) -> bytes:
    if "chunked" in (answer.header("transfer-encoding") or "").lower():
        return _read_chunks(reader)
    length = answer.header("content-length")
    if length is None:
        return reader.rest(MAX_BODY)
    if not length.isdigit():
        raise ValueError(f"the content-length {length!r}")
    return reader.take(min(int(length), MAX_BODY))


def _read_chunks(reader: _Reader) -> bytes:
    body = bytearray()
    while len(body) < MAX_BODY:
        line = reader.line()
        digits = line.partition(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise ValueError(f"{line[:80]!r} where the size of a chunk belongs")
        size = int(digits, 16)
        if size == 0:
            break
        body += reader.take(min(size, MAX_BODY))
        if size <= MAX_BODY:
            reader.line()
    return bytes(body[:MAX_BODY])


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(tls := getattr(error, "reason", None), str):  # of an ssl.SSLError
        return f"no TLS: {tls.lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
