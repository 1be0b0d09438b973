"""Same recipe, same digest: whatever time zone, umask, language, folder, user, jobs, order."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.line import Line, copy_line, give_to, new_line
from tests.support.require import require
from tests.support.users import ordinary_user

pytestmark = pytest.mark.integration

# Lists its folder unsorted into what it installs, asks for the time, and runs two jobs at once.
RESTLESS = {
    "Makefile": "OBJECTS = a.o b.o c.o d.o\n"
    "all: prog\n%.o: %.c\n\t$(CC) -g -c -o $@ $<\nprog: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n"
    "install:\n\tmkdir -p $(DESTDIR)/usr/bin $(DESTDIR)/usr/share/many\n"
    "\tcp prog $(DESTDIR)/usr/bin\n\tumask > $(DESTDIR)/usr/share/umask\n"
    "\tdate > $(DESTDIR)/usr/share/date-form; date -d @0 > $(DESTDIR)/usr/share/date-form\n"
    "\tenv | grep -v -e ^JOBS= -e MAKE -e ^MFLAGS= | sort > $(DESTDIR)/usr/share/env\n"
    "\thostname > $(DESTDIR)/usr/share/hostname; id > $(DESTDIR)/usr/share/id\n"
    "\tpwd > $(DESTDIR)/usr/share/pwd; chmod 0700 $(DESTDIR)/usr/share/pwd\n"
    "\tfor n in $$(seq 60); do echo $$n > $(DESTDIR)/usr/share/many/$$n; done\n",
    "a.c": "#include <stdio.h>\nint b(void), c(void), d(void);\nint main(void) {"
    ' printf("%d %s %s\\n", b() + c() + d(), __FILE__, __DATE__); return 0; }\n',
    "b.c": "int b(void) { return 1; }\n",
    "c.c": "int c(void) { return 2; }\n",
    "d.c": "int d(void) { return 3; }\n",
}
PATCH = (
    "--- a/b.c\n+++ b/b.c\n@@ -1 +1 @@\n-int b(void) { return 1; }\n+int b(void) { return 4; }\n"
)
TABLES = """
[rootfs]
base = "ground"
users = [{ name = "web" }]
directories = [{ path = "/srv/web", owner = "web", mode = "0700" }]
links = { "/bin/prog" = "/usr/bin/prog" }

[image]
cmd = ["prog"]

[[check]]
exec = ["/usr/bin/prog"]
contains = "9 "
"""


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "patch", "runc")


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with new_line() as line:
        line.add_recipe("restless", RESTLESS, TABLES)
        line.edit("restless", '"make", "make DESTDIR', '"make -j$JOBS", "make DESTDIR')
        line.edit("restless", "\n[build]", 'patches = ["four.patch"]\n\n[build]')
        (line.folder / "recipes" / "restless").mkdir()
        (line.folder / "recipes" / "restless" / "four.patch").write_text(PATCH)
        line.with_environ(TZ="UTC", LANG="C").build()
        yield line


@pytest.fixture(scope="module")
def digests(line: Line) -> dict[str, str]:
    """What the first build gave."""
    return line.tags()


def built_elsewhere(line: Line, folder: str) -> Line:
    return copy_line(line, line.folder.parent / folder)


def test_other_time_zone_language_umask_and_long_folder(
    line: Line, digests: dict[str, str]
) -> None:
    other = built_elsewhere(line, "a much longer name, with spaces and ümläuts/" + "deep/" * 20)
    other = other.with_environ(
        TZ="Asia/Kathmandu", LANG="de_DE.UTF-8", LC_ALL="tr_TR.UTF-8", USER="x", CFLAGS="-O3"
    )
    replace(other, umask=0o077).build()
    assert other.tags() == digests


def test_open_umask_and_other_jobs(line: Line, digests: dict[str, str]) -> None:
    other = replace(built_elsewhere(line, "j"), umask=0)
    other.write_config(jobs=1)
    other.build()
    assert other.tags() == digests


def test_other_user(line: Line, digests: dict[str, str]) -> None:
    user = ordinary_user()
    other = give_to(built_elsewhere(line, "u"), user)
    outcome = other.build("restless")["restless"]
    assert outcome["manifest"] == digests["restless:latest"]
    assert (other.store / "index.json").stat().st_uid == pwd.getpwnam(user).pw_uid


def test_again_with_force_and_alone(line: Line, digests: dict[str, str]) -> None:
    outcomes = line.build("--force", "restless")
    assert outcomes["restless"]["status"] == "built"
    assert outcomes["restless"]["stages"]["compile"] > 0
    assert line.tags() == digests


def test_squashed_image(line: Line, digests: dict[str, str]) -> None:
    found = []
    for folder, umask in (("s1", 0o022), ("s2", 0o077)):
        other = replace(built_elsewhere(line, folder), umask=umask)
        other.edit("restless", 'cmd = ["prog"]\n', 'cmd = ["prog"]\nsquash = true\n')
        found.append(other.build("restless")["restless"]["manifest"])
        assert len(other.query("inspect", "restless")["layers"]) == 1
    assert found[0] == found[1] != digests["restless:latest"]


def test_other_order_of_folders(line: Line, digests: dict[str, str]) -> None:
    """On a file system that hands names out in another order."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    place = line.folder.parent / "tmpfs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(place)], check=True)
    try:
        other = copy_line(line, place / "w")
        kept = line.folder.parent / "order"
        assert order_of(kept) != order_of(place / "order")
        other.build("restless")
        assert other.tags()["restless:latest"] == digests["restless:latest"]
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def order_of(folder: Path) -> list[str]:
    folder.mkdir()
    for number in range(60):
        (folder / str(number)).touch()
    return [path.name for path in folder.iterdir()]
