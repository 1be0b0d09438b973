"""Changed lines of passwd(5) and group(5), said as users and groups of a recipe."""

from __future__ import annotations

import re

from minid.recipe import Group, User

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_FIELD = re.compile(r"[^:\x00-\x1f\x7f]{0,200}")
_FOLDER = re.compile(r"/|(/[^/\x00-\x1f\x7f]{1,255})+")

Accounts = tuple[tuple[User, ...], tuple[Group, ...]]


def find_accounts(old: tuple[str, str], new: tuple[str, str]) -> Accounts | None:
    """The users and groups that are new or other in `new` (passwd, group) than in `old`.

    None where lines went away, or where one is none that a recipe could write.
    """
    passwd, before = _by_name(new[0]), _by_name(old[0])
    group, group_before = _by_name(new[1]), _by_name(old[1])
    if before.keys() - passwd.keys() or group_before.keys() - group.keys():
        return None
    users = []
    for name, fields in passwd.items():
        if fields != before.get(name):
            user = _user(fields)
            if user is None:
                return None
            users.append(user)
    groups = []
    own = {(user.name, str(user.gid)) for user in users}
    for name, fields in group.items():
        if fields == group_before.get(name) or (
            len(fields) == 4 and (name, fields[2]) in own and not fields[3]
        ):
            continue  # the group of a user comes with the user
        item = _group(fields)
        if item is None:
            return None
        groups.append(item)
    return tuple(users), tuple(groups)


def same_but_dates(one: str, other: str) -> bool:
    """Whether two shadow(5) texts lock and let in the same users: the rest of a line is when and
    how long."""

    def words(text: str) -> dict[str, str]:
        found = {name: fields[1] for name, fields in _by_name(text).items() if len(fields) > 1}
        return {name: "!" if word in ("", "!", "!!", "*", "x") else word for name, word in
                found.items()}  # fmt: skip

    return words(one) == words(other)


def _by_name(text: str) -> dict[str, list[str]]:
    return {line.partition(":")[0]: line.split(":") for line in text.splitlines() if line}


def _user(fields: list[str]) -> User | None:
    if len(fields) != 7:
        return None
    name, shadowed, uid, gid, comment, home, shell = fields
    sound = (
        _NAME.fullmatch(name)
        and shadowed == "x"
        and uid.isdigit()
        and gid.isdigit()
        and _FIELD.fullmatch(comment)
        and _FOLDER.fullmatch(home)
        and _FOLDER.fullmatch(shell)
        and shell != "/"
    )
    return User(name, int(uid), int(gid), home, shell, comment) if sound else None


def _group(fields: list[str]) -> Group | None:
    if len(fields) != 4 or not _NAME.fullmatch(fields[0]) or not fields[2].isdigit():
        return None
    members = tuple(word for word in fields[3].split(",") if word)
    if fields[1] != "x" or not all(_NAME.fullmatch(word) for word in members):
        return None
    return Group(fields[0], int(fields[2]), members)
