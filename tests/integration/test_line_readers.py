"""Other programs read what the line wrote: Docker Engine, podman, skopeo, umoci."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minid.errors import CheckError, PublishError
from minid.host.docker_engine import engine_answers
from tests.support.line import Line, new_line
from tests.support.require import demand_or_skip, require

pytestmark = pytest.mark.integration
NAME = f"minid-line-{uuid.uuid4().hex[:10]}"
TAG = f"{NAME}:1.0.0"
ARCHIVE = f"{NAME}_1.0.0-image.tar.gz"
# A nested machine has hybrid cgroups, which crun refuses, low limits, and no bridge.
ALONE = ("--rm", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """`hello` under a name that no engine has, with its archive exported."""
    require("bwrap", "gcc", "make", "runc")
    with new_line(export=True) as line:
        line.recipe("hello").rename(line.recipe(NAME))
        line.build(NAME)
        yield line


@pytest.fixture
def docker_is_there() -> Iterator[None]:
    require("docker")
    if not engine_answers():
        demand_or_skip("docker", "no Docker Engine answers")
    yield
    remove_images("docker")


@pytest.fixture
def podman(built: Line) -> Iterator[tuple[str, ...]]:
    """podman with a store of its own."""
    require("podman")
    place = built.folder.parent / "podman"
    # podman refuses a runroot of more than 50 characters, and a checkout may lie anywhere.
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        folders = {"root": place / "root", "runroot": f"{short}/run", "tmpdir": place / "tmp"}
        command = ["podman", *(f"--{name}={folder}" for name, folder in folders.items())]
        command += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc"]
        yield tuple(command)
        # `system reset` would do, and take what podman keeps outside of these folders along.
        say(*command, "image", "rm", "--all", "--force")
    shutil.rmtree(place)


def say(*argv: str | Path) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def remove_images(engine: str) -> None:
    for name in (f"{NAME}*", f"ground-{NAME}*"):
        ids = say(engine, "image", "ls", "--quiet", "--no-trunc", "--filter", f"reference={name}")
        for image in sorted(set(ids.split())):
            say(engine, "image", "rm", "--force", image)


def manifest(line: Line) -> Any:
    return json.loads(line.blob(line.tags()[TAG]))


def config_digest(line: Line) -> str:
    return str(manifest(line)["config"]["digest"])


def test_docker_loads_and_runs_the_archive(built: Line, docker_is_there: None) -> None:
    assert TAG in say("docker", "load", "--input", built.folder / "images" / ARCHIVE)
    shown = json.loads(say("docker", "image", "inspect", TAG))[0]
    assert shown["Id"] == config_digest(built)
    assert shown["Config"]["Cmd"] == ["/usr/local/bin/hello"]
    assert shown["Created"] == "2023-11-14T22:13:20Z"
    assert (shown["Author"], shown["Comment"]) == ("tests", "hello 1.0.0")
    assert say("docker", "run", "--rm", "--network=none", TAG) == "hello 1.0.0"
    lines = say("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", TAG)
    assert lines.splitlines()[0] == 'CMD ["/usr/local/bin/hello"]|hello 1.0.0'
    said = built.query("history", NAME)["history"]
    assert [text.split("|")[0] for text in lines.splitlines()] == [
        entry["created_by"] for entry in said
    ]


def test_podman_loads_and_runs_the_archive(built: Line, podman: tuple[str, ...]) -> None:
    say(*podman, "load", "--input", built.folder / "images" / ARCHIVE)
    shown = json.loads(say(*podman, "image", "inspect", TAG))[0]
    assert f"sha256:{shown['Id']}" == config_digest(built)
    assert shown["Config"]["Cmd"] == ["/usr/local/bin/hello"]
    # Its own "Comment" is that of the lowest layer, whatever the configuration says.
    assert shown["History"][-1]["comment"] == "hello 1.0.0"
    assert shown["Created"] == "2023-11-14T22:13:20Z"
    assert say(*podman, "run", *ALONE, TAG) == "hello 1.0.0"


def test_skopeo_reads_the_layout(built: Line) -> None:
    require("skopeo")
    layout = f"oci:{built.store}:{TAG}"
    shown = json.loads(say("skopeo", "inspect", layout))
    assert shown["Digest"] == built.tags()[TAG]
    assert shown["Created"] == "2023-11-14T22:13:20Z"
    assert "MODE=test" in shown["Env"]
    copy = built.folder.parent / "copy"
    say("skopeo", "--insecure-policy", "copy", layout, f"dir:{copy}")
    assert json.loads((copy / "manifest.json").read_text()) == manifest(built)


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_skopeo_reads_the_archive_as_both_kinds(built: Line, kind: str) -> None:
    require("skopeo")
    # skopeo 1.9 takes no compressed docker-archive, of whomever it is.
    plain = built.folder.parent / "plain.tar"
    plain.write_bytes(gzip.decompress((built.folder / "images" / ARCHIVE).read_bytes()))
    raw = say("skopeo", "inspect", "--config", "--raw", f"{kind}:{plain}")
    assert raw.encode() == built.blob(config_digest(built))
    target = built.folder.parent / kind
    say("skopeo", "--insecure-policy", "copy", f"{kind}:{plain}", f"dir:{target}")
    copied = json.loads((target / "manifest.json").read_text())
    assert copied["config"]["digest"] == config_digest(built)


def test_umoci_unpacks_the_layout(built: Line) -> None:
    require("umoci")
    assert set(say("umoci", "ls", "--layout", built.store).split()) == set(built.tags())
    # Its command line takes the first colon for the tag's, so it gets a tag without one.
    layout = built.folder.parent / "layout"
    require("skopeo")
    say("skopeo", "--insecure-policy", "copy", f"oci:{built.store}:{TAG}", f"oci:{layout}:it")
    bundle = built.folder.parent / "bundle"
    rootless = () if (built.folder.stat().st_uid == 0) else ("--rootless",)
    say("umoci", "unpack", *rootless, "--image", f"{layout}:it", bundle)
    root = bundle / "rootfs"
    assert (root / "etc" / "motd").read_text() == "welcome\n"
    assert (root / "usr/local/etc/hello.conf").read_text() == "greeting = hello\ncolour = green\n"
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert json.loads((bundle / "config.json").read_text())["process"]["args"] == [
        "/usr/local/bin/hello"
    ]


def foreign_image(line: Line) -> str:
    """An image of somebody else's under our tag; its id."""
    place = line.folder.parent / "foreign"
    place.mkdir(exist_ok=True)
    (place / "file").write_text(uuid.uuid4().hex)
    tar = place.with_suffix(".tar")
    say("tar", "-C", place, "-cf", tar, "file")
    return say("docker", "import", tar, TAG)


