from __future__ import annotations

import time
from dataclasses import replace

import pytest

from minid.config import Fetching
from minid.errors import FetchError
from minid.host.http import (
    AbsentError,
    StatusError,
    download,
    fetch_text,
    parse_retry_after,
    retrying,
)
from minid.host.web_connection import Exchange, Watch
from tests.support.lying_server import (
    LyingServer,
    body,
    in_turn,
    raw,
    redirect,
    reset,
    status,
)

QUICK = Fetching(
    max_bytes=1 << 20,
    connect_timeout_s=1,
    read_timeout_s=0.3,
    total_timeout_s=5,
    min_bytes_per_s=1000,
    attempts=1,
)
DATA = bytes(range(256)) * 1000


@pytest.fixture
def server():
    with LyingServer() as running:
        yield running


def get(server, path, limits=QUICK):
    got = bytearray()
    download(server.url(path), got.extend, limits)
    return bytes(got)


def failure(server, path, limits=QUICK):
    with pytest.raises(FetchError) as caught:
        get(server, path, limits)
    return caught.value


def test_a_file_and_its_progress(server):
    server.paths["/f"] = body(DATA)
    got, steps = bytearray(), []
    download(server.url("/f"), got.extend, QUICK, progress=lambda *step: steps.append(step))
    assert bytes(got) == DATA
    assert steps[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_what_is_asked(server):
    server.paths["/f?a=b"] = body(b"x")
    get(server, "/f?a=b#part")
    (request,) = server.requests
    assert request.method == "GET"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["accept-encoding"] == "identity"
    assert "authorization" not in request.headers
    assert server.connections == 1  # the one to the address that was judged


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
    ],
)
def test_ways_to_end_a_body(server, answer):
    server.paths["/f"] = raw(answer)
    assert get(server, "/f") == b"abcde"


def test_empty_files_are_files(server):
    server.paths["/f"] = body(b"")
    assert get(server, "/f") == b""


def test_truncated(server):
    server.paths["/f"] = body(DATA[:-1], length=len(DATA))
    error = failure(server, "/f")
    assert error.retryable
    assert f"expected {len(DATA)} bytes, got {len(DATA) - 1}" in error.message


def test_truncated_chunks(server):
    server.paths["/f"] = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc")
    assert failure(server, "/f").retryable


def test_longer_than_announced_is_cut_there(server):
    server.paths["/f"] = body(DATA, length=10)
    assert get(server, "/f") == DATA[:10]


def test_endless(server):
    server.paths["/f"] = server.endless()
    error = failure(server, "/f")
    assert not error.retryable
    assert "at most 1048576 bytes" in error.message


def test_too_large_by_its_own_account_is_not_read(server):
    server.paths["/f"] = body(b"", length=(1 << 20) + 1)
    error = failure(server, "/f")
    assert not error.retryable
    assert "got 1048577" in error.message


@pytest.mark.parametrize("length", ["-1", "1e3", "5, 5", "9" * 30, "0x10"])
def test_odd_lengths(server, length):
    server.paths["/f"] = raw(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabcde".encode())
    assert "Content-Length" in failure(server, "/f").message


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTT",
    ],
    ids=["body", "header", "status line"],
)
def test_dripping(server, head):
    server.paths["/f"] = server.dripping(head)
    started = time.monotonic()
    error = failure(server, "/f")
    assert time.monotonic() - started < 2
    assert error.retryable
    assert "bytes/s" in error.message


def test_endless_interim_answers(server):
    server.paths["/f"] = server.dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
    assert failure(server, "/f").retryable


def test_silence(server):
    server.paths["/f"] = server.silent()
    error = failure(server, "/f")
    assert error.retryable
    assert "in time" in error.message


def test_total_time(server):
    server.paths["/f"] = server.endless()
    slow = replace(QUICK, max_bytes=1 << 50, total_timeout_s=0.3)
    started = time.monotonic()
    error = failure(server, "/f", slow)
    assert time.monotonic() - started < 2
    assert "within 0.3 s" in error.message


