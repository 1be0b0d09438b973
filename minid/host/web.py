"""Web requests of the service: many hosts side by side in one event loop, unattended.

What `host.http` is for a build, this is for pages and for archives that a person has not seen yet.
Bodies are counted while they come; redirects are followed by hand; only public addresses are
connected to, but for hosts that the operator lists. Importing this module imports aiohttp.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import aiohttp
from yarl import URL

import minid
from minid.config import Fetching
from minid.errors import FetchError
from minid.formats.url import WebAddress, parse_web_address, redirected, refusal, shown
from minid.host.http import (
    MAX_REDIRECTS,
    REDIRECTS,
    Progress,
    StatusError,
    check_encoding,
    parse_retry_after,
    status_error,
)
from minid.host.web_address import Insiders, JudgedResolver
from minid.host.web_connection import parse_proxy

MAX_PAGE_BYTES = 8 << 20
CONNECT_TIMEOUT_S = 10.0
TOTAL_TIMEOUT_S = 30.0

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_T = TypeVar("_T")
_Take = Callable[[WebAddress, aiohttp.ClientResponse], Awaitable[_T]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, whatever its status. The names of `headers` are in any case; `body` is
    decoded; `final_url` is where redirects led."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    final_url: str


class Web:
    """One session for all requests of the service; closed by `close` or `async with`.

    `inside` are host names that may have loopback or private addresses, `page_timeout_s` is how
    long a page may take in all. Every method raises
    FetchError, and nothing else, for whatever a server or the network does.
    """

    def __init__(
        self,
        limits: Fetching,
        *,
        inside: Collection[str] = (),
        page_timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> None:
        self._limits = limits
        self._page_timeout_s = page_timeout_s
        self.proxy = parse_proxy(limits.proxy) if limits.proxy else None
        self.insiders = Insiders(
            inside, everybody=limits.allow_private, proxied=self.proxy is not None
        )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Web:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        max_bytes: int = MAX_PAGE_BYTES,
        timeout_s: float | None = None,
    ) -> Answer:
        """A page of at most `max_bytes`, decoded, in at most `timeout_s` (the session's
        `page_timeout_s`) with all redirects.

        Any status is an answer, but for redirects, which are followed.
        """

        async def take(address: WebAddress, response: aiohttp.ClientResponse) -> Answer:
            body = await _read_page(address, response, max_bytes)
            return Answer(response.status, response.headers, body, address.url)

        limit = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)
        return await self._within(
            timeout_s or self._page_timeout_s, url, self._follow("GET", url, headers, limit, take)
        )

    async def head(self, url: str, *, headers: Mapping[str, str] = _NO_HEADERS) -> Answer:
        """What `get` would answer, without a body."""

        async def take(address: WebAddress, response: aiohttp.ClientResponse) -> Answer:
            return Answer(response.status, response.headers, b"", address.url)

        limit = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)
        asked = self._follow("HEAD", url, headers, limit, take)
        return await self._within(self._page_timeout_s, url, asked)

    async def fetch(self, url: str, max_bytes: int = MAX_PAGE_BYTES) -> bytes:
        """The bytes of a small file. AbsentError for 404 and 410, StatusError for another status
        than 200."""
        answer = await self.get(url, max_bytes=max_bytes)
        if answer.status != 200:
            raise answer_error(answer)
        return answer.body

    async def download(
        self,
        url: str,
        sink: Callable[[bytes], object],
        *,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Answer:
        """Hand a file to `sink` as it comes, not decoded, within the limits of `[fetch]`.

        Returns, with an empty body, only where the file is whole by the server's own account.
        AbsentError and StatusError as `fetch`; what `sink` and `progress` raise passes through.
        """
        limits = self._limits
        cap = limits.max_bytes if max_bytes is None else max_bytes

        def hand(chunk: bytes, done: int, length: int | None) -> None:
            try:
                sink(chunk)
                if progress is not None:
                    progress(done, length)
            except Exception as error:
                raise _PassedError(error) from error

        async def take(address: WebAddress, response: aiohttp.ClientResponse) -> Answer:
            if response.status != 200:
                raise answer_error(Answer(response.status, response.headers, b"", address.url))
            check_encoding(address, response.headers.get("Content-Encoding", ""))
            done, length = 0, response.content_length
            if (length or 0) > cap:
                raise refusal(str(address), f"at most {cap} bytes", str(length))
            async for chunk in _paced(address, response, limits):
                done += len(chunk)
                if done > cap:
                    raise refusal(str(address), f"at most {cap} bytes", "more")
                hand(chunk, done, length)
            return Answer(response.status, response.headers, b"", address.url)

        limit = aiohttp.ClientTimeout(sock_connect=limits.connect_timeout_s)
        headers = {"Accept-Encoding": "identity"}
        asked = self._follow("GET", url, headers, limit, take)
        try:
            return await self._within(limits.total_timeout_s, url, asked)
        except _PassedError as passed:
            raise passed.error from None

    async def _within(self, seconds: float, url: str, asked: Awaitable[_T]) -> _T:
        """The result, in time; a message about another place also names `url`."""
        try:
            async with asyncio.timeout(seconds):
                return await asked
        except TimeoutError:
            raise FetchError(
                f"{shown(url)}: expected an end within {seconds:g} s, got none"
            ) from None
        except FetchError as error:
            if shown(url) not in error.message:
                error.message = f"{shown(url)}: {error.message}"
                error.args = (error.message,)
            raise

    async def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        limit: aiohttp.ClientTimeout,
        take: _Take[_T],
    ) -> _T:
        address = parse_web_address(url)
        for _ in range(MAX_REDIRECTS + 1):
            self.insiders.judge(address)
            async with self._ask(method, address, headers, limit) as response:
                if response.status not in REDIRECTS:
                    return await take(address, response)
                location = response.headers.get("Location", "")
            address = redirected(address, location)
        raise refusal(shown(url), f"at most {MAX_REDIRECTS} redirects", "more")

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        address: WebAddress,
        headers: Mapping[str, str],
        limit: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's headers; network trouble of any kind, also later in the body, is told."""
        session = self._session or self._open()
        url = URL(f"{address.scheme}://{address.authority}{address.target}", encoded=True)
        proxy = self.proxy
        secret: dict[str, str] = {}
        if proxy and proxy.authorization:
            secret["Proxy-Authorization"] = proxy.authorization
        tunnelled = address.scheme == "https"
        with _translated(address):
            async with session.request(
                method,
                url,
                headers=headers if tunnelled else {**headers, **secret},
                allow_redirects=False,
                timeout=limit,
                proxy=proxy.url if proxy else None,
                proxy_headers=secret if tunnelled else None,
            ) as response:
                yield response

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=JudgedResolver(self.insiders),
            ssl=ssl.create_default_context(),  # aiohttp's own is as old as its import
            limit=0,
            ttl_dns_cache=60,
            keepalive_timeout=30,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={
                "User-Agent": f"minid/{minid.__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "gzip",
            },
        )
        return self._session


