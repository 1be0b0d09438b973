"""The whole line as an ordinary user, without Docker: what is built, checked and left behind."""

from __future__ import annotations

import io
import json
import os
import pwd
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.line import GROUND_FILES, ROOT, Line, copy_line, give_to, new_line
from tests.support.require import require
from tests.support.users import ordinary_user

pytestmark = pytest.mark.integration
# A service that runs as another user than it is started by, with a file that only it may read.
SERVICE_TABLES = """
[rootfs]
base = "ground"
users = [{ name = "web", uid = 2345, gid = 3456 }]
directories = [{ path = "/srv/data", owner = "web", mode = "0700" }]
files = [{ path = "/srv/data/secret", content = "for web\\n", owner = "web", mode = "0400" }]

[image]
cmd = ["/bin/tool", "serve", "0.0.0.0", "80", "200", "hello rootless"]
user = "web"
tags = ["latest"]

[[check]]
http = { port = 80, contains = "hello rootless" }

[[check]]
exec = ["/bin/tool", "id"]
contains = "uid=2345"

[[check]]
exec = ["/bin/tool", "cat", "/srv/data/secret"]
contains = "for web"
"""
REMOVE = ("unshare", "--map-auto", "--map-root-user", "rm", "-r")


@pytest.fixture(scope="module")
def user() -> str:
    require("bwrap", "gcc", "make", "runc", "newuidmap", "newgidmap")
    return ordinary_user()


@pytest.fixture(scope="module")
def built(user: str) -> Iterator[Line]:
    """Three images and a library, built by the user; tests of this fixture only read."""
    with new_line() as line:
        line.add_recipe("service", GROUND_FILES, SERVICE_TABLES)
        mine = give_to(line, user)
        outcomes = mine.build()
        assert {item["status"] for item in outcomes.values()} == {"built"}
        yield mine


def user_id(user: str) -> int:
    return pwd.getpwnam(user).pw_uid if user else os.geteuid()


def test_images_are_built_and_checked(built: Line) -> None:
    assert sorted(built.tags()) == [
        "ground:1.0.0",
        "ground:latest",
        "hello:1.0.0",
        "hello:latest",
        "service:latest",
    ]
    said = built.query("test", "service")
    assert said["runner"] == "sandbox"
    assert [result["passed"] for result in said["results"]] == [True, True, True]
    assert "hello rootless" in said["results"][0]["detail"]


def test_owners_in_the_image_are_data(built: Line) -> None:
    top = json.loads(built.blob(built.tags()["service:latest"]))["layers"][-1]
    with tarfile.open(fileobj=io.BytesIO(built.blob(top["digest"]))) as layer:
        found = {member.name: (member.uid, member.gid, member.mode) for member in layer}
    assert found["srv/data"] == (2345, 3456, 0o700)
    assert found["srv/data/secret"] == (2345, 3456, 0o400)
    assert found["etc/passwd"] == (0, 0, 0o644)


def test_everything_belongs_to_the_user(built: Line, user: str) -> None:
    paths = [built.folder, *built.folder.rglob("*")]
    others = [path for path in paths if path.lstat().st_uid != user_id(user)]
    # Unpacked layers are owned by who owns them in the image: by subordinate ids out here.
    assert {path.relative_to(built.state).parts[0] for path in others} <= {"layers"}
    assert all(path.lstat().st_uid >= 100000 for path in others)
    assert not list((built.state / "jobs").iterdir())


def test_second_build_does_nothing(built: Line) -> None:
    done = built.run("build")
    assert done.status == 0, done.err
    assert done.err == ""
    assert done.out.count("nothing has changed") >= 1
    assert {item["status"] for item in built.build().values()} == {"unchanged"}
    assert {row["state"] for row in built.query("status")["recipes"]} == {"up to date"}


def test_an_engine_that_is_closed_to_the_user_is_no_matter(built: Line, user: str) -> None:
    mine = give_to(copy_line(replace(built, user=""), built.folder.parent / "auto"), user)
    mine.write_config(docker="auto")
    done = mine.with_environ(DOCKER_HOST="unix:///proc/1/no-engine").run("build", "hello")
    assert done.status == 0, done.err
    assert "note:" not in done.err
    assert mine.tags()["hello:latest"] == built.tags()["hello:latest"]


def test_root_gets_the_same_images(built: Line) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root beside the ordinary user")
    other = copy_line(replace(built, user=""), built.folder.parent / "root")
    other = replace(other, python=sys.executable)
    other.build()
    assert other.tags() == built.tags()


def test_failures_and_edits(built: Line, user: str) -> None:
    mine = give_to(copy_line(replace(built, user=""), built.folder.parent / "edits"), user)
    mine.build("service")
    before = mine.tags()
    mine.edit("service", 'contains = "for web"', 'contains = "for root"')
    failed = mine.run("build", "--json", "service")
    assert failed.status == 24, failed.err
    assert mine.tags() == before
    mine.edit("service", 'contains = "for root"', 'contains = "for web"')
    mine.edit("service", "for web\\n", "only for web\\n")
    outcome = mine.build("service")["service"]
    assert outcome["manifest"] == mine.tags()["service:latest"] != before["service:latest"]
    kept = json.loads(mine.blob(before["service:latest"]))["layers"]
    now = json.loads(mine.blob(outcome["manifest"]))["layers"]
    assert [a == b for a, b in zip(kept, now, strict=True)].count(False) == 1


def test_doctor(built: Line) -> None:
    done = built.run("doctor")
    assert done.status == 0, done.out + done.err
    assert "builds and checks work here" in done.out


def test_the_user_can_remove_it_all(built: Line, user: str) -> None:
    """With the command of docs/how-to/run-without-root.md: `rm` alone may not enter a folder that
    belongs to a user of an image, in the unpacked layers."""
    mine = give_to(copy_line(replace(built, user=""), built.folder.parent / "gone"), user)
    mine.build("service")
    how = mine.argv()[: mine.argv().index("env") + 1] if user else []
    assert " ".join(REMOVE) in (ROOT / "docs" / "how-to" / "run-without-root.md").read_text()
    subprocess.run([*how, *REMOVE, *map(str, mine.folder.iterdir())], check=True)
    assert not list(mine.folder.iterdir())
