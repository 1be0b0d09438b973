"""Users and groups that a program asked for in vain, and the configuration that says where."""

from __future__ import annotations

import re
from collections.abc import Iterator

from minid.formats.accounts import Accounts
from minid.formats.dlopen_rules import DEFAULT_NSSWITCH
from minid.formats.probe import ENOENT, Event, Finding, Seen
from minid.formats.recipe_lines import RecipeLines
from minid.recipe import File, Group, User

NSSWITCH = "/etc/nsswitch.conf"
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_NOBODY = 65534
_ROOT = User("root", 0, 0, home="/root", shell="/bin/sh")  # noqa: S604 (a user's, not a call's)
# How programs put it, for C libraries that ask no name service daemon.
_UNKNOWN = r"(?:unknown|invalid|no such|bad|find(?: the)?)"
_QUOTED = r"""["'`‘(]?([a-z_][\w-]*)"""
_GONE = r"""["'’]? (?:is )?(?:not found|unknown|does ?n.t exist)"""
_SAID = {
    kind: re.compile(
        rf"""{call}(?:_r)?\(["']?([^"')]+)"""
        rf"|{_UNKNOWN} {kind}(?:name| name|/group)?[ :]*{_QUOTED}"
        rf"|{kind} {_QUOTED}{_GONE}"
        rf"|{other}",
        re.IGNORECASE,
    )
    for kind, call, other in (
        ("user", "getpwnam", r"user(?:name)? ([a-z_][\w-]*) to switch to"),
        ("group", "getgrnam", r"user/group [a-z_][\w-]*:([a-z_][\w-]*)"),
    )
}


def find_names(seen: Seen, accounts: Accounts) -> Iterator[Finding]:
    """Users, groups and the name service's configuration; `accounts` are the root's."""
    asked = dict.fromkeys(seen.names)
    heard = {kind for kind, _ in asked}
    for kind in ("user", "group"):
        if kind not in heard and _opened(seen, "passwd" if kind == "user" else "group"):
            asked |= dict.fromkeys(_said(seen, kind))
    users = [name for kind, name in asked if kind == "user" and name not in _known(accounts, kind)]
    for kind, name in asked:
        if kind == "user" and name in users:
            yield _user(seen, name)
        elif kind == "group" and name not in _known(accounts, kind) and name not in users:
            if _NAME.fullmatch(name):
                yield _group(seen, name)
        elif kind == "uid" and name.isdigit() and not _has_number(accounts.passwd, name):
            yield _number(seen, name)
    yield from _name_service(seen)


def _known(accounts: Accounts, kind: str) -> set[str]:
    text = accounts.passwd if kind == "user" else accounts.group
    return {line.partition(":")[0] for line in text.splitlines()}


def _has_number(text: str, number: str) -> bool:
    return any(line.split(":")[2:3] == [number] for line in text.splitlines())


def _opened(seen: Seen, name: str) -> Event | None:
    path = f"/etc/{name}"
    return next((e for e in seen.events if e.call == "open" and e.path == path), None)


def _said(seen: Seen, kind: str) -> Iterator[tuple[str, str]]:
    for line in seen.output:
        for found in _SAID[kind].finditer(line):
            name = next((one for one in found.groups() if one), "")
            if _NAME.fullmatch(name):
                yield kind, name


def _when(seen: Seen, name: str) -> int:
    found = _opened(seen, name)
    return found.at_ms if found else 0


def _is_needed(seen: Seen, name: str) -> bool:
    return seen.failed or any(name in line for line in seen.output)


def _user(seen: Seen, name: str) -> Finding:
    lines = RecipeLines()
    if name == "root":
        lines = RecipeLines(users=(_ROOT,))
    elif name == "nobody":
        lines = RecipeLines(users=(User(name, _NOBODY, _NOBODY),))
    elif _NAME.fullmatch(name):
        lines = RecipeLines(users=(User(name),))
    why = "the program asked for this user, /etc/passwd has none"
    return Finding("user", name, why, _when(seen, "passwd"), _is_needed(seen, name), lines)


def _group(seen: Seen, name: str) -> Finding:
    number = _NOBODY if name in ("nogroup", "nobody") else None
    lines = RecipeLines(groups=(Group(name, number),))
    why = "the program asked for this group, /etc/group has none"
    return Finding("group", name, why, _when(seen, "group"), _is_needed(seen, name), lines)


def _number(seen: Seen, number: str) -> Finding:
    user = _ROOT if number == "0" else User(f"user{number}", int(number))
    why = "the program asked for the name of this uid, /etc/passwd has none"
    needed = seen.failed and any(re.search(r"\buid\b|user", line, re.I) for line in seen.output)
    lines = RecipeLines(users=(user,)) if int(number) <= _NOBODY else RecipeLines()
    return Finding("user", f"uid {number}", why, _when(seen, "passwd"), needed, lines)


def _name_service(seen: Seen) -> Iterator[Finding]:
    for event in seen.events:
        if event.path == NSSWITCH and event.error == ENOENT:
            yield Finding(
                "name service",
                NSSWITCH,
                "glibc asks this file where users and hosts are looked up; "
                "without it /etc/hosts comes after DNS",
                event.at_ms,
                lines=RecipeLines(files=(File(NSSWITCH, DEFAULT_NSSWITCH),)),
            )
            return
