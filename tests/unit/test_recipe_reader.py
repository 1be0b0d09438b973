"""recipes/*.toml: what a file becomes, and every way in which it can be wrong."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli

from minid.errors import RecipeError
from minid.formats.digest import Digest
from minid.formats.table import read_table
from minid.recipe import (
    Alternative,
    Check,
    Directory,
    Distro,
    Edit,
    File,
    Group,
    Recipe,
    User,
    tag_names,
)
from minid.recipe_graph import check_together, find_cycles, reaches_itself, references
from minid.recipe_reader import load_recipe, load_recipes, parse_recipe, recipe_problems
from minid.recipe_tables import RECIPE

ROOT = Path(__file__).parents[2]
ONE, TWO = "1" * 64, "2" * 64
SOURCE = f"""
[source]
version = "1.2.3"
url = "https://example.org/x-{{version}}.tar.gz"
sha256 = "{ONE}"
"""
BUILD = """
[build]
steps = ["make"]
"""
LIBRARY = SOURCE + BUILD
IMAGE = LIBRARY + '[image]\ncmd = ["x"]\n'


def parse(text: str, name: str = "x") -> Recipe:
    return parse_recipe(text.encode(), Path(f"recipes/{name}.toml"))


def problem(text: str) -> str:
    """The only problem of a recipe, without the file's name."""
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert caught.value.exit_code == 11
    lines = caught.value.message.split("\n")
    problems = recipe_problems(text.encode(), Path("recipes/x.toml"))
    assert [str(one) for one in problems] == lines
    assert len(lines) == 1, lines
    return lines[0].removeprefix("recipes/x.toml: ")


def test_a_library_recipe() -> None:
    made = parse(LIBRARY)
    assert (made.name, made.kind) == ("x", "library")
    assert (made.file, made.folder) == (Path("recipes/x.toml"), Path("recipes/x"))
    assert made.source.sha256 == Digest(ONE)
    assert made.build.environment == "debian"
    assert made.checks == ()


@pytest.mark.parametrize("table", ["[rootfs]", "[image]", "[[check]]\ntcp = 80"])
def test_any_of_three_tables_makes_an_image(table: str) -> None:
    assert parse(LIBRARY + table).kind == "image"


def test_the_source_table() -> None:
    made = parse(
        SOURCE
        + f"""
distro = {{ package = "x-src", version = "1.2.3+dfsg" }}
patches = ["a.patch", "sub/b.patch"]
released = 2025-02-05
[[source.alternatives]]
url = "http://127.0.0.1:8080/y"
sha256 = "{TWO}"
"""
        + BUILD
    )
    assert made.source.distro == Distro("x-src", "1.2.3+dfsg", Digest(ONE))
    assert made.source.alternatives == (Alternative("http://127.0.0.1:8080/y", Digest(TWO)),)
    assert made.source.patches == ("a.patch", "sub/b.patch")
    assert made.source.released == 1738713600
    short = parse(SOURCE + 'distro = "nginx"' + BUILD)
    assert short.source.distro == Distro("nginx", "1.2.3", Digest(ONE))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ('"2025-02-05"', 1738713600),
        ("2025-02-05T01:00:00", 1738717200),
        ("2025-02-05T01:00:00+01:00", 1738713600),
        ("2025-02-05T01:00:00Z", 1738717200),
    ],
)
def test_released_in_every_form_is_utc(written: str, seconds: int) -> None:
    assert parse(SOURCE + f"released = {written}" + BUILD).source.released == seconds


