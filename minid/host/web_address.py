"""Which addresses the service may connect to: the judgement before a name is resolved and after."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from minid.errors import FetchError
from minid.formats.url import WebAddress, is_inside_name, is_public, refusal

# What the C library takes for an IPv4 address although it is not written like one: 127.1, 017.1.
_ODD_ADDRESS = re.compile(r"[0-9.]+|.*(^|\.)0x[0-9a-f]*\.?", re.IGNORECASE)


class Insiders:
    """The hosts that may have loopback or private addresses: `listed`, or `everybody`.

    Where requests are `proxied` the proxy resolves names, so that they are judged as they are
    written.
    """

    def __init__(
        self, listed: Collection[str], *, everybody: bool = False, proxied: bool = False
    ) -> None:
        self._listed = frozenset(map(_plain, listed))
        self._everybody = everybody
        self.proxied = proxied

    def __contains__(self, host: str) -> bool:
        """Whether inside addresses of that host are fine."""
        return self._everybody or self.lists(host)

    def lists(self, host: str) -> bool:
        """Whether the operator lists that very host."""
        return _plain(host) in self._listed

    def judge(self, address: WebAddress) -> None:
        """FetchError where the host, as it is written, is not to be asked."""
        host = address.host
        if host in self:
            return
        try:
            outside = is_public(host)
        except ValueError:
            outside = not _ODD_ADDRESS.fullmatch(host)
            if self.proxied:
                outside = outside and not is_inside_name(host)
        if not outside:
            raise stay_outside(address.host)

    def judge_numbers(self, host: str, numbers: Collection[str]) -> None:
        """FetchError where one of the host's IP addresses is not to be connected to."""
        if host not in self and not self.proxied and not all(map(is_public, numbers)):
            raise stay_outside(host)


class JudgedResolver(ThreadedResolver):
    """Gives aiohttp the addresses that were judged, which are then the ones connected to."""

    def __init__(self, insiders: Insiders) -> None:
        super().__init__()
        self._insiders = insiders

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As AbstractResolver.resolve; FetchError where the host is an inside one."""
        try:
            found = await super().resolve(host, port, family)
        except UnicodeError as error:  # a label of more than 63 letters
            raise OSError(str(error)) from error
        self._insiders.judge_numbers(host, [entry["host"] for entry in found])
        return found


def stay_outside(host: str) -> FetchError:
    """The error for a host that is not to be asked."""
    error = refusal(repr(host), "a public address", "an inside host")
    error.hint = "config.toml: track.inside lists hosts with private addresses that may be asked"
    return error


def _plain(host: str) -> str:
    name = host.lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name
