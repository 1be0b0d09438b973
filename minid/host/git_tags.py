"""The tags of a remote repository, by `git ls-remote`, which needs no clone and has no quota.

git reads no configuration, asks nobody for a password, follows no redirect, speaks nothing but
http and https, and connects to the address that was judged.
"""

from __future__ import annotations

import re
from pathlib import Path

from minid.errors import FetchError, HostError
from minid.formats.url import WebAddress, parse_web_address, shown
from minid.host.http import status_error
from minid.host.process import Finished, clean_environ, find_program, need_program, run
from minid.host.web_address import Insiders
from minid.host.web_connection import Proxy, resolve

MAX_OUTPUT = 8 << 20
TIMEOUT_S = 30.0
_PREFIX = b"refs/tags/"
_STATUS = re.compile(rb"returned error: ([45]\d\d)\b")
_ABSENT = re.compile(rb"^fatal: repository '.*' not found$", re.MULTILINE)
# git keeps a whole answer in memory, however long it is.
_MAX_MEMORY = 512 << 20


def list_tags(
    url: str, insiders: Insiders, *, proxy: Proxy | None = None, timeout_s: float = TIMEOUT_S
) -> tuple[str, ...]:
    """The tags' names in git's order, each once. Blocks for up to `timeout_s`.

    FetchError for whatever the server does, StatusError where git tells the status, HostError where
    git is missing.
    """
    address = parse_web_address(url)
    insiders.judge(address)
    pinned = _pin(address, insiders)
    argv = [*_limit_argv(), *ls_remote_argv(address, pinned, proxy)]
    try:
        done = run(
            argv, timeout_s=timeout_s, environ=_environ(), cwd=Path("/"), max_output=MAX_OUTPUT
        )
    except HostError as error:
        if error.message.startswith("git: expected on PATH"):
            raise
        raise FetchError(f"{shown(url)}: {error.message}") from error
    if done.status != 0:
        if status := _status(done.stderr):
            raise status_error(shown(url), status, None)
        raise FetchError(f"{shown(url)}: expected a git repository, got {_reason(done)}")
    return parse_tags(done.stdout)


def ls_remote_argv(address: WebAddress, pinned: str, proxy: Proxy | None) -> list[str]:
    """The command line. `pinned` is curl's HOST:PORT:ADDRESS, or empty."""
    settings = [
        "protocol.allow=never",
        f"protocol.{address.scheme}.allow=always",
        "http.followRedirects=false",
        "http.sslVerify=true",
        "http.lowSpeedLimit=100",
        "http.lowSpeedTime=10",
        "credential.helper=",
        f"http.proxy={proxy.url if proxy else ''}",
    ]
    if pinned:
        settings.append(f"http.curloptResolve={pinned}")
    if proxy and proxy.authorization:
        settings.append(f"http.extraHeader=Proxy-Authorization: {proxy.authorization}")
    options = [word for setting in settings for word in ("-c", setting)]
    return ["git", *options, "ls-remote", "--tags", "--refs", "--quiet", "--", address.url]


def parse_tags(output: bytes) -> tuple[str, ...]:
    """The names in lines of `OID<tab>refs/tags/NAME`. An annotated tag's `NAME^{}`, which stands
    for the commit under it, is the same tag."""
    names: dict[str, None] = {}
    for line in output.splitlines():
        _, tab, reference = line.partition(b"\t")
        if tab and reference.startswith(_PREFIX):
            name = reference.removeprefix(_PREFIX).removesuffix(b"^{}").decode("utf-8", "replace")
            if name.isprintable() and name:
                names[name] = None
    return tuple(names)


def _pin(address: WebAddress, insiders: Insiders) -> str:
    """The judged addresses of the host as curl's option has them; empty where it is one itself."""
    if insiders.proxied or ":" in address.host:
        return ""
    try:
        numbers = resolve(address.host, address.port)
    except (OSError, UnicodeError) as error:
        raise FetchError(
            f"{address}: expected an IP address of {address.host!r}, got none"
        ) from error
    insiders.judge_numbers(address.host, numbers)
    if address.host in numbers:
        return ""
    words = ",".join(f"[{number}]" if ":" in number else number for number in numbers)
    return f"{address.host}:{address.port}:{words}"


def _limit_argv() -> list[str]:
    """The program before the program that keeps its memory small, where there is one."""
    need_program("git")
    found = find_program("prlimit")
    return [str(found), f"--as={_MAX_MEMORY}", "--"] if found else []


def _environ() -> dict[str, str]:
    return clean_environ() | {
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CEILING_DIRECTORIES": "/",
    }


def _status(stderr: bytes) -> int:
    """The HTTP status that git tells of, or 0."""
    found = _STATUS.search(stderr)
    return int(found[1]) if found else 404 if _ABSENT.search(stderr) else 0


def _reason(done: Finished) -> str:
    lines = done.stderr.decode("utf-8", "replace").split("\n")
    said = next((line for line in lines if line.startswith(("fatal:", "error:"))), "")
    text = "".join(letter if letter.isprintable() else "?" for letter in said)
    return repr(text[:200]) if text else f"exit code {done.status}"