def test_the_rootfs_table() -> None:
    made = parse(
        LIBRARY
        + """
[rootfs]
base = "scratch"
users = [{ name = "x", uid = 7, home = "/var/lib/x", comment = "X, the" }]
groups = [{ name = "g", gid = 8, members = ["x"] }]
directories = [
  { path = "/var/x", owner = "x", mode = "0700" },
  { path = "/t", owner = "12", mode = "1777" },
]
links = { "/b" = "../c", "/a" = "/d" }
files = [{ path = "/f", content = "hello\\n", mode = "0600" }, { path = "/g", source = "g.conf" }]
remove = ["/etc/**", "/bin/x"]
commands = ["ldconfig"]
[[rootfs.edits]]
path = "/etc/x.conf"
replace = "a"
with = "b"
expect = 2
[[rootfs.edits]]
path = "/etc/x.conf"
prepend = "first\\n"
"""
    )
    root = made.rootfs
    assert root.users == (User("x", uid=7, home="/var/lib/x", comment="X, the"),)
    assert root.groups == (Group("g", gid=8, members=("x",)),)
    assert root.directories == (
        Directory("/var/x", owner="x", mode=0o700),
        Directory("/t", owner="12", mode=0o1777),
    )
    assert root.links == (("/a", "/d"), ("/b", "../c"))
    assert root.files == (File("/f", content="hello\n", mode=0o600), File("/g", source="g.conf"))
    assert root.edits == (
        Edit("/etc/x.conf", replace="a", with_="b", expect=2),
        Edit("/etc/x.conf", prepend="first\n"),
    )
    assert (root.base, root.commands, root.remove) == (
        "scratch",
        ("ldconfig",),
        ("/etc/**", "/bin/x"),
    )


def test_the_image_table() -> None:
    made = parse(
        LIBRARY
        + """
[image]
cmd = []
entrypoint = ["/init", ""]
env = ["B=2=3", "A="]
user = "x:g"
workdir = "/"
expose = ["80/tcp", 53, "53/udp"]
volumes = ["/data"]
stop_signal = "SIGQUIT"
labels = { "org.example.json" = '{"a": "{b}"}' }
comment = "x {version}"
tags = ["{version}", "{major}.{minor}-slim", "y:latest"]
budget = "7 MB"
squash = true
"""
    )
    image = made.image
    assert (image.cmd, image.entrypoint) == ((), ("/init", ""))
    assert image.env == (("A", ""), ("B", "2=3"))
    assert image.expose == ("80/tcp", "53/tcp", "53/udp")
    assert image.budget_bytes == 7_000_000
    assert image.labels == (("org.example.json", '{"a": "{b}"}'),)
    assert tag_names(made) == ("x:1.2.3", "x:1.2-slim", "y:latest")
    as_table = parse(LIBRARY + '[image]\nenv = { B = "2=3", A = "" }').image
    assert as_table.env == image.env
    assert as_table.cmd is None


def test_the_checks() -> None:
    made = parse(
        LIBRARY
        + """
[[check]]
http = { port = 8080, path = "/x?y", status = 404, contains = "no", headers = { Host = "h" } }
deadline = "2 s"
[[check]]
http = {}
contains = "hello"
[[check]]
tcp = 6379
[[check]]
tcp = { port = 1, send = "PING\\r\\n", contains = "PONG" }
[[check]]
exec = ["x", "-v"]
exit_code = 3
contains = "x/{version}"
deadline = 1
"""
    )
    assert made.checks == (
        Check(
            "http",
            port=8080,
            path="/x?y",
            status=404,
            contains="no",
            headers=(("Host", "h"),),
            deadline_s=2.0,
        ),
        Check("http", port=80, contains="hello"),
        Check("tcp", port=6379),
        Check("tcp", port=1, send="PING\r\n", contains="PONG"),
        Check("exec", argv=("x", "-v"), exit_code=3, contains="x/{version}", deadline_s=1.0),
    )


