"""Changed account files as users and groups of a recipe."""

from __future__ import annotations

import pytest

from minid.formats.accounts import Accounts, add_accounts
from minid.formats.changes_accounts import find_accounts, same_but_dates
from minid.recipe import Group, User

PASSWD, GROUP = "root:x:0:0::/root:/bin/sh\n", "root:x:0:\n"


def test_a_new_user_brings_its_group() -> None:
    passwd, group = PASSWD + "web:x:100:101:W:/srv:/bin/false\n", GROUP + "web:x:101:\n"
    found = find_accounts((PASSWD, GROUP), (passwd, group))
    assert found == ((User("web", 100, 101, "/srv", "/bin/false", "W"),), ())
    made = add_accounts(Accounts(PASSWD, GROUP), *found)
    assert (made.passwd, made.group) == (passwd, group)


def test_groups_and_members() -> None:
    group = "root:x:0:web\nlogs:x:9:\n"
    found = find_accounts((PASSWD, GROUP), (PASSWD, group))
    assert found == ((), (Group("root", 0, ("web",)), Group("logs", 9)))
    assert add_accounts(Accounts(PASSWD, GROUP), *found).group == group


@pytest.mark.parametrize(
    "line",
    [
        "web:$6$secret:1:1::/:/bin/sh",
        "Web:x:1:1::/:/bin/sh",
        "web:x:one:1::/:/bin/sh",
        "web:x:1:1::relative:/bin/sh",
        "web:x:1:1::/:",
        "web:x:1:1",
        "web:x:1:1:\x1b:/:/bin/sh",
    ],
)
def test_lines_that_no_recipe_writes(line: str) -> None:
    assert find_accounts((PASSWD, GROUP), (PASSWD + line + "\n", GROUP)) is None


def test_a_line_that_went_away() -> None:
    assert find_accounts((PASSWD + "web:x:1:1::/:/bin/sh\n", GROUP), (PASSWD, GROUP)) is None


def test_shadow_but_for_its_dates() -> None:
    assert same_but_dates("web:!::0:99999:7:::\n", "web:!:20416:0:99999:7:::\n")
    assert same_but_dates("web:!::0:99999:7:::\n", "web:*:20416::::::\n")
    assert not same_but_dates("web:!::0:99999:7:::\n", "web:$6$x:20416::::::\n")
    assert not same_but_dates("web:!::0:99999:7:::\n", "")
