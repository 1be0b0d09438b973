"""The one door through which minid makes web requests.

GET only, one connection a request, nothing decoded, nothing remembered. Bytes go to the caller's
sink as they come and are worth nothing before the caller has compared their digest.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

from minid.config import Fetching
from minid.errors import FetchError
from minid.formats.url import WebAddress, parse_web_address, redirected, refusal, shown
from minid.host.web_connection import Exchange, Watch, is_inside, parse_proxy

Progress = Callable[[int, "int | None"], None]
_T = TypeVar("_T")

MAX_REDIRECTS = 5
MAX_PAUSE_S = 60.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
# Encodings that are only another word for how a file of that name is packed.
_OWN_ENCODINGS = {
    "gzip": (".gz", ".tgz"),
    "x-gzip": (".gz", ".tgz"),
    "bzip2": (".bz2",),
    "x-bzip2": (".bz2",),
    "xz": (".xz",),
    "x-xz": (".xz",),
    "zstd": (".zst",),
}


class StatusError(FetchError):
    """The place answered, with another status than 200; `retry_after_s` where it says when.
    `place` is the place's URL where it may be another than the one that was asked for."""

    def __init__(self, where: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(f"{where}: expected status 200, got {status}")
        self.status = status
        self.retry_after_s = retry_after_s
        self.place = ""
        self.retryable = status in _TRY_AGAIN


class AbsentError(StatusError):
    """The place answered that it does not have the file."""


def download(
    url: str,
    sink: Callable[[bytes], object],
    limits: Fetching,
    *,
    progress: Progress | None = None,
) -> None:
    """Fetch `url` once and hand its bytes to `sink` in order; `retrying` makes more attempts of it.

    Returns only where the body is whole by the server's own account. `progress` gets the bytes so
    far and the announced length. Redirects are followed over http and https, never from https to
    http, and to inside addresses only where `url` itself is on one or `limits.allow_private`.
    Raises AbsentError (404, 410), StatusError or another FetchError, whose `retryable` says whether
    another attempt can help. Whatever `sink` and `progress` raise passes through.
    """
    try:
        _follow(url, sink, limits, progress)
    except FetchError as error:
        if shown(url) not in error.message:  # it is about a place that a redirect led to
            error.message = f"{shown(url)}: {error.message}"
            error.args = (error.message,)
        raise


def _follow(
    url: str, sink: Callable[[bytes], object], limits: Fetching, progress: Progress | None
) -> None:
    """Ask from redirect to redirect, and take the body at their end."""
    address = parse_web_address(url)
    proxy = parse_proxy(limits.proxy) if limits.proxy else None
    inside_allowed = limits.allow_private or is_inside(address, proxied=proxy is not None)
    with Watch(limits) as watch:
        for _ in range(MAX_REDIRECTS + 1):
            exchange = Exchange(address, limits, watch, proxy=proxy, inside_allowed=inside_allowed)
            with contextlib.closing(exchange):
                status = exchange.ask()
                if status not in REDIRECTS:
                    _check_status(exchange, status)
                    _receive(exchange, sink, limits.max_bytes, progress)
                    return
                address = redirected(address, exchange.header("Location"))
    raise refusal(shown(url), f"at most {MAX_REDIRECTS} redirects", "more")


def fetch_text(
    url: str, limits: Fetching, max_bytes: int, *, progress: Progress | None = None
) -> str:
    """A small page as text, UTF-8 with replacement characters, in up to `limits.attempts` tries.

    FetchError as in `download`, also where the page is larger than `max_bytes`.
    """
    small = replace(limits, max_bytes=max_bytes)

    def attempt() -> str:
        page = bytearray()
        download(url, page.extend, small, progress=progress)
        return page.decode("utf-8", "replace")

    return retrying(attempt, limits.attempts)


def retrying(
    attempt: Callable[[], _T],
    attempts: int,
    *,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> _T:
    """Call `attempt` until it succeeds, at most `attempts` times; the last FetchError passes.

    Between two calls it waits 0.5 s, 1 s, 2 s …, each times 0.5 to 1 by `jitter`, or as long as
    the server asked, and never longer than a minute. Errors that are not retryable pass at once.
    """
    for number in range(attempts - 1):
        try:
            return attempt()
        except FetchError as error:
            if not error.retryable:
                raise
            pause = 0.5 * 2.0**number * (0.5 + jitter() / 2)
            asked = error.retry_after_s if isinstance(error, StatusError) else None
            sleep(min(MAX_PAUSE_S, max(pause, asked or 0.0)))
    return attempt()


def parse_retry_after(value: str, date: str) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3); dates count from `date`."""
    from email.utils import parsedate_to_datetime

    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        wait = (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(0.0, wait)


def _check_status(exchange: Exchange, status: int) -> None:
    if status != 200:
        wait = parse_retry_after(exchange.header("Retry-After"), exchange.header("Date"))
        raise status_error(str(exchange.address), status, wait)


def status_error(where: str, status: int, retry_after_s: float | None) -> StatusError:
    """The error for an answer with another status than 200."""
    kind = AbsentError if status in (404, 410) else StatusError
    return kind(where, status, retry_after_s)


def _receive(
    exchange: Exchange,
    sink: Callable[[bytes], object],
    max_bytes: int,
    progress: Progress | None,
) -> None:
    """Pass the body on, counting. A server that sends on past its Content-Length is not heard."""
    where = str(exchange.address)
    check_encoding(exchange.address, exchange.header("Content-Encoding"))
    length = _content_length(exchange)
    done = 0
    if (length or 0) > max_bytes:
        raise refusal(where, f"at most {max_bytes} bytes", str(length))
    while chunk := exchange.read():
        done += len(chunk)
        if done > max_bytes:
            raise refusal(where, f"at most {max_bytes} bytes", "more")
        sink(chunk)
        if progress is not None:
            progress(done, length)
    if length is not None and done != length:
        raise FetchError(f"{where}: expected {length} bytes, got {done}")


def check_encoding(address: WebAddress, encoding: str) -> None:
    """Refuse a body that is not the file itself.

    Servers that label `x.tar.gz` as gzip-encoded are common and mean the file's own packing: such
    a body is taken as it comes. Nothing is ever decoded.
    """
    if encoding.lower() in ("", "identity"):
        return
    if not urlsplit(address.url).path.endswith(_OWN_ENCODINGS.get(encoding.lower(), ())):
        raise refusal(str(address), "no Content-Encoding", repr(encoding))


def _content_length(exchange: Exchange) -> int | None:
    """The announced length; None where the body ends by itself: chunked, or with its connection."""
    value = exchange.header("Content-Length")
    if not value or exchange.header("Transfer-Encoding"):
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise refusal(str(exchange.address), "a Content-Length", repr(value))
    return int(value)
