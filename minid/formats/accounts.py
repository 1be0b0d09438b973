"""passwd(5), group(5) and shadow(5): reading them, and adding lines to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minid.recipe import Group, User

_FIRST_SYSTEM_ID = 100
_LAST_ID = 65533


@dataclass(frozen=True, slots=True)
class Accounts:
    """The three files as text, and who has which number."""

    passwd: str = ""
    group: str = ""
    shadow: str = ""

    @property
    def uids(self) -> dict[str, int]:
        """User name → uid. `root` is 0 even where no file says so."""
        return {"root": 0} | _numbers(self.passwd)

    @property
    def gids(self) -> dict[str, int]:
        """Group name → gid. `root` is 0 even where no file says so."""
        return {"root": 0} | _numbers(self.group)

    @property
    def primary_gids(self) -> dict[str, int]:
        """User name → gid of the user's own group."""
        lines = (line.split(":") for line in self.passwd.splitlines())
        return {"root": 0} | {f[0]: int(f[3]) for f in lines if len(f) > 3 and f[3].isdigit()}


def _numbers(text: str) -> dict[str, int]:
    lines = (line.split(":") for line in text.splitlines())
    return {f[0]: int(f[2]) for f in lines if len(f) > 2 and f[2].isdigit()}


def _free(taken: set[int]) -> int:
    return next(n for n in range(_FIRST_SYSTEM_ID, _LAST_ID) if n not in taken)


def _lines(text: str) -> list[str]:
    return text.splitlines() if text.strip() else []


def add_accounts(base: Accounts, users: Sequence[User], groups: Sequence[Group]) -> Accounts:
    """`base` with these users and groups, numbers given out from 100 upwards in this order.

    A name that exists keeps its number unless the recipe gives another, and its line is replaced
    in place. A number that the recipe names is not given out to anybody else. Each user has a group
    of the same name, with the same number where that is free, unless the recipe names its gid.
    Shadow lines are locked (`!`) and undated, so that equal recipes give equal files.
    """
    passwd, group, shadow = _lines(base.passwd), _lines(base.group), _lines(base.shadow)
    uids = base.uids | {user.name: user.uid for user in users if user.uid is not None}
    gids = _numbers(base.group) | {item.name: item.gid for item in groups if item.gid is not None}
    promised = {user.gid for user in users if user.gid is not None}
    for item in groups:
        if item.name not in gids:
            own = uids.get(item.name, -1)
            taken = {*gids.values(), *uids.values(), *promised}
            gids[item.name] = own if own >= 0 and own not in gids.values() else _free(taken)
        _put(group, f"{item.name}:x:{gids[item.name]}:{','.join(item.members)}")
    for user in users:
        if user.name not in uids:
            taken = {*uids.values(), *promised, *gids.values()} - {gids.get(user.name, -1)}
            uids[user.name] = _free(taken)
        uid = uids[user.name]
        gid = user.gid
        if gid is None:
            gid = gids.get(user.name, base.primary_gids.get(user.name))
        if gid is None:
            gid = uid if uid not in gids.values() else _free({*gids.values(), *uids.values()})
        if gid not in gids.values():
            gids[user.name] = gid
            _put(group, f"{user.name}:x:{gid}:")
        _put(passwd, f"{user.name}:x:{uid}:{gid}:{user.comment}:{user.home}:{user.shell}")
        _put(shadow, f"{user.name}:!::0:99999:7:::")
    return Accounts(*("".join(line + "\n" for line in file) for file in (passwd, group, shadow)))


def _put(lines: list[str], line: str) -> None:
    name = line.split(":", 1)[0]
    for position, existing in enumerate(lines):
        if existing.split(":", 1)[0] == name:
            lines[position] = line
            return
    lines.append(line)