def test_the_track_table() -> None:
    track = parse(
        LIBRARY
        + r"""
[track]
from = "json"
url = "https://example.org/releases.json"
items = "releases"
version = "@key"
where = { stable = true }
artifact = "https://example.org/x-{version}.tar.gz"
reject = ["2.0.0", '3\..*']
every = "12 h"
settle = 60
max_jump = 0
[track.verify]
sha256 = { field = "sha256" }
openpgp = { keys = ["x.asc"], need = 2, allow = ["sha1"] }
minisign = { key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3" }
"""
    ).track
    assert track.source == "json"
    assert dict(track.options) == {
        "url": "https://example.org/releases.json",
        "items": "releases",
        "version": "@key",
        "where": (("stable", True),),
        "artifact": "https://example.org/x-{version}.tar.gz",
        "reject": ("2.0.0", r"3\..*"),
        "every": 43200,
        "settle": 60,
        "max_jump": 0,
        "verify": (
            ("minisign", (("key", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"),)),
            ("openpgp", (("allow", ("sha1",)), ("keys", ("x.asc",)), ("need", 2))),
            ("sha256", (("field", "sha256"),)),
        ),
    }
    hash(track)


BAD_TRACK = {
    r"a": "track.match: expected a regular expression without look-around",
    r"(?P<version>a)(?P<other>b)": "track.match: expected a regular expression",
    r"(?P<version>(": "track.match: expected a regular expression",
    r"(?P<version>a)(?=b)": "track.match: expected a regular expression",
    r"(a)(?P<version>b)\1": "track.match: expected a regular expression",
    r"(?P<version>a++)": "track.match: expected a regular expression",
    "(" * 900 + "(?P<version>a)": "track.match: expected a regular expression",
}


@pytest.mark.parametrize("match", BAD_TRACK, ids=range(len(BAD_TRACK)))
def test_match_is_a_linear_pattern_with_one_group(match: str) -> None:
    head = "[track]\nfrom = 'index'\nurl = 'https://example.org/'\n"
    assert problem(LIBRARY + f"{head}match = '{match}'").startswith(BAD_TRACK[match])
    parse(LIBRARY + head + r"match = 'x\+*[*+]+-\\(?P<version>\d+(\.\d+)+)'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[track]\nfrom = 'index'\nurl = 'https://x.org/'",
            "track.match: expected a value, which fr",
        ),
        ("[track]\nfrom = 'none'\nitems = 'a'", "track.items: expected no such key without from"),
        ("[track]\nfrom = 'feed'", 'track.from: expected "index", "json", "text", "git-tags" or'),
        ("[track]\nfrom = 'none'\n[track.verify]", "track.verify: expected one of sha256, openpgp"),
        (
            "[track]\nfrom = 'none'\nverify = { unsigned = true, minisign = { key = 'k' } }",
            "track.verify.unsigned: expected no such key beside a way to verify",
        ),
        (
            "[track]\nfrom = 'none'\nverify.sha256 = {}",
            "track.verify.sha256: expected either url or",
        ),
        (
            "[track]\nfrom = 'none'\nparity_of = 2",
            'track.parity_of: expected no such key without "p',
        ),
        ("[rootfs]\nbase = '../x'", "rootfs.base: expected a name"),
        ("[rootfs]\nusers = [{ name = 'a:b' }]", "rootfs.users[0].name: expected a user name"),
        (
            "[rootfs]\nusers = [{ name = 'a' }, { name = 'a' }]",
            "rootfs.users: expected each name on",
        ),
        (
            "[rootfs]\nusers = [{ name = 'a', comment = 'x:0:0' }]",
            "rootfs.users[0].comment: expected",
        ),
        ("[rootfs]\nusers = [{ name = 'a', uid = -1 }]", "rootfs.users[0].uid: expected a whole"),
        (
            "[rootfs]\ndirectories = [{ path = '/a/../b' }]",
            "rootfs.directories[0].path: expected an",
        ),
        ("[rootfs]\ndirectories = [{ path = 'a' }]", "rootfs.directories[0].path: expected an abs"),
        (
            "[rootfs]\ndirectories = [{ path = '/a/' }]",
            "rootfs.directories[0].path: expected an abs",
        ),
        (
            "[rootfs]\ndirectories = [{ path = '/a//b' }]",
            "rootfs.directories[0].path: expected an a",
        ),
        (
            '[rootfs]\ndirectories = [{ path = "/a\\nb" }]',
            "rootfs.directories[0].path: expected an",
        ),
        (
            '[rootfs]\ndirectories = [{ path = "/a\\u0000" }]',
            "rootfs.directories[0].path: expected",
        ),
        (
            '[rootfs]\ndirectories = [{ path = "/\\u202ea" }]',
            "rootfs.directories[0].path: expected",
        ),
        ("[rootfs]\ndirectories = [{ path = '/.wh.a' }]", "rootfs.directories[0].path: expected"),
        (
            "[rootfs]\ndirectories = [{ path = '/a', mode = '0999' }]",
            "rootfs.directories[0].mode: e",
        ),
        (
            "[rootfs]\ndirectories = [{ path = '/a', mode = 755 }]",
            "rootfs.directories[0].mode: expe",
        ),
        ("[rootfs]\nfiles = [{ path = '/a' }]", "rootfs.files[0]: expected exactly one of content"),
        (
            "[rootfs]\nfiles = [{ path = '/a', content = '', source = 'b' }]",
            "rootfs.files[0]: expected exactly one of content, source, got content and source",
        ),
        (
            "[rootfs]\nfiles = [{ path = '/a', source = '../b' }]",
            "rootfs.files[0].source: expected",
        ),
        ("[rootfs]\nfiles = [{ path = '/a', source = '/b' }]", "rootfs.files[0].source: expected"),
        ("[rootfs]\nedits = [{ path = '/a' }]", "rootfs.edits[0]: expected prepend, append or rep"),
        (
            "[rootfs]\nedits = [{ path = '/a', append = 'x', expect = 2 }]",
            'rootfs.edits[0].expect: expected no such key without "replace"',
        ),
        ("[rootfs]\nlinks = { 'a' = '/b' }", "rootfs.links.a: expected an absolute"),
        ('[rootfs]\nlinks = { "/a" = "" }', 'rootfs.links."/a": expected a path for the link'),
        ("[contents]\ndrop = ['/a/../b']", "contents.drop[0]: expected a glob"),
        ("[contents]\ndrop = ['*.a']", "contents.drop[0]: expected a glob"),
        ("[contents]\ndlopen = ['../x.so']", "contents.dlopen[0]: expected a library name"),
        ("[image]\ntags = ['{verson}']", "image.tags[0]: expected a tag"),
        ("[image]\ntags = ['a b']", "image.tags[0]: expected a tag"),
        ("[image]\ntags = ['a/b:c']", "image.tags[0]: expected a tag"),
        ("[image]\ntags = ['-x']", "image.tags[0]: expected a tag"),
        ("[image]\ntags = []", "image.tags: expected an array of tags, got an empty array"),
        ("[image]\ncomment = '{name}'", "image.comment: expected a string on one line, with no pl"),
        ("[image]\nexpose = ['80/icmp']", "image.expose[0]: expected a port"),
        ("[image]\nexpose = [0]", "image.expose[0]: expected a port"),
        ("[image]\nexpose = [65536]", "image.expose[0]: expected a port"),
        ("[image]\nenv = ['=x']", "image.env[0]: expected a string such as"),
        ("[image]\nenv = { 'A B' = 'x' }", 'image.env."A B": expected a variable name'),
        ("[image]\nuser = 'a b'", "image.user: expected a user"),
        (
            "[image]\nlabels = { 'org.minid.recipe' = 'x' }",
            'image.labels."org.minid.recipe": expecte',
        ),
        ("[image]\nbudget = '7 megabytes'", "image.budget: expected a size"),
        ("[image]\nstop_signal = 'QUIT'", "image.stop_signal: expected a signal"),
        ("[[check]]", "check[0]: expected exactly one of http, tcp, exec, start, "),
        (
            "[[check]]\ntcp = 1\nexec = ['a']",
            "check[0]: expected exactly one of http, tcp, exec, start, ",
        ),
        (
            "[[check]]\ntcp = 1\nexit_code = 1",
            'check[0].exit_code: expected no such key without "exe',
        ),
        (
            "[[check]]\nhttp = { contains = 'a' }\ncontains = 'b'",
            "check[0].contains: expected either",
        ),
        ("[[check]]\nhttp = { path = 'x' }", "check[0].http.path: expected a path"),
        ('[[check]]\nhttp = { headers = { a = "b\\r\\nc" } }', "check[0].http.headers.a: expected"),
        ("[[check]]\nexec = []", "check[0].exec: expected an array of strings, the program first"),
        ("[[check]]\nexec = ['a']\ndeadline = 0", "check[0].deadline: expected a duration"),
    ],
)
def test_what_is_wrong_is_said(text: str, expected: str) -> None:
    assert problem(LIBRARY + text).startswith(expected)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (f'sha256 = "{ONE}"', "", "source.sha256: expected 64 lower-case hex digits, got nothing"),
        (ONE, "A" * 64, "source.sha256: expected 64 lower-case hex digits"),
        ('"1.2.3"', '"../x"', 'source.version: expected a version such as "1.26.3", got "../x"'),
        ('"1.2.3"', "1.2", 'source.version: expected a version such as "1.26.3", got 1.2'),
        ("https://", "file://", "source.url: expected an http or https URL without credentials"),
        ("https://", "https://u:p@", "source.url: expected an http or https URL without cred"),
        ("{version}", "{ver}", "source.url: expected an http or https URL without credentials, w"),
        ('"make"', '"make", 7', "build.steps[1]: expected a string that is not empty, got 7"),
        ('["make"]', "[]", "build.steps: expected an array of strings with a command each, got an"),
        ('["make"]', '["make\\u0000"]', "build.steps[0]: expected a string that is not empty, got"),
        ("[build]", "[build]\nneeds = ['-rf']", "build.needs[0]: expected a name"),
        ("[build]", "[build]\nenvironment = '../../etc'", "build.environment: expected a name"),
        ("[build]", "[build]\npackages = ['a;b']", "build.packages[0]: expected a Debian package"),
        ("[build]", "[build]\npackages = ['gcc', 'gcc']", "build.packages[1]: expected each value"),
        (
            "[build]",
            "[build]\nvariables = { DESTDIR = '/' }",
            "build.variables.DESTDIR: expected a",
        ),
        (
            "[build]",
            "patches = ['../x']\n[build]",
            "source.patches[0]: expected the name of a file",
        ),
        ("[build]", "patches = ['$(id)']\n[build]", "source.patches[0]: expected the name of a f"),
        ("[build]", "released = 1970-01-01\n[build]", "source.released: expected a date such as"),
        ("[build]", "distro = 'UPPER'\n[build]", "source.distro: expected a Debian package name"),
    ],
)
def test_what_is_wrong_in_the_mandatory_tables_is_said(
    before: str, after: str, expected: str
) -> None:
    assert before in LIBRARY
    assert problem(LIBRARY.replace(before, after)).startswith(expected)


