"""Lines added to recipes: they mean what was asked, and nothing else of the text changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli

from minid.formats.recipe_lines import RecipeLines, add_lines, show_lines
from minid.recipe import Directory, Edit, File, Group, Silence, User
from minid.recipe_reader import parse_recipe

NGINX = Path(__file__).parents[2] / "recipes" / "nginx.toml"
TEXT = "one\ntwo \"q\" \\ '''\n"
LINES = RecipeLines(
    users=(User("nginx", home="/var/lib/nginx"), User("web", uid=33)),
    groups=(Group("log", members=("web",)),),
    directories=(Directory("/var/log/nginx", owner="nginx", mode=0o700), Directory("/a")),
    links=(("/usr/sbin/x", "/usr/bin/x"),),
    files=(File("/etc/a", content=TEXT), File("/etc/b", source="b.txt")),
    edits=(Edit("/etc/c", replace="a", with_="b", expect=2), Edit("/etc/c", prepend="x\n")),
    remove=("/gone",),
    dlopen=("/usr/lib/x.so",),
)
ROOTFS = {
    "users": [{"name": "nginx", "home": "/var/lib/nginx"}, {"name": "web", "uid": 33}],
    "groups": [{"name": "log", "members": ["web"]}],
    "directories": [
        {"path": "/var/log/nginx", "owner": "nginx", "mode": "0700"},
        {"path": "/a"},
    ],
    "links": {"/usr/sbin/x": "/usr/bin/x"},
    "files": [{"path": "/etc/a", "content": TEXT}, {"path": "/etc/b", "source": "b.txt"}],
    "edits": [
        {"path": "/etc/c", "replace": "a", "with": "b", "expect": 2},
        {"path": "/etc/c", "prepend": "x\n"},
    ],
    "remove": ["/gone"],
}


def test_lines_alone() -> None:
    assert tomli.loads(show_lines(LINES)) == {
        "rootfs": ROOTFS,
        "contents": {"dlopen": ["/usr/lib/x.so"]},
    }
    assert show_lines(RecipeLines()) == ""
    assert not RecipeLines()


def test_silences_of_one_rule_stand_beside_each_other() -> None:
    silences = [Silence("setuid", "it pings", (f"/bin/{name}",)) for name in ("ping", "ping6")]
    text = "[lint]\nignore = [{ rule = 'setuid', reason = 'was so' }]\n"
    after = add_lines(text, RecipeLines(ignore=(*silences, silences[0])))
    assert tomli.loads(after)["lint"]["ignore"] == [
        {"rule": "setuid", "reason": "was so"},
        {"rule": "setuid", "reason": "it pings", "paths": ["/bin/ping"]},
        {"rule": "setuid", "reason": "it pings", "paths": ["/bin/ping6"]},
    ]


def test_a_recipe_keeps_every_line_that_is_not_about_it() -> None:
    before = NGINX.read_text()
    after = add_lines(before, LINES)
    kept = set(after.splitlines())
    touched = [line for line in before.splitlines() if line not in kept]
    assert all(line.startswith(("users =", "links =", "files =")) for line in touched)
    rootfs = parse_recipe(after.encode(), NGINX).rootfs
    assert {user.name: user.uid for user in rootfs.users} == {"nginx": None, "web": 33}
    assert rootfs.edits[-2:] == LINES.edits
    assert rootfs.directories[-2:] == LINES.directories
    assert add_lines(after, LINES) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{ "/a" = "b" } # c', '{ "/a" = "b", "/usr/sbin/x" = "/usr/bin/x" } # c'),
        ('{"/a" = "b"}', '{"/a" = "b","/usr/sbin/x" = "/usr/bin/x"}'),
        ('{ "/usr/sbin/x" = "b" }', '{ "/usr/sbin/x" = "/usr/bin/x" }'),
    ],
)
def test_links_keep_their_blanks(before: str, after: str) -> None:
    text = f"[rootfs]\nlinks = {before}\n\n[image]\n"
    added = add_lines(text, RecipeLines(links=LINES.links))
    assert added.replace('", "', '","') == text.replace(before, after).replace('", "', '","')
    assert (" }" in added) == (" }" in before)


@pytest.mark.parametrize(
    "text",
    [
        '[rootfs]\nbase="x"\n[[rootfs.users]]\nname = "web" # me\nuid=5\n'
        '[rootfs.links]\n"/a" = "b"\n',
        '[[rootfs.directories]]\npath = "/a"\nmode = "0700"\n\n'
        '[[rootfs.edits]]\npath="/d"\nappend="y"\n',
        'rootfs.base = "x"\n',
        '[source]\nversion="1"',
        'rootfs = {base="x"}\n[image]\ncmd=["x"]\n',
        '[rootfs]\ndirectories = []\nusers=[{name="a"}, {name="web"}] # x\n[[check]]\nexec=["a"]\n',
        '[rootfs]\nremove = [\n  "/x", # why\n]\n\n[image]\n# nothing\n',
    ],
)
def test_wherever_the_like_stands(text: str) -> None:
    before = tomli.loads(text)
    once = add_lines(text, LINES)
    after = tomli.loads(once)
    assert {name: after[name] for name in before if name != "rootfs"} == {
        name: value for name, value in before.items() if name != "rootfs"
    }
    for name, wanted in ROOTFS.items():
        found = after["rootfs"][name]
        if isinstance(wanted, dict):
            assert found.items() >= wanted.items()
            continue
        assert all(item in found for item in wanted)
        keys = [
            str(item.get("name") or item.get("path")) for item in found if isinstance(item, dict)
        ]
        assert name == "edits" or len(keys) == len(set(keys))
    assert all(line in once for line in text.splitlines() if "#" in line and "users" not in line)
    assert tomli.loads(add_lines(once, LINES)) == after