@contextmanager
def _translated(address: WebAddress) -> Iterator[None]:
    """Turn what the network and its parsers raise into a FetchError."""
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
        raise _network_failure(address, error) from error


class _PassedError(Exception):
    """Carries what a caller's own function raised past all that is about the network."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _network_failure(address: WebAddress, error: Exception) -> FetchError:
    """What a connection's end means, and whether another attempt can help."""
    if isinstance(error, TimeoutError):
        return FetchError(f"{address}: expected bytes in time, got none")
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        return refusal(str(address), "a trusted TLS connection", str(error)[:200])
    if isinstance(error, aiohttp.InvalidURL):
        return refusal(str(address), "a URL", "another text")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FetchError(f"{address}: expected an IP address of {address.host!r}, got none")
    if isinstance(error, aiohttp.ClientResponseError):
        return FetchError(f"{address}: expected an HTTP answer, got {error.message[:200]!r}")
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return FetchError(f"{address}: expected an answer, got {' '.join(str(text).split())[:200]}")


def answer_error(answer: Answer) -> StatusError:
    """The error that an answer with another status than 200 is to who needs the body."""
    headers = answer.headers
    wait = parse_retry_after(headers.get("Retry-After", ""), headers.get("Date", ""))
    error = status_error(shown(answer.final_url), answer.status, wait)
    error.place = answer.final_url
    return error


async def _read_page(
    address: WebAddress, response: aiohttp.ClientResponse, max_bytes: int
) -> bytes:
    """The whole body, decoded. A small body of zeros that unpacks to gigabytes is cut off too."""
    encoding = response.headers.get("Content-Encoding", "").lower()
    gzipped = encoding in ("gzip", "x-gzip")
    if not gzipped and encoding not in ("", "identity"):
        raise refusal(str(address), "no Content-Encoding but gzip", repr(encoding[:50]))
    body = bytearray()
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    received = 0
    while chunk := await response.content.readany():
        received += len(chunk)
        if gzipped:
            # One byte more than there is room for: then it is too much, however much it is.
            chunk = stream.decompress(chunk, max_bytes + 1 - len(body))
        body += chunk
        if max(len(body), received) > max_bytes:
            raise refusal(str(address), f"at most {max_bytes} bytes", "more")
    if gzipped and received and not stream.eof:
        raise FetchError(f"{address}: expected a whole gzip stream, got one that is cut")
    return bytes(body)


async def _paced(
    address: WebAddress, response: aiohttp.ClientResponse, limits: Fetching
) -> AsyncIterator[bytes]:
    """The chunks of a body; FetchError where fewer bytes come than `limits` ask for."""
    window_s, clock = limits.read_timeout_s, asyncio.get_running_loop().time
    wanted = limits.min_bytes_per_s * window_s
    end, got = clock() + window_s, 0
    while True:
        try:
            async with asyncio.timeout_at(end):
                chunk = await response.content.readany()
        except TimeoutError:
            chunk = None
        if chunk == b"":
            return
        if chunk:
            got += len(chunk)
            yield chunk
        if clock() >= end:
            if got < wanted:
                asked = f"at least {limits.min_bytes_per_s} bytes/s"
                raise FetchError(f"{address}: expected {asked}, got {got / window_s:.0f} bytes/s")
            end, got = clock() + window_s, 0
