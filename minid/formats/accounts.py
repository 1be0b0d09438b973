"""passwd(5), group(5) and shadow(5): reading them, and adding lines to them."""

from __future__ import annotations

from collections.abc import Iterable
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


def _free(taken: set[int], wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    return next(n for n in range(_FIRST_SYSTEM_ID, _LAST_ID) if n not in taken)


def _lines(text: str) -> list[str]:
    return text.splitlines() if text.strip() else []


def add_accounts(base: Accounts, users: Iterable[User], groups: Iterable[Group]) -> Accounts:
    """`base` with these users and groups, numbers given out from 100 upwards in this order.

    A user of a name that exists is replaced in place; each user has a group of the same name
    unless the recipe or the base defines one. Shadow lines are locked (`!`) and undated, so that
    equal recipes give equal files.
    """
    passwd, group, shadow = _lines(base.passwd), _lines(base.group), _lines(base.shadow)
    gids = _numbers(base.group)
    uids = _numbers(base.passwd)
    for entry in groups:
        gid = _free(set(gids.values()) | set(uids.values()), entry.gid)
        gids[entry.name] = gid
        _put(group, f"{entry.name}:x:{gid}:{','.join(entry.members)}")
    for user in users:
        taken = set(uids.values()) | set(gids.values()) - {gids.get(user.name, -1)}
        uid = _free(taken, user.uid)
        gid = user.gid if user.gid is not None else gids.get(user.name, -1)
        if gid < 0:
            gid = uid if uid not in gids.values() else _free(set(gids.values()), None)
        uids[user.name] = uid
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