def test_reset(server):
    server.paths["/early"] = reset()
    server.paths["/late"] = reset(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")
    assert failure(server, "/early").retryable
    assert failure(server, "/late").retryable


def test_nobody_listens():
    with LyingServer() as gone:
        url = gone.url("/f")
    with pytest.raises(FetchError, match="refused"):
        download(url, bytearray().extend, QUICK)


@pytest.mark.parametrize("garbage", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 xyz\r\n\r\n", b"\0" * 100])
def test_what_is_no_http(server, garbage):
    server.paths["/f"] = raw(garbage)
    assert server.url("/f") in failure(server, "/f").message


def test_too_many_headers(server):
    server.paths["/f"] = raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n")
    assert server.url("/f") in failure(server, "/f").message


@pytest.mark.parametrize(("code", "retryable"), [(429, True), (500, True), (503, True)])
def test_busy(server, code, retryable):
    server.paths["/f"] = status(code, "Retry-After: 7")
    error = failure(server, "/f")
    assert isinstance(error, StatusError)
    assert (error.status, error.retryable, error.retry_after_s) == (code, retryable, 7)


@pytest.mark.parametrize("code", [204, 206, 300, 304, 401, 403, 407, 418, 501, 505])
def test_answers_that_are_final(server, code):
    server.paths["/f"] = status(code)
    error = failure(server, "/f")
    assert isinstance(error, StatusError)
    assert not error.retryable


@pytest.mark.parametrize("code", [404, 410])
def test_absent(server, code):
    server.paths["/f"] = status(code)
    error = failure(server, "/f")
    assert isinstance(error, AbsentError)
    assert not error.retryable


def test_a_packed_body_is_refused(server):
    server.paths["/f"] = body(b"\x1f\x8b" + b"\0" * 100, "Content-Encoding: gzip")
    error = failure(server, "/f")
    assert not error.retryable
    assert "Content-Encoding" in error.message


def test_another_packing_than_the_name_s_is_refused(server):
    server.paths["/f.tar.gz"] = body(b"x", "Content-Encoding: br")
    server.paths["/f.tar.xz"] = body(b"x", "Content-Encoding: gzip")
    assert "'br'" in failure(server, "/f.tar.gz").message
    assert "'gzip'" in failure(server, "/f.tar.xz").message


def test_a_packed_file_that_is_called_packed_is_left_as_it_is(server):
    server.paths["/f.tar.gz"] = body(b"\x1f\x8b not gzip", "Content-Encoding: x-gzip")
    assert get(server, "/f.tar.gz") == b"\x1f\x8b not gzip"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects(server, code):
    server.paths["/f"] = redirect("g", code)
    server.paths["/g"] = body(b"there")
    assert get(server, "/f") == b"there"


def test_errors_behind_a_redirect_name_both_places(server):
    server.paths["/f"] = redirect("/g")
    error = failure(server, "/f")
    assert isinstance(error, AbsentError)
    assert server.url("/f") in str(error)
    assert server.url("/g") in str(error)


def test_redirect_loop(server):
    server.paths["/f"] = redirect("/f")
    error = failure(server, "/f")
    assert not error.retryable
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/f", "http://u:secret@127.0.0.1/f", ""]
)
def test_redirects_out_of_the_web(server, location):
    server.paths["/f"] = redirect(location)
    error = failure(server, "/f")
    assert not error.retryable
    assert "secret" not in error.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_inside_hosts_are_not_connected_to(server, host):
    """Where the first URL was a public one, this is how each of its redirects is asked."""
    from minid.formats.url import parse_web_address

    server.paths["/f"] = body(b"x")
    with Watch(QUICK) as watch, pytest.raises(FetchError, match="inside host") as caught:
        Exchange(parse_web_address(server.url("/f", host)), QUICK, watch).ask()
    assert not caught.value.retryable
    assert server.connections == 0


def test_inside_hosts_are_not_asked_of_a_proxy(server):
    from minid.formats.url import parse_web_address
    from minid.host.web_connection import parse_proxy

    proxy = parse_proxy(server.url("/"))
    with Watch(QUICK) as watch, pytest.raises(FetchError, match="inside host"):
        Exchange(parse_web_address("http://localhost/f"), QUICK, watch, proxy=proxy).ask()
    assert server.connections == 0


def test_through_a_proxy(server):
    server.paths["http://upstream.invalid/f"] = redirect("http://other.invalid:81/g")
    server.paths["http://other.invalid:81/g"] = body(b"by proxy")
    limits = replace(QUICK, proxy=f"http://me:p%40ss@127.0.0.1:{server.port}/")
    assert fetch_text("http://upstream.invalid/f", limits, 100) == "by proxy"
    assert [request.headers["host"] for request in server.requests] == [
        "upstream.invalid",
        "other.invalid:81",
    ]
    assert {request.headers["proxy-authorization"] for request in server.requests} == {
        "Basic bWU6cEBzcw=="
    }


def test_a_proxy_that_refuses_a_tunnel(server):
    server.paths["upstream.invalid:443"] = status(403)
    limits = replace(QUICK, proxy=f"http://me:secret@127.0.0.1:{server.port}")
    with pytest.raises(FetchError, match="403") as caught:
        fetch_text("https://upstream.invalid/f", limits, 100)
    assert server.requests[0].method == "CONNECT"
    assert "secret" not in caught.value.message


def test_what_the_sink_raises_passes(server):
    server.paths["/f"] = body(DATA)

    def full(_: bytes) -> None:
        raise OSError(28, "no space left")

    with pytest.raises(OSError, match="no space left"):
        download(server.url("/f"), full, QUICK)


def test_text(server):
    server.paths["/f"] = body(b"caf\xc3\xa9 \xff")
    assert fetch_text(server.url("/f"), QUICK, 100) == "café �"
    with pytest.raises(FetchError, match="at most 3 bytes"):
        fetch_text(server.url("/f"), QUICK, 3)


def test_text_is_tried_again(server):
    server.paths["/f"] = in_turn(status(500), body(b"half", length=8), body(b"whole"))
    assert fetch_text(server.url("/f"), replace(QUICK, attempts=3), 100) == "whole"


def run_retrying(errors, attempts):
    """How often it was called, what it slept, and whether it came through."""
    left, slept = list(errors), []

    def attempt():
        if left:
            raise left.pop(0)
        return "done"

    try:
        result = retrying(attempt, attempts, sleep=slept.append, jitter=lambda: 1.0)
    except FetchError as error:
        result = error
    return result, slept


def test_pauses_grow():
    result, slept = run_retrying([FetchError("a"), FetchError("b"), FetchError("c")], 4)
    assert (result, slept) == ("done", [0.5, 1.0, 2.0])


def test_the_last_error_passes():
    last = FetchError("b")
    assert run_retrying([FetchError("a"), last], 2) == (last, [0.5])


def test_what_is_final_is_not_tried_again():
    final = AbsentError("x", 404)
    assert run_retrying([final], 5) == (final, [])


def test_the_server_says_when():
    errors = [StatusError("x", 429, 7.0), StatusError("x", 503, 1e6), StatusError("x", 503, 0.0)]
    assert run_retrying(errors, 4) == ("done", [7.0, 60.0, 2.0])


def test_pauses_never_pass_a_minute():
    _, slept = run_retrying([FetchError("x")] * 12, 13)
    assert max(slept) == 60.0


def test_retry_after():
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    assert parse_retry_after("120", "") == 120
    assert parse_retry_after("Wed, 21 Oct 2026 07:29:30 GMT", date) == 90
    assert parse_retry_after("Wed, 21 Oct 2026 07:27:00 GMT", date) == 0
    for odd in ("", "soon", "-1", "1.5", "²"):
        assert parse_retry_after(odd, date) is None