def test_all_problems_of_a_file_are_one_message() -> None:
    text = LIBRARY.replace("[build]", "[buidl]").replace("1.2.3", "..")
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert caught.value.message.split("\n") == [
        'recipes/x.toml: source.version: expected a version such as "1.26.3", got ".."',
        'recipes/x.toml: buidl: expected a known key, got "buidl"; did you mean "build"?',
    ]
    first, second = recipe_problems(text.encode(), Path("recipes/x.toml"))
    assert (first.key, first.got, first.suggestion) == ("source.version", '".."', "")
    assert (second.key, second.suggestion) == ("buidl", "build")


def test_a_syntax_error_has_its_line() -> None:
    with pytest.raises(RecipeError, match=r"^recipes/x\.toml:2: expected valid TOML, got "):
        parse("a = 1\nb = = 2\n")


@pytest.mark.parametrize("name", ["X", "a b", "-x", "a..b", "x" * 65, "é"])
def test_the_stem_is_a_strict_name(name: str) -> None:
    with pytest.raises(RecipeError, match=r'expected a file name such as "nginx\.toml"'):
        parse(LIBRARY, name)


def test_a_version_that_makes_no_tag() -> None:
    text = IMAGE.replace("1.2.3", "1.2.3+git")
    assert problem(text) == 'image.tags: expected tags that fit the version, got "1.2.3+git"'


