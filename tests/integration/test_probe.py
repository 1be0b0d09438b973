"""Probes of a real program in a real sandbox: what it wants is found, and a recipe gets it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minid.recipe import Directory, Group, User
from tests.support.line import Line, give_to, new_line
from tests.support.probing import SOURCE, Bare, Programs, compile_wants, file, folder, told
from tests.support.require import require
from tests.support.users import ordinary_user

pytestmark = pytest.mark.integration
LOG, TEMP = "/var/log/wants/error.log", "/var/tmp/wants/body"
WANTS_FILES = {
    "Makefile": "all:\n\tgcc -w -O1 -o wants wants.c\n"
    "install:\n\tmkdir -p $(DESTDIR)/opt/wants/sbin\n\tcp wants $(DESTDIR)/opt/wants/sbin\n",
    "wants.c": SOURCE.read_text(),
}
WANTS_TABLES = f"""
[rootfs]
base = "scratch" # nothing below

[image]
cmd = ["wants", "log", "{LOG}", "user", "web", "group", "www", "temp", "{TEMP}", "listen", "80"]
tags = ["latest"]

# The page is the test's own.
[[check]]
http = {{ port = 80, path = "/", status = 404 }}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    require("gcc", "runc")
    return compile_wants(tmp_path_factory.mktemp("wants"))


@pytest.fixture(params=["static", "shared"])
def bare(request: pytest.FixtureRequest, programs: Programs, tmp_path: Path) -> Bare:
    """A root with the program and /dev alone, linked either way."""
    return Bare(tmp_path, programs, (folder("dev"),), shared=request.param == "shared")


@pytest.fixture
def fixed(programs: Programs, tmp_path: Path) -> Bare:
    return Bare(tmp_path, programs, (folder("dev"),))


def test_everything_in_one_go(bare: Bare) -> None:
    wants = ("user", "web", "group", "www", "log", LOG, "temp", TEMP, "listen", "80")
    report = bare.probe(*wants, knocks=((80, b"GET / HTTP/1.0\r\n\r\n"),))
    assert set(told(report)) == {
        ("user", "web"),
        ("group", "www"),
        ("name service", "/etc/nsswitch.conf"),
        ("folder", "/var/log/wants"),
        ("folder", "/var/tmp/wants"),
    }
    assert ("file", "/srv/page") in {(f.kind, f.what) for f in report.findings}  # by the knock
    assert report.end is not None and report.end.alive
    assert report.end.answers[0].startswith("HTTP/1.0 404")
    assert report.lines.users == (User("web"),) and report.lines.groups == (Group("www"),)


def test_users_one_after_the_other(bare: Bare) -> None:
    report = bare.probe("user", "a", "user", "b", "group", "a", "user", "a")
    assert {user.name for user in report.lines.users} == {"a", "b"}
    assert report.end is not None and report.end.exit_code == 0


def test_folders_of_a_program_that_gives_up_root(bare: Bare) -> None:
    report = bare.probe("become", "web", "log", "/srv/data/f.log", "socket", "/run/app/s.sock")
    owned = {line.path: line.owner for line in report.lines.directories}
    assert owned == {"/srv/data": "web", "/run/app": "web"}
    assert report.end is not None and report.end.exit_code == 0


def test_user_of_the_image_and_a_folder_that_is_roots(fixed: Bare) -> None:
    bare = replace(fixed, config=(("User", "app"),), more=(folder("dev"), folder("var/lib/app")))
    report = bare.probe("log", "/var/lib/app/db")
    assert report.lines.users == (User("app"),)
    assert report.lines.directories == (Directory("/var/lib/app", owner="app"),)
    assert report.end is not None and report.end.exit_code == 0


def test_silent_end_after_a_file_that_is_not_there(fixed: Bare) -> None:
    report = fixed.probe("read", "/etc/wants.conf")
    assert set(told(report)) == {("file", "/etc/wants.conf")}
    assert report.end is not None and report.end.exit_code == 0  # an empty one is enough for it
    report = fixed.probe("read", "/etc/wants.conf", "enter", "/proc/none")
    assert not report.lines.files  # it was not


@pytest.mark.parametrize("name", ["libc.so.6", "ld-linux-x86-64.so.2"])
def test_libraries_that_were_left_out(programs: Programs, tmp_path: Path, name: str) -> None:
    if not any(path.endswith(f"/{name}") for path in programs.libraries):
        pytest.skip(f"the compiler's programs do not use {name}")
    bare = Bare(tmp_path, programs, (folder("dev"),), shared=True, without=(name,))
    report = bare.probe("sleep", "1")
    assert [line.rpartition("/")[2] for line in report.lines.dlopen] == [name]


def test_library_by_name(programs: Programs, tmp_path: Path) -> None:
    report = Bare(tmp_path, programs, (folder("dev"),), shared=True).probe("load", "libwants.so.1")
    assert set(told(report)) == {("library", "libwants.so.1")}
    assert report.lines.dlopen == ("libwants.so.1",)


