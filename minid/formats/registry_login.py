"""Logins for registries: the file that `docker login` and `podman login` write, and what a registry
asks for.

Pure: bytes in, values out. The file is containers-auth.json(5); the challenges are RFC 7235's, with
the parameters of the Docker token specification.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_CHALLENGE = re.compile(r'([A-Za-z]+)\s+((?:[A-Za-z_-]+="[^"]*"(?:\s*,\s*)?)+)')
_PARAMETER = re.compile(r'([A-Za-z_-]+)="([^"]*)"')
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Login:
    """A name and a password, or a token that is changed for others (`identity`). Neither is ever
    shown."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    identity: str = field(default="", repr=False)

    def basic(self) -> str:
        """The value of the header `Authorization`."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class LoginFile:
    """A file of logins: those in it, and the programs that have others, by registry."""

    logins: Mapping[str, Login]
    helpers: Mapping[str, str]
    store: str = ""

    def login(self, registry: str, repository: str) -> Login | None:
        """The login for a repository: that of the longest name which has it."""
        return next(
            (self.logins[key] for key in _keys(registry, repository) if key in self.logins), None
        )

    def helper(self, registry: str) -> tuple[str, str] | None:
        """The credential helper to ask, and for what; None where there is none."""
        for key in _keys(registry, ""):
            if key in self.helpers:
                return self.helpers[key], key
        asked = _HUB_KEYS[0] if registry in _HUB_KEYS else registry
        return (self.store, asked) if self.store else None


def parse_logins(data: bytes) -> LoginFile:
    """Read a config.json of Docker's or an auth.json of podman's; ValueError for what is none."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    logins = {}
    for key, item in _table(value, "auths").items():
        login = _parse_login(item)
        if login is not None:
            logins[_plain(key)] = login
    helpers = {_plain(k): _helper(v) for k, v in _table(value, "credHelpers").items()}
    store = value.get("credsStore") or ""
    return LoginFile(logins, helpers, _helper(store) if store else "")


def parse_helper_answer(data: bytes) -> Login:
    """What `docker-credential-X get` says; ValueError for anything else."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    user, secret = str(value.get("Username", "")), str(value.get("Secret", ""))
    return Login("", "", secret) if user == "<token>" else Login(user, secret)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry asks for: `scheme` in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenge(header: str) -> Challenge | None:
    """The first challenge of `WWW-Authenticate` that is known: Bearer, else Basic."""
    found = [
        Challenge(match[1].lower(), dict(_PARAMETER.findall(match[2])))
        for match in _CHALLENGE.finditer(header[:4096])
    ]
    for scheme in ("bearer", "basic"):
        for challenge in found:
            if challenge.scheme == scheme:
                return challenge
    return Challenge("basic", {}) if header.lower().startswith("basic") else None


def _keys(registry: str, repository: str) -> Iterator[str]:
    """The names under which a login may stand, the most particular first."""
    parts = repository.split("/") if repository else []
    for length in range(len(parts), 0, -1):
        yield f"{registry}/{'/'.join(parts[:length])}"
    yield registry
    if registry in _HUB_KEYS:
        yield from (_plain(key) for key in _HUB_KEYS)


def _plain(key: str) -> str:
    """`https://registry.example/v1/` → `registry.example`, as Docker normalises."""
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    return re.sub(r"/v[12]$", "", bare)


def _table(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{key}: expected an object")
    return found


def _helper(value: object) -> str:
    if not isinstance(value, str) or not _HELPER.fullmatch(value):
        raise ValueError("expected the name of a credential helper")
    return value


def _parse_login(item: object) -> Login | None:
    if not isinstance(item, dict):
        raise ValueError("auths: expected objects")
    identity = str(item.get("identitytoken") or "")
    packed = str(item.get("auth") or "")
    if not packed:
        user, password = str(item.get("username") or ""), str(item.get("password") or "")
        return Login(user, password, identity) if identity or user else None
    try:
        user, colon, password = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise ValueError("auths: expected base64 of NAME:PASSWORD")
    return Login(user, password.rstrip("\0"), identity)