def test_a_tag_is_under_other_names_as_well() -> None:
    image = LIBRARY + "[rootfs]\nbase = 'scratch'\n[image]\nalso = ['mysql', 'db']\n"
    made = parse(image + "tags = ['{major}', 'x:1']")
    assert made.image.tags == ("{major}", "x:1", "mysql:{major}", "db:{major}")
    assert parse(image).image.tags[-2:] == ("db:{version}", "db:latest")
    assert problem(image.replace("db", "D")) == (
        'image.also[1]: expected a name such as "nginx" or "php-fpm", got "D"'
    )


def test_hostile_values_are_harmless_in_the_message() -> None:
    line = problem(LIBRARY + '[rootfs]\nbase = "\\u001b[2J\\u202e"')
    assert line.isprintable()
    assert line.endswith('got "\\u001b[2J\\u202e"')


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in list(items):
        found.append((value, key))
        if isinstance(inner, (dict, list)):
            found += _places(inner)
    return found


WRONG: tuple[Any, ...] = (
    7, -1, 10**30, 1.5, float("nan"), True, "", "\0", "-rf", "a\nb", "{x}", [], [[]], [7], {},
    {"": {}}, datetime.date(1, 1, 1), datetime.datetime.max, datetime.time(1),
)  # fmt: skip