def test_program_of_a_program(fixed: Bare) -> None:
    helper = file("opt/x/helper", fixed.programs.static, 0o755)
    script = file("bin/script", b"#!/bin/nosh\n", 0o755)
    bare = replace(fixed, more=(folder("dev"), helper, script))
    report = bare.probe("run", "helper")
    assert report.lines.links == (("/usr/bin/helper", "/opt/x/helper"),)
    assert report.end is not None and report.end.exit_code == 0
    assert ("program", "/bin/nosh") in told(bare.probe("run", "script"))


def test_background(fixed: Bare) -> None:
    report = fixed.probe("background", "yes")
    assert ("foreground", "wants") in told(report)
    assert not report.lines


def test_bare_root_lacks_the_folder_of_devices(programs: Programs, tmp_path: Path) -> None:
    report = Bare(tmp_path, programs).probe("log", "/dev/null")
    assert report.lines.directories == (Directory("/dev"),)
    (device,) = [finding for finding in report.findings if finding.kind == "device"]
    assert (device.what, device.supplied) == ("/dev/null", "engine")


def test_program_that_hangs_or_floods_is_ended(fixed: Bare) -> None:
    for wants in (("threads", "20", "spin", "1"), ("flood", "30000", "sleep", "900")):
        report = fixed.probe(*wants, seconds=2)
        assert report.end is not None and report.end.alive
        assert len(report.end.events) <= 20_000
    found = subprocess.run(["pgrep", "-x", "wants"], capture_output=True)
    assert not found.stdout


def test_nothing_is_left_in_the_cache(fixed: Bare) -> None:
    fixed.probe("log", LOG)
    (owned,) = (fixed.place / "layers").iterdir()
    left = [path for path in owned.iterdir() if not path.name.startswith(".")]
    assert len(left) == 1  # the image's own layer


# Recipes.


@pytest.fixture(params=["root", "ordinary"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """A working folder with the bare recipe `wants`, root's and an ordinary user's."""
    require("bwrap", "gcc", "make", "runc")
    user = ""
    if request.param == "ordinary":
        require("newuidmap", "newgidmap")
        user = ordinary_user()
    with new_line() as made:
        made.add_recipe("wants", WANTS_FILES, WANTS_TABLES)
        yield give_to(made, user) if user else made


def test_from_a_bare_recipe_to_a_check_that_passes(line: Line) -> None:
    assert line.run("build", "wants").status == 24
    before = line.recipe("wants").read_text()
    looked = line.run("probe", "wants", "--json")
    assert looked.status == 1, looked.err
    facts = looked.json()
    found = {(one["kind"], one["what"]) for one in facts["findings"] if one["needed"]}
    assert found == {
        ("program", "wants"),
        ("device", "/dev/null"),
        ("user", "web"),
        ("group", "www"),
        ("name service", "/etc/nsswitch.conf"),
        ("folder", "/var/log/wants"),
        ("folder", "/var/tmp/wants"),
    }
    assert facts["run"] == 1 and facts["end"]["running"]
    assert line.recipe("wants").read_text() == before
    applied = line.run("probe", "wants", "--apply")
    assert applied.status == 0, applied.out + applied.err
    after = line.recipe("wants").read_text()
    assert "# nothing below" in after and "# The page is the test's own." in after
    assert facts["lines"].partition("[rootfs]\n")[2].strip() in after
    assert "wants:latest" in line.tags()
    assert line.build("wants")["wants"]["status"] == "unchanged"
    if line.user:
        return
    again = line.run("probe", "wants", "--apply", "--json").json()
    assert (again["changed"], again["build"], len(again["looks"])) == (False, 0, 1)


def test_what_cannot_be_applied_leaves_the_recipe_as_it_was(tmp_path: Path) -> None:
    require("bwrap", "gcc", "make", "runc")
    with new_line() as line:
        tables = WANTS_TABLES.replace(
            '"wants", "log"', '"/opt/wants/sbin/wants", "load", "no.so.1", "log"'
        )
        line.add_recipe("wants", WANTS_FILES, tables)
        before = line.recipe("wants").read_text()
        done = line.run("probe", "wants", "--apply")
        assert done.status == 21, done.out + done.err  # no library of that name is anywhere
        assert line.recipe("wants").read_text() == before


def test_words_of_the_command_line(tmp_path: Path) -> None:
    require("bwrap", "gcc", "make", "runc")
    with new_line() as line:
        line.add_all()
        line.build("ground")
        done = line.run("probe", "ground", "--", "/bin/tool", "cat", "/nope")
        assert done.status == 1 and "/nope" in done.out
        done = line.run("probe", "ground", "--", "/bin/tool", "id")
        assert "with these lines it ends with status 0" in done.out
        assert line.run("probe", "nothing").status == 2
        assert line.run("probe").status == 2
        assert line.run("probe", "--run", "99").status == 2
        line.edit("ground", 'mode = "1777"', 'mode = "0777"')
        assert "before the recipe changed" in line.run("probe", "ground").err
