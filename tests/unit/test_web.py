"""The service's web client against servers that lie, stall, redirect and pack bombs."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from minid.config import Fetching
from minid.errors import FetchError
from minid.formats.url import parse_web_address
from minid.host.http import AbsentError, StatusError
from minid.host.web import Answer, Web
from minid.host.web_address import Insiders, JudgedResolver
from tests.support.lying_server import LyingServer, body, raw, reset
from tests.support.upstream_site import (
    Page,
    UpstreamSite,
    drip,
    endless,
    gzip_bomb,
    hang,
    redirect,
    zipped,
)

T = TypeVar("T")
QUICK = Fetching(
    max_bytes=1 << 20,
    connect_timeout_s=1,
    read_timeout_s=0.2,
    total_timeout_s=5,
    min_bytes_per_s=1000,
)
LISTED = ("127.0.0.1",)


@pytest.fixture(scope="module")
def site():
    with UpstreamSite() as running:
        yield running


@pytest.fixture
def liar():
    with LyingServer() as running:
        yield running


def use(call: Callable[[Web], Awaitable[T]], inside=LISTED, limits: Fetching = QUICK) -> T:
    async def main() -> T:
        async with Web(limits, inside=inside) as web:
            return await call(web)

    return asyncio.run(main())


def get(url: str, inside=LISTED, **options) -> Answer:
    return use(lambda web: web.get(url, **options), inside)


def failure(url: str, inside=LISTED, **options) -> FetchError:
    with pytest.raises(FetchError) as caught:
        get(url, inside, **options)
    return caught.value


def test_a_page_and_what_was_asked(site: UpstreamSite) -> None:
    site.put("/a", zipped(Page(b"hello " * 1000, headers={"X-Word": "yes"})))
    answer = get(site.url("/a?x=%2F"), headers={"If-None-Match": 'W/"1"'})
    assert answer.status == 404
    answer = get(site.url("/a#part"), headers={"If-None-Match": 'W/"1"'})
    assert (answer.status, answer.body) == (200, b"hello " * 1000)
    assert answer.headers.get("x-word") == answer.headers.get("X-Word") == "yes"
    asked = site.requests("/a")[-1].headers
    assert asked["user-agent"].startswith("minid/")
    assert (asked["if-none-match"], asked["accept-encoding"]) == ('W/"1"', "gzip")
    assert site.requests("/a?x=%2F"), "the path is sent as it was written"


def test_one_connection_is_kept(site: UpstreamSite) -> None:
    site.put("/kept", b"x")
    before = site.connections

    async def twice(web: Web) -> None:
        for _ in range(3):
            await web.get(site.url("/kept"))

    use(twice)
    assert site.connections == before + 1


def test_redirects_are_followed_five_times(site: UpstreamSite) -> None:
    for n in range(7):
        site.put(f"/r{n}", redirect(f"r{n + 1}"))
    site.put("/r7", b"end")
    assert get(site.url("/r2")).final_url == site.url("/r7")
    assert "at most 5 redirects" in failure(site.url("/r1")).message


def test_situation_30_a_redirect_inside_is_refused(site: UpstreamSite) -> None:
    for host in ("localhost", "[::1]", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "127.0.0.2"):
        site.put("/in", redirect(f"http://{host}:{site.port}/secret"))
        assert "expected" in failure(site.url("/in")).message, host
    for place in ("file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://user@127.0.0.1/"):
        site.put("/in", redirect(place))
        assert "expected" in failure(site.url("/in")).message, place
    assert not site.requests("/secret")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1"])
def test_inside_hosts_need_to_be_listed(site: UpstreamSite, host: str) -> None:
    error = failure(site.url("/secret", host), ())
    assert not error.retryable
    assert not site.requests("/secret")
    assert use(lambda web: web.get(site.url("/x", "LOCALHOST")), ("localhost",)).status == 404


def test_private_ones_may_be_allowed_at_large(site: UpstreamSite) -> None:
    limits = Fetching(allow_private=True)
    assert use(lambda web: web.get(site.url("/x")), (), limits).status == 404


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("10.0.0.1", True),
        ("169.254.169.254", True),
        ("[::ffff:127.0.0.1]", True),
        ("127.0.0.1.", True),
        ("017700000001", True),
        ("0X7f000001", True),
        ("93.184.216.34", False),
        ("mirror.example", False),
        ("intern.example", False),
    ],
)
def test_hosts_as_they_are_written(host: str, refused: bool) -> None:
    address = parse_web_address(f"http://{host}/")
    insiders = Insiders(["intern.example"])
    if refused:
        with pytest.raises(FetchError, match="a public address"):
            insiders.judge(address)
    else:
        insiders.judge(address)


def test_a_proxy_gets_no_inside_names() -> None:
    insiders = Insiders([], proxied=True)
    insiders.judge(parse_web_address("http://mirror.example/"))
    for host in ("localhost", "intranet", "127.0.0.1"):
        with pytest.raises(FetchError):
            insiders.judge(parse_web_address(f"http://{host}/"))


def test_a_name_with_one_inside_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(*_: object, **__: object):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 80))
            for number in ("93.184.216.34", "10.0.0.1")
        ]

    async def main() -> None:
        resolver = JudgedResolver(Insiders(["good.example"]))
        assert len(await resolver.resolve("good.example", 80)) == 2
        with pytest.raises(FetchError, match=r"'evil\.example': expected a public address"):
            await resolver.resolve("evil.example", 80)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    asyncio.run(main())


def test_sizes_are_counted_decoded(site: UpstreamSite) -> None:
    site.put("/bomb", gzip_bomb(100 << 20))
    site.put("/endless", endless())
    site.put("/members", zipped(Page(b"")), Page(b"x"))
    assert "at most 8388608 bytes" in failure(site.url("/bomb")).message
    assert "at most 1000 bytes" in failure(site.url("/endless"), max_bytes=1000).message
    many = Page(gzip.compress(b"") * 100_000, headers={"Content-Encoding": "gzip"})
    site.put("/many", many)
    assert failure(site.url("/many"), max_bytes=100_000)


def test_a_cut_or_false_gzip_stream(site: UpstreamSite) -> None:
    packed = gzip.compress(b"listing" * 500)
    for data in (packed[:-9], b"no gzip at all", packed[:20] + b"\xff" * 40):
        site.put("/z", Page(data, headers={"Content-Encoding": "gzip"}))
        assert "expected" in failure(site.url("/z")).message
    site.put("/z", Page(b"x", headers={"Content-Encoding": "br"}))
    assert "no Content-Encoding but gzip" in failure(site.url("/z")).message


def test_time_is_bounded(site: UpstreamSite) -> None:
    site.put("/hang", hang())
    site.put("/drip", drip())
    for path in ("/hang", "/drip"):
        error = failure(site.url(path), timeout_s=0.1)
        assert "within 0.1 s" in error.message
        assert error.retryable


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 3000 + b"\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxx",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 \xff\xff OK\r\n\r\n",
        b"\x00" * 5000,
    ],
)
def test_broken_answers_are_told(liar: LyingServer, data: bytes) -> None:
    liar.paths["/b"] = raw(data)
    error = failure(liar.url("/b"))
    assert liar.url("/b") in error.message
    liar.paths["/b"] = reset(data)
    assert failure(liar.url("/b"))


def test_nobody_listens_and_no_such_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plug:
        port = plug.getsockname()[1]
    assert failure(f"http://127.0.0.1:{port}/").retryable
    assert failure("http://no-such-host.invalid/")
    assert failure(f"http://{'x' * 64}.example/")
    assert failure("http://127.0.0.1:99999/")
    assert failure("mailto:x@y.example")


def test_head_and_fetch(site: UpstreamSite) -> None:
    site.put("/h", Page(b"12345", last_modified="Thu, 01 Jan 2026 00:00:00 GMT"))
    answer = use(lambda web: web.head(site.url("/h")))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "5"
    assert use(lambda web: web.fetch(site.url("/h"))) == b"12345"
    with pytest.raises(AbsentError):
        use(lambda web: web.fetch(site.url("/none")))
    site.put("/busy", Page(status=503, headers={"Retry-After": "77"}))
    with pytest.raises(StatusError) as caught:
        use(lambda web: web.fetch(site.url("/busy")))
    assert caught.value.retry_after_s == 77


def download(url: str, sink=None, **options) -> bytes:
    got = bytearray()
    use(lambda web: web.download(url, sink or got.extend, **options))
    return bytes(got)


def test_a_download_is_not_decoded(site: UpstreamSite) -> None:
    data = gzip.compress(bytes(range(256)) * 500)
    site.put("/a.tar.gz", Page(data, headers={"Content-Encoding": "gzip"}))
    steps: list[tuple[int, int | None]] = []
    assert download(site.url("/a.tar.gz"), progress=lambda *n: steps.append(n)) == data
    assert steps[-1] == (len(data), len(data))
    assert site.requests("/a.tar.gz")[-1].headers["accept-encoding"] == "identity"
    site.put("/a.txt", Page(data, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(FetchError, match="no Content-Encoding"):
        download(site.url("/a.txt"))
    with pytest.raises(AbsentError):
        download(site.url("/a.zip"))


def test_a_download_has_the_limits_of_fetching(site: UpstreamSite, liar: LyingServer) -> None:
    site.put("/large", Page(bytes(2 << 20)))
    site.put("/endless", endless())
    site.put("/drip", drip())
    liar.paths["/cut"] = body(b"short", length=100)
    for url, words in (
        (site.url("/large"), "at most 1048576 bytes, got 2097152"),
        (site.url("/endless"), "at most 1048576 bytes, got more"),
        (site.url("/drip"), "at least 1000 bytes/s"),
        (liar.url("/cut"), "expected"),
    ):
        with pytest.raises(FetchError, match=words):
            download(url)
    assert len(download(site.url("/large"), max_bytes=2 << 20)) == 2 << 20


def test_what_a_sink_raises_passes(site: UpstreamSite) -> None:
    site.put("/f", Page(b"x"))

    def full(_: bytes) -> None:
        raise OSError(28, "disk full")

    with pytest.raises(OSError, match="disk full"):
        download(site.url("/f"), full)


def test_a_proxy_is_used(liar: LyingServer) -> None:
    liar.paths["http://mirror.example/page"] = body(b"from afar")
    limits = Fetching(proxy=f"http://user:secret@127.0.0.1:{liar.port}")
    answer = use(lambda web: web.get("http://mirror.example/page"), (), limits)
    assert answer.body == b"from afar"
    assert liar.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXQ="