@pytest.mark.parametrize("name", ["nginx", "busybox"])
def test_no_value_in_any_place_is_more_than_a_problem(name: str) -> None:
    text = (ROOT / f"recipes/{name}.toml").read_text()
    tried = refused = 0
    for container, key in _places(document := tomli.loads(text)):
        kept = container[key]
        for wrong in WRONG:
            container[key] = wrong
            made, problems = read_table(RECIPE, document, "x.toml")
            assert (made is None) == bool(problems.found)
            assert problems.text().replace("\n", "").isprintable()
            tried += 1
            refused += made is None
        container[key] = kept
    assert tried > 500
    assert refused / tried > 0.7
    assert not read_table(RECIPE, document, "x.toml")[1].found


# Files and folders


def test_a_broken_recipe_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.toml").write_text(LIBRARY)
    (tmp_path / "broken.toml").write_text("x =")
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))
    (tmp_path / "latin.toml").write_bytes(b'summary = "\xe9"')
    (tmp_path / "out.toml").symlink_to("/etc/shadow")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "link.toml").symlink_to("a.toml")
    (tmp_path / ".#a.toml").symlink_to("user@host.1234")
    for passed in (".a.toml.swp", "a.toml~", "#a.toml#", "#b.toml", ".hidden.toml", "readme.md"):
        (tmp_path / passed).write_text("not a recipe")
    recipes, errors = load_recipes(tmp_path)
    assert list(recipes) == ["a", "b", "link"]
    assert [error.message.removeprefix(f"{tmp_path}/") for error in errors] == [
        "big.toml: expected a file of at most 1 MiB, got 1048577 bytes",
        "broken.toml:1: expected valid TOML, got invalid value (at end of document)",
        "fifo.toml: expected a regular file, got a special file",
        "folder.toml: expected a regular file, got a folder",
        "latin.toml:1: expected UTF-8 text, got the byte 0xe9",
        "loop.toml: expected a readable file, got a loop of links",
        "out.toml: expected a file in the recipes folder, got a link out of it",
    ]


def test_a_missing_folder_is_an_error_and_no_crash(tmp_path: Path) -> None:
    recipes, errors = load_recipes(tmp_path / "none")
    assert recipes == {}
    assert "expected a folder of recipes, got no such file or directory" in errors[0].message


def test_patches_and_files_must_lie_in_the_recipes_folder(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        SOURCE
        + 'patches = ["a.patch", "b.patch", "sub"]'
        + BUILD
        + '[rootfs]\nfiles = [{ path = "/x", source = "c" }]\n'
    )
    (tmp_path / "x" / "sub").mkdir(parents=True)
    (tmp_path / "x" / "a.patch").touch()
    (tmp_path / "x" / "c").symlink_to("/etc/passwd")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    keys = [line.split(": ")[1] for line in caught.value.message.split("\n")]
    assert keys == ["source.patches[1]", "source.patches[2]", "rootfs.files[0].source"]


def test_the_shipped_recipes_are_right() -> None:
    recipes, errors = load_recipes(ROOT / "recipes")
    assert not errors
    assert {"busybox", "nginx"} <= set(recipes)
    assert check_together(recipes) == ()


# Recipes among each other


def together(**texts: str) -> list[str]:
    recipes = {name: parse(text, name) for name, text in texts.items()}
    return [str(found).removeprefix("recipes/") for found in check_together(recipes)]


def based(base: str) -> str:
    return LIBRARY + f'[rootfs]\nbase = "{base}"\n'


def needing(*needs: str) -> str:
    return SOURCE + f"[build]\nneeds = {list(needs)}\nsteps = ['make']\n"


