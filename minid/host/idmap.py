"""User and group ids of a container's user namespace: which range it gets, and writing the map."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minid.errors import HostError
from minid.host.process import find_program, run

WANTED = 65536
# Above every range that useradd (100000 up) and systemd's containers (up to 0x6fffffff) hand out.
ROOT_BASE = 0x70000000


@dataclass(frozen=True, slots=True)
class IdRange:
    """`count` ids from `inside` in the namespace are those from `outside` in its parent."""

    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True)
class IdMapping:
    """The whole map of a namespace. `direct`: written by root itself, without newuidmap."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    direct: bool

    @property
    def name(self) -> str:
        """A file name that is equal exactly for mappings that own files alike."""
        ranges = [f"{r.inside}.{r.outside}.{r.count}" for r in (*self.uids, *self.gids)]
        return "ids-" + "-".join(ranges)

    @property
    def root(self) -> tuple[int, int]:
        """The (uid, gid) outside that are 0 inside."""
        return self.uids[0].outside, self.gids[0].outside


def parse_id_map(text: str) -> tuple[IdRange, ...]:
    """The ranges of a /proc/PID/uid_map or gid_map."""
    rows = (line.split() for line in text.splitlines() if line.strip())
    return tuple(IdRange(int(a), int(b), int(c)) for a, b, c in rows)


def parse_subids(text: str, owner: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The (start, count) ranges of /etc/subuid that belong to one of the names in `owner`."""
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in owner and fields[1].isdigit() and fields[2].isdigit():
            found.append((int(fields[1]), int(fields[2])))
    return tuple(found)


def root_ranges(own: Sequence[IdRange]) -> tuple[IdRange, ...]:
    """The range root gives a container, inside root's own map `own`: high and used by nobody.

    Where root itself lives in a namespace too small for that, the container shares its ids: it is
    still apart in every other way.
    """
    if any(r.inside <= ROOT_BASE and r.inside + r.count >= ROOT_BASE + WANTED for r in own):
        return (IdRange(0, ROOT_BASE, WANTED),)
    high = max(own, key=lambda r: r.inside + r.count, default=IdRange(0, 0, 0))
    if high.count >= 2 * WANTED:
        return (IdRange(0, high.inside + high.count - WANTED, WANTED),)
    return tuple(IdRange(r.inside, r.inside, r.count) for r in own)


def user_ranges(own_id: int, subids: Sequence[tuple[int, int]]) -> tuple[IdRange, ...]:
    """An ordinary user's ranges: 0 is the user, 1 and up are the subordinate ids."""
    ranges = [IdRange(0, own_id, 1)]
    for start, count in subids:
        inside = ranges[-1].inside + ranges[-1].count
        ranges.append(IdRange(inside, start, min(count, WANTED)))
    return tuple(ranges)


def plan_mapping() -> IdMapping:
    """The map for a container started by this process; HostError with the mending command."""
    if os.geteuid() == 0:
        uids = parse_id_map(Path("/proc/self/uid_map").read_text())
        gids = parse_id_map(Path("/proc/self/gid_map").read_text())
        return IdMapping(root_ranges(uids), root_ranges(gids), direct=True)
    uid, gid = os.geteuid(), os.getegid()
    uids = user_ranges(uid, _subids("/etc/subuid", uid))
    gids = user_ranges(gid, _subids("/etc/subgid", uid))
    for program in ("newuidmap", "newgidmap"):
        if find_program(program) is None:
            raise HostError(
                f"{program}: expected on PATH, got nothing", hint="apt-get install uidmap"
            )
    return IdMapping(uids, gids, direct=False)


def write_mapping(pid: int, mapping: IdMapping) -> None:
    """Give the new user namespace of process `pid` its map; HostError when the machine refuses."""
    for kind, ranges in (("uid", mapping.uids), ("gid", mapping.gids)):
        if mapping.direct:
            _write_direct(pid, kind, ranges)
        else:
            _write_with_helper(pid, kind, ranges)


def _write_direct(pid: int, kind: str, ranges: Sequence[IdRange]) -> None:
    text = "".join(f"{r.inside} {r.outside} {r.count}\n" for r in ranges)
    try:
        Path(f"/proc/{pid}/{kind}_map").write_text(text)
    except OSError as error:
        raise HostError(
            f"{kind}_map: expected the kernel to take {text.strip()!r}, got {error.strerror}"
        ) from error


def _write_with_helper(pid: int, kind: str, ranges: Sequence[IdRange]) -> None:
    numbers = [str(n) for r in ranges for n in (r.inside, r.outside, r.count)]
    done = run([f"new{kind}map", str(pid), *numbers], timeout_s=10, with_capabilities=True)
    if done.status:
        said = done.stderr.decode(errors="replace").strip()
        raise HostError(
            f"new{kind}map: expected the map {' '.join(numbers)!r} to be taken, got {said!r}",
            hint="the program must be set-user-id root: apt-get install --reinstall uidmap",
        )


def _subids(file: str, uid: int) -> tuple[tuple[int, int], ...]:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    try:
        found = parse_subids(Path(file).read_text(), (name, str(uid)))
    except FileNotFoundError:
        found = ()
    if sum(count for _, count in found) < WANTED - 1:
        raise HostError(
            f"{file}: expected {WANTED} subordinate ids of {name!r}, got {len(found)} ranges",
            hint=f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}",
        )
    return found
