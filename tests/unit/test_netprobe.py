"""One GET and one exchange, against servers that answer well, badly, slowly and not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest

from minid.host import netprobe
from minid.host.netprobe import HttpAnswer, NoAnswerError

Served = tuple[tuple[str, int], list[bytes]]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: "


@contextmanager
def server(
    *pieces: bytes | float, read: bool = True
) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server for one connection that sends `pieces`; a number is a pause in seconds."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            if read:
                seen.append(peer.recv(1 << 16))
            for piece in pieces:
                if isinstance(piece, float):
                    time.sleep(piece)
                    continue
                try:
                    peer.sendall(piece)
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname(), seen
    finally:
        thread.join(5)
        listener.close()


def get(*pieces: bytes | float, timeout_s: float = 2.0) -> HttpAnswer:
    with server(*pieces) as (address, _), socket.socket() as sock:
        return netprobe.http_get(sock, address, "/", timeout_s=timeout_s)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more",),
        (b"HTTP/1.0 200 OK\r\n\r\nhello",),
        (
            b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-length: 5\n\nhello",),
        tuple(bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ],
)
def test_body_is_read_however_it_is_framed(pieces: tuple[bytes, ...]) -> None:
    answer = get(*pieces)
    assert (answer.status, answer.body) == (200, b"hello")


def test_status_and_headers_of_other_answers() -> None:
    answer = get(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.header("LOCATION"), answer.body) == (302, "/x", b"")
    assert answer.header("absent") is None
    assert get(b"HTTP/1.1 204 No Content\r\n\r\n").body == b""


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ((), "closed after b''"),
        ((b"-ERR unknown command\r\n",), "where an HTTP/1 status line belongs"),
        ((b"HTTP/1.1 abc\r\n\r\n",), "status line"),
        (
            (SIZED + b"9\r\n\r\nshort",),
            "5 bytes of a body that is to have 9",
        ),
        ((SIZED + b"-9\r\n\r\n",), "content-length"),
        ((CHUNKED + b"zz\r\n",), "b'zz' where the size of a chunk belongs"),
        ((CHUNKED + b"-1\r\n",), "b'-1' where the size of a chunk belongs"),
        ((b"x" * (netprobe.MAX_HEADER + 70000),), "a line of more than"),
        ((b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000 + b"\r\n",), "of headers"),
    ],
)
def test_what_is_no_answer(pieces: tuple[bytes, ...], message: str) -> None:
    with pytest.raises(NoAnswerError, match=message):
        get(*pieces)


def test_silence_and_slow_drips_end_at_the_deadline() -> None:
    began = time.monotonic()
    for pieces in ((0.6,), (b"HTTP/1.1 200 OK\r\n", *([0.05, b"A: b\r\n"] * 12))):
        with pytest.raises(NoAnswerError, match="no answer in time"):
            get(*pieces, timeout_s=0.3)
    assert time.monotonic() - began < 3


def test_endless_body_is_cut() -> None:
    block = b"x" * (1 << 20)
    answer = get(b"HTTP/1.1 200 OK\r\n\r\n", *[block] * 8)
    assert len(answer.body) == netprobe.MAX_BODY
    size = b"%x\r\n" % (1 << 40)
    answer = get(CHUNKED + size, *[block] * 8)
    assert len(answer.body) == netprobe.MAX_BODY


def test_refused_connection_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with socket.socket() as sock, pytest.raises(NoAnswerError, match=r"^connection refused$"):
        netprobe.http_get(sock, address, "/")


def test_request_as_it_is_sent() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n") as (address, seen), socket.socket() as sock:
        netprobe.http_get(sock, address, "/a?b", [("Host", "example"), ("X-Y", "z")])
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /a?b HTTP/1.1"
    assert [line for line in lines if line.startswith("Host")] == ["Host: example"]
    assert "X-Y: z" in lines
    assert "Connection: close" in lines


def test_streamed_body_is_chunked_and_cut_short_by_an_early_answer() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n") as (address, seen), socket.socket() as sock:
        netprobe.http_exchange(sock, address, "POST /x", [], [b"ab", b"", b"c"], timeout_s=2)
    assert seen[0].partition(b"\r\n\r\n")[2].startswith(b"2\r\nab\r\n") or b"chunked" in seen[0]


def test_tcp_exchange_reads_until_the_text() -> None:
    with server(b"+PO", 0.05, b"NG\r\n", 1.0) as (address, seen), socket.socket() as sock:
        began = time.monotonic()
        got = netprobe.tcp_exchange(sock, address, b"PING\r\n", b"+PONG", 3)
        assert got.startswith(b"+PONG")
        assert time.monotonic() - began < 0.9
        assert seen == [b"PING\r\n"]


def test_tcp_exchange_gives_what_came_instead() -> None:
    with server(b"-ERR\r\n") as (address, _), socket.socket() as sock:
        assert netprobe.tcp_exchange(sock, address, b"x", b"+PONG", 2) == b"-ERR\r\n"
    with server(b"-ERR\r\n", 1.0) as (address, _), socket.socket() as sock:
        assert netprobe.tcp_exchange(sock, address, b"x", b"+PONG", 0.3) == b"-ERR\r\n"


def test_tcp_exchange_without_text_is_a_connection() -> None:
    with server(read=False) as (address, _), socket.socket() as sock:
        assert netprobe.tcp_exchange(sock, address, b"", b"", 2) == b""


def test_delays_start_small_and_stay_bounded() -> None:
    delays = list(islice(netprobe.retry_delays(), 60))
    assert delays[0] < 0.005
    assert delays == sorted(delays)
    assert delays[-1] == 0.25