def test_bases_and_needs_exist_and_are_of_the_right_kind() -> None:
    found = together(
        busybox=based("scratch"),
        zlib=LIBRARY,
        good=needing("zlib") + '[rootfs]\nbase = "busybox"\n',
        typo=based("busibox"),
        wrong=based("zlib"),
        need=needing("zlob", "busybox"),
    )
    assert found == [
        'need.toml: build.needs[0]: expected the name of a library recipe, got "zlob"; did you '
        'mean "zlib"?',
        "need.toml: build.needs[1]: expected the name of a library recipe, got the image recipe "
        '"busybox"',
        "typo.toml: rootfs.base: expected the name of an image recipe, a tag of the store or "
        '"scratch", '
        'got "busibox"; '
        'did you mean "busybox"?',
        "wrong.toml: rootfs.base: expected the name of an image recipe, a tag of the store or "
        '"scratch", '
        "got the "
        'library recipe "zlib"',
    ]


def test_a_broken_recipe_is_not_missing() -> None:
    recipes = {
        name: parse(text, name) for name, text in {"a": based("b"), "c": needing("d")}.items()
    }
    assert len(check_together(recipes)) == 2
    assert check_together(recipes, broken={"b", "d"}) == ()


def test_who_stands_on_itself() -> None:
    needs = {"a": ["b"], "b": ["c"], "c": ["a"], "self": ["self"], "on": ["a"], "off": ["gone"]}
    recipes = {name: parse(needing(*below), name) for name, below in needs.items()}
    assert [name for name in recipes if reaches_itself(name, recipes)] == ["a", "b", "c", "self"]
    assert not reaches_itself("nobody", recipes)
    assert sorted(find_cycles(recipes)) == [("a", "b", "c"), ("self",)]


def test_among_very_many_recipes_no_name_is_guessed() -> None:
    recipes = {"zlib": parse(LIBRARY, "zlib"), "app": parse(needing("zlip"), "app")}
    assert [found.suggestion for found in check_together(recipes)] == ["zlib"]
    made = parse(LIBRARY)
    recipes |= {f"r{number}": made for number in range(1000)}
    assert [found.suggestion for found in check_together(recipes)] == [""]


def test_cycles_are_found_each_once() -> None:
    assert together(a=based("a")) == ["a.toml: expected no cycle of bases and needs, got a → a"]
    assert together(
        a=needing("b"), b=needing("c"), c=needing("a"), d=needing("a"), p=based("q"), q=based("p")
    ) == [
        "a.toml: expected no cycle of bases and needs, got a → b → c → a",
        "p.toml: expected no cycle of bases and needs, got p → q → p",
    ]


def test_a_deep_diamond_is_no_cycle_and_quick() -> None:
    recipes = {"n0": parse(LIBRARY, "n0")}
    for i in range(1, 300):
        lower = [f"n{i - 1}"] + ([f"n{i - 2}"] if i > 1 else [])
        recipes[f"n{i}"] = parse(needing(*lower), f"n{i}")
    begun = time.perf_counter()
    assert check_together(recipes) == ()
    assert time.perf_counter() - begun < 1
    assert references(recipes["n5"]) == ("n4", "n3")


def test_a_tag_belongs_to_one_recipe() -> None:
    image = LIBRARY + "[rootfs]\nbase = 'scratch'\n[image]\ntags = "
    found = together(nginx=image + "['1.22', 'latest']", other=image + "['nginx:1.22', 'x:1']")
    assert found == [
        'other.toml: image.tags: expected a tag of its own, got "nginx:1.22", which nginx.toml '
        "claims as well"
    ]


def test_reading_a_recipe_is_quick_in_a_fresh_process() -> None:
    code = (
        "import time; t = time.process_time()\n"
        "from pathlib import Path\n"
        "from minid.recipe_reader import load_recipe\n"
        "load_recipe(Path('recipes/nginx.toml'))\n"
        "import sys; print(time.process_time() - t, 'difflib' in sys.modules)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(3)
    ]
    assert min(float(seconds) for seconds, _ in runs) < 0.06
    assert {loaded for _, loaded in runs} == {"False"}
