"""passwd, group and shadow: who gets which number, and which lines stay."""

from __future__ import annotations

import pytest

from minid.formats.accounts import Accounts, add_accounts
from minid.recipe import Group, User

BASE = Accounts(
    passwd="root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    group="root:x:0:\ntty:x:5:root\nnogroup:x:65534:\n",
    shadow="root:*:19000:0:99999:7:::\n",
)


def lines(text: str) -> dict[str, list[str]]:
    return {line.split(":")[0]: line.split(":") for line in text.splitlines()}


def test_numbers_begin_at_100_in_order() -> None:
    made = add_accounts(BASE, [User("nginx"), User("redis")], [])
    assert (made.uids["nginx"], made.uids["redis"]) == (100, 101)
    assert (made.gids["nginx"], made.gids["redis"]) == (100, 101)
    assert made.primary_gids["redis"] == 101


def test_fields_of_a_new_user() -> None:
    made = add_accounts(BASE, [User("nginx", home="/var/lib/nginx", comment="web")], [])
    assert made.passwd == BASE.passwd + "nginx:x:100:100:web:/var/lib/nginx:/bin/false\n"
    assert made.group == BASE.group + "nginx:x:100:\n"
    assert made.shadow == BASE.shadow + "nginx:!::0:99999:7:::\n"


def test_lines_have_as_many_fields_as_the_manual_says() -> None:
    made = add_accounts(BASE, [User("nginx")], [Group("web", members=("nginx", "root"))])
    assert {len(line) for line in lines(made.passwd).values()} == {7}
    assert {len(line) for line in lines(made.group).values()} == {4}
    assert {len(line) for line in lines(made.shadow).values()} == {9}
    assert lines(made.group)["web"][3] == "nginx,root"


def test_nothing_asked_nothing_changed() -> None:
    assert add_accounts(BASE, [], []) == BASE
    assert add_accounts(Accounts(), [], []) == Accounts()


def test_taken_numbers_are_left_alone() -> None:
    base = Accounts(passwd="a:x:100:100::/:/bin/sh\n", group="a:x:100:\nb:x:101:\n")
    made = add_accounts(base, [User("c"), User("d")], [])
    assert (made.uids["c"], made.uids["d"]) == (102, 103)


def test_a_number_that_the_recipe_names_is_given_to_nobody_else() -> None:
    made = add_accounts(BASE, [User("first"), User("second", uid=100)], [])
    assert made.uids["second"] == 100
    assert made.uids["first"] == 101
    made = add_accounts(BASE, [User("first")], [Group("web"), Group("late", gid=100)])
    assert (made.gids["late"], made.gids["web"], made.uids["first"]) == (100, 101, 102)
    made = add_accounts(BASE, [User("first"), User("second", gid=100)], [])
    assert (made.primary_gids["second"], made.uids["first"], made.gids["first"]) == (100, 101, 101)


def test_user_takes_the_group_of_its_name() -> None:
    made = add_accounts(BASE, [User("web")], [Group("web", gid=700)])
    assert (made.uids["web"], made.primary_gids["web"]) == (100, 700)
    made = add_accounts(BASE, [User("web")], [Group("web")])
    assert (made.uids["web"], made.gids["web"]) == (100, 100)
    assert made.group.count("web:") == 1


def test_group_of_a_user_with_a_number_has_the_same_number() -> None:
    made = add_accounts(BASE, [User("web", uid=33)], [Group("web")])
    assert (made.uids["web"], made.gids["web"], made.primary_gids["web"]) == (33, 33, 33)


def test_gid_of_an_existing_group_makes_no_group() -> None:
    made = add_accounts(BASE, [User("term", gid=5)], [])
    assert made.primary_gids["term"] == 5
    assert "term" not in made.gids


def test_gid_of_no_group_makes_one() -> None:
    made = add_accounts(BASE, [User("web", uid=80, gid=81)], [])
    assert lines(made.group)["web"] == ["web", "x", "81", ""]


def test_group_number_that_is_taken_moves_on() -> None:
    base = Accounts(group="other:x:80:\n")
    made = add_accounts(base, [User("web", uid=80)], [])
    assert made.gids["other"] == 80
    assert made.primary_gids["web"] == made.gids["web"] == 100


@pytest.mark.parametrize("name", ["root", "nobody"])
def test_an_existing_user_is_replaced_in_place_and_keeps_its_number(name: str) -> None:
    made = add_accounts(BASE, [User(name, home="/new", shell="/bin/sh")], [])
    assert made.uids == BASE.uids
    assert made.primary_gids == BASE.primary_gids
    assert made.group == BASE.group
    assert [line.split(":")[0] for line in made.passwd.splitlines()] == ["root", "nobody"]
    assert lines(made.passwd)[name][5:] == ["/new", "/bin/sh"]
    assert lines(made.shadow)[name][1] == "!"


def test_an_existing_user_can_get_another_number() -> None:
    made = add_accounts(BASE, [User("nobody", uid=99, gid=99)], [])
    assert (made.uids["nobody"], made.primary_gids["nobody"]) == (99, 99)


def test_an_existing_group_keeps_its_number() -> None:
    made = add_accounts(BASE, [], [Group("tty", members=("nginx",))])
    assert made.group == BASE.group.replace("tty:x:5:root", "tty:x:5:nginx")


def test_root_is_zero_where_there_are_no_files() -> None:
    assert Accounts().uids == Accounts().gids == Accounts().primary_gids == {"root": 0}
    made = add_accounts(Accounts(), [User("root", home="/root")], [])
    assert made.passwd == "root:x:0:0::/root:/bin/false\n"
    assert made.group == "root:x:0:\n"


def test_no_two_accounts_share_a_number() -> None:
    users = [User(f"u{n}", uid=100 + n if n % 3 == 0 else None) for n in range(60)]
    groups = [Group(f"g{n}", gid=120 + n if n % 4 == 0 else None) for n in range(20)]
    made = add_accounts(BASE, users, groups)
    assert len(set(made.uids.values())) == len(made.uids)
    assert len(set(made.gids.values())) == len(made.gids)
    assert all(made.primary_gids[user.name] == made.gids[user.name] for user in users)


def test_equal_recipes_give_equal_files() -> None:
    users, groups = [User("a"), User("b")], [Group("c")]
    assert add_accounts(BASE, users, groups) == add_accounts(BASE, users, groups)
    assert add_accounts(BASE, users[::-1], groups) != add_accounts(BASE, users, groups)


def test_hostile_lines_of_a_base_are_kept_and_not_read() -> None:
    base = Accounts(passwd="+::::::\nbroken\nx:x:notanumber:0::/:/bin/sh\n\udcff:x:7:7::/:\n")
    made = add_accounts(base, [User("web")], [])
    assert made.passwd.startswith(base.passwd)
    assert made.uids == {"root": 0, "\udcff": 7, "web": 100}
