"""Web addresses: what minid accepts as one, what it shows of one, where a redirect may lead.

Pure: nothing here resolves a name or opens a connection.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from minid.errors import FetchError

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,200}")
# urlsplit drops tabs and line ends silently; a space would end the request line early.
_NOT_PLAIN = re.compile(r"[^\x21-\x7e]")
# All unicast addresses of the open Internet (RFC 4291, 2.4), and those of RFC 6052 that stand for
# an IPv4 address where a network has no other way to it.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http or https URL in parts. `target` is the path and query that go into the request."""

    url: str
    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as in a Host header; the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return shown(self.url)


def refusal(where: str, wanted: str, got: str) -> FetchError:
    """The FetchError for something that a second try would not change."""
    error = FetchError(f"{where}: expected {wanted}, got {got}")
    error.retryable = False
    return error


def shown(url: str) -> str:
    """`url` for messages: without user, password, query and fragment, which may hold tokens."""
    plain = _NOT_PLAIN.sub("?", url)
    try:
        parts = urlsplit(plain)
    except ValueError:
        return re.sub(r"//[^/]*@", "//", plain)
    query = "?…" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def parse_web_address(url: str) -> WebAddress:
    """Read an http or https URL. FetchError for any other scheme, user data or odd characters."""
    if _NOT_PLAIN.search(url):
        raise refusal(shown(url), "a URL of printable ASCII", "other characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refusal(shown(url), "a URL", str(error)) from None
    if parts.scheme not in _PORTS:
        raise refusal(shown(url), "an http or https URL", repr(parts.scheme))
    if "@" in parts.netloc:
        raise refusal(shown(url), "a URL without user and password", "one with them")
    if not _HOST.fullmatch(parts.hostname or ""):
        raise refusal(shown(url), "a host name", repr(parts.hostname or ""))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebAddress(
        url=url,
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=port or _PORTS[parts.scheme],
        target=target,
    )


def redirected(origin: WebAddress, location: str) -> WebAddress:
    """Where a redirect from `origin` leads. FetchError where it leaves https or the web."""
    if not location:
        raise refusal(str(origin), "a redirect that says where to", "none")
    if _NOT_PLAIN.search(location):
        raise refusal(str(origin), "a redirect of printable ASCII", "other characters")
    target = parse_web_address(urljoin(origin.url, location))
    if origin.scheme == "https" and target.scheme != "https":
        raise refusal(str(origin), "a redirect that stays on https", f"one to '{target}'")
    return target


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open Internet: not loopback, private, link-local, …"""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _TRANSLATED:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    if isinstance(parsed, ipaddress.IPv6Address) and parsed not in _GLOBAL_UNICAST:
        return False
    return parsed.is_global and not parsed.is_multicast


def is_inside_name(host: str) -> bool:
    """Whether a host is an inside one by its name alone: where a proxy does the resolving."""
    try:
        return not is_public(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost") or "." not in name


def file_name(url: str) -> str:
    """The last part of a URL's path, to name a file by. FetchError where it cannot be one."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not _FILE_NAME.fullmatch(name):
        raise refusal(shown(url), "a URL whose path ends in a file name", repr(name))
    return name