def docker_id(name: str) -> str:
    return say("docker", "image", "inspect", "--format", "{{.Id}}", name)


def keep_ground_apart(line: Line) -> None:
    """`ground` is published too: under a name that no other image has."""
    line.edit("ground", 'tags = ["{version}", "latest"]', f'tags = ["ground-{NAME}:1"]')


def test_docker_gets_the_image_by_itself_and_only_once(built: Line, docker_is_there: None) -> None:
    with new_line(docker="auto") as line:
        keep_ground_apart(line)
        line.recipe("hello").rename(line.recipe(NAME))
        outcome = line.build(NAME)[NAME]
        assert f"docker {TAG}" in outcome["moved"]
        assert docker_id(TAG) == outcome["config"] == config_digest(built)
        assert line.build(NAME)[NAME]["status"] == "unchanged"
        moves = line.query("history", NAME)["publications"]
        assert {row["target"] for row in moves} == {"store", "docker"}


def test_foreign_image_is_left_alone_with_a_note(built: Line, docker_is_there: None) -> None:
    foreign = foreign_image(built)
    with new_line(docker="auto") as line:
        keep_ground_apart(line)
        line.recipe("hello").rename(line.recipe(NAME))
        done = line.run("build", NAME)
        assert done.status == 0, done.err
        notes = [text for text in done.err.splitlines() if "note:" in text and TAG in text]
        assert len(notes) == 1, done.err
        assert "expected an image of minid's" in notes[0]
        assert docker_id(TAG) == foreign
        assert docker_id(f"{NAME}:latest") == config_digest(built)
        # What was refused stays refused, and is no reason to work every time.
        assert line.build(NAME)[NAME]["status"] == "unchanged"


def test_foreign_image_is_an_error_where_docker_is_demanded(
    built: Line, docker_is_there: None
) -> None:
    foreign = foreign_image(built)
    with new_line(docker="on") as line:
        keep_ground_apart(line)
        line.recipe("hello").rename(line.recipe(NAME))
        done = line.run("build", NAME)
        assert done.status == PublishError.exit_code == 25
        assert f"docker: {TAG}: expected an image of minid's" in done.err
        assert docker_id(TAG) == foreign
        assert line.tags()[TAG] == built.tags()[TAG]
        say("docker", "image", "rm", TAG)
        assert line.build(NAME)[NAME]["status"] == "built"
        assert docker_id(TAG) == config_digest(built)


def test_a_failing_check_leaves_nothing_in_docker(built: Line, docker_is_there: None) -> None:
    with new_line(docker="auto") as line:
        keep_ground_apart(line)
        line.recipe("hello").rename(line.recipe(NAME))
        line.build(NAME)
        before = say("docker", "image", "ls", "--all", "--quiet", "--no-trunc").split()
        line.edit(NAME, 'env = { MODE = "test" }', 'env = { MODE = "other" }')
        line.edit(NAME, 'contains = "hello {version}"', 'contains = "something else"')
        assert line.run("build", NAME).status == CheckError.exit_code
        after = say("docker", "image", "ls", "--all", "--quiet", "--no-trunc").split()
        assert sorted(after) == sorted(before)
        assert docker_id(TAG) == config_digest(built)
