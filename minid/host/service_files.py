"""The texts that the service needs in /etc, made from the shipped ones: see `service_install`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minid.errors import HostError, UsageError

UNIT = "etc/systemd/system/minid.service"
SYSUSERS = "etc/sysusers.d/minid.conf"
TMPFILES = "etc/tmpfiles.d/minid.conf"
ENABLED = "etc/systemd/system/multi-user.target.wants/minid.service"  # what `enable` makes
CONFIG = "etc/minid/config.toml"
# Shipped name → place below the root.
SHIPPED = {
    "minid.service": UNIT,
    "minid.sysusers.conf": SYSUSERS,
    "minid.tmpfiles.conf": TMPFILES,
}
CONFIG_TEXT = """\
# minid's configuration as a service. Every key has a default; docs/reference/config.md tells them
# all. After a change: systemctl reload minid
#
# Recipes lie in /etc/minid/recipes; store, records and logs in /var/lib/minid.

# Where archives are looked for before their upstream: folders and web addresses.
# mirrors = ["file:/srv/archives", "https://mirror.example/sources"]

[daemon]
socket = "/run/minid/minid.sock"
"""
SUBIDS_WANTED = 65536
# Where useradd begins (SUB_UID_MIN of login.defs), and where containers started by root do.
_FIRST_SUBID, _END_OF_SUBIDS = 100_000, 0x70000000
_PLACEHOLDER = "/usr/bin/env minid"


@dataclass(frozen=True, slots=True)
class SubidRange:
    """A line of subuid(5): `count` ids from `start` belong to `owner`, a name or a number."""

    owner: str
    start: int
    count: int


def check_user_name(name: str) -> str:
    """The name if a service may run as that user; UsageError otherwise."""
    if name == "root" or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", name):
        raise UsageError(
            f"--user: expected the name of an ordinary user, got {name!r}",
            hint="the service needs no root, and is safer without",
        )
    return name


def render_unit(text: str, program: str, user: str, *, in_home: bool = False) -> str:
    """The unit that starts `program`, an absolute path, as `user`.

    Homes are closed to the service; where the program lies in one, they are read-only instead.
    """
    text = text.replace(_PLACEHOLDER, quote_program(program))
    text = re.sub(r"^User=.*$", f"User={user}", text, flags=re.MULTILINE)
    if in_home:
        text = re.sub(r"^ProtectHome=.*$", "ProtectHome=read-only", text, flags=re.MULTILINE)
    return text


def render_sysusers(text: str, user: str) -> str:
    """The lines of sysusers.d(5) that make that user."""
    return re.sub(r"^u \S+ ", f"u {user} ", text, flags=re.MULTILINE)


def quote_program(program: str) -> str:
    """An absolute path as the first word of ExecStart=, by the rules of systemd.service(5).

    UsageError for one that systemd refuses: with quotes or backslashes in it.
    """
    if not re.fullmatch(r"/[^\"'\\]*", program) or not program.isprintable():
        raise UsageError(
            f"--program: expected an absolute path without quotes and backslashes, got {program!r}"
        )
    escaped = program.replace("%", "%%")
    return f'"{escaped}"' if " " in program else escaped


def parse_ranges(text: str) -> tuple[SubidRange, ...]:
    """Every range of a file of subuid(5); lines that are none are passed over, as shadow does."""
    rows = (line.strip().split(":") for line in text.splitlines())
    return tuple(
        SubidRange(row[0], int(row[1]), int(row[2]))
        for row in rows
        if len(row) == 3 and all(re.fullmatch(r"[0-9]{1,10}", word) for word in row[1:])
    )


def has_subids(text: str, user: str) -> bool:
    """Whether a file of subuid(5) gives the user as many ids as a container wants."""
    return sum(r.count for r in parse_ranges(text) if r.owner == user) >= SUBIDS_WANTED


def free_subids(files: Sequence[str], taken: Iterable[int] = ()) -> int:
    """The first id of a range that no file of subuid(5) and none of the ids `taken` is in.

    One range serves users and groups, so that both files are looked at. HostError when all is full.
    """
    start = _FIRST_SUBID
    for first, end in sorted(_occupied(files, taken)):
        if first >= start + SUBIDS_WANTED:
            break
        start = max(start, end)
    if start + SUBIDS_WANTED > _END_OF_SUBIDS:
        raise HostError(
            f"/etc/subuid: expected {SUBIDS_WANTED} free ids, got none below {_END_OF_SUBIDS}",
            hint="give the user a range by hand: usermod --add-subuids, --add-subgids",
        )
    return start


def add_range(text: str, user: str, start: int) -> str:
    """A file of subuid(5) with a range more."""
    line = f"{user}:{start}:{SUBIDS_WANTED}\n"
    return text + ("" if not text or text.endswith("\n") else "\n") + line


def _occupied(files: Sequence[str], taken: Iterable[int]) -> Iterator[tuple[int, int]]:
    for text in files:
        yield from ((r.start, r.start + r.count) for r in parse_ranges(text) if r.count)
    yield from ((number, number + 1) for number in taken)
