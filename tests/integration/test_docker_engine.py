"""A real engine: lean loads, guarded tags, and checks in its containers."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from minid.errors import CheckError, PublishError
from minid.formats.digest import Digest
from minid.formats.image_record import RECIPE_LABEL
from minid.host import docker_engine
from minid.host.docker_container import OWNER_LABEL, DockerContainer, fetch_page
from minid.recipe import Check
from minid.steps.check import DockerRunner, check_image
from tests.support.engine import check_containers, docker
from tests.support.require import require
from tests.support.tiny_image import (
    TinyArchive,
    base_entries,
    compile_tool,
    file,
    folder,
    image_to_check,
    layer_bytes,
)

pytestmark = pytest.mark.integration
SERVE = ["/bin/tool", "serve", "0.0.0.0", "80", "200", "hello engine"]


@pytest.fixture(scope="module", autouse=True)
def _engine() -> None:
    require("docker", "gcc")
    if not docker_engine.engine_answers():
        if os.environ.get("MINID_REQUIRE"):
            pytest.fail("no Docker Engine answers")
        pytest.skip("no Docker Engine answers")


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A base layer that no other run has, and one above it."""
    tool = compile_tool(tmp_path_factory.mktemp("tool"))
    mark = file("mark", uuid.uuid4().bytes)
    base = layer_bytes([*base_entries(tool), mark])
    return base, layer_bytes([folder(""), folder("etc"), file("etc/motd", b"two\n")])


@pytest.fixture
def repository() -> Iterator[str]:
    name = f"minid-test-{uuid.uuid4().hex[:12]}"
    yield name
    listed = docker("image", "ls", "--quiet", "--no-trunc", name).split()
    for engine_id in set(listed):
        docker("image", "rm", "--force", engine_id)


def archive(tars: Iterable[bytes], *cmd: str, label: bool = True) -> TinyArchive:
    labels = {"Labels": {RECIPE_LABEL: "tiny"}} if label else {}
    return TinyArchive.make(tars, {"Cmd": list(cmd) or SERVE, **labels})


class Recorder:
    """An archive that notes what it was asked to leave out."""

    def __init__(self, inner: TinyArchive) -> None:
        self.inner = inner
        self.left_out: list[int] = []

    def __call__(self, without: Iterable[Digest]) -> Iterable[bytes]:
        absent = list(without)
        self.left_out.append(len(absent))
        return self.inner(absent)


def publish(made: TinyArchive, *names: str) -> tuple[list[str], list[str], list[int]]:
    recorder = Recorder(made)
    moved, refused = docker_engine.publish_archive(
        recorder, image_id=made.id, layers=made.pairs, names=names
    )
    return moved, refused, recorder.left_out


@pytest.fixture
def loaded(tars: tuple[bytes, bytes], repository: str) -> Iterator[str]:
    """The id of an image that serves a page."""
    made = archive(tars)
    publish(made, f"{repository}:served")
    yield str(made.id)


def test_published_image_is_what_docker_shows(tars: tuple[bytes, bytes], repository: str) -> None:
    made = archive(tars, "/bin/tool", "id")
    moved, refused, _ = publish(made, f"{repository}:1", f"{repository}:latest")
    assert moved == [f"{repository}:1", f"{repository}:latest"]
    assert refused == []
    assert docker_engine.image_id(f"{repository}:latest") == str(made.id)
    shown = json.loads(docker("image", "inspect", f"{repository}:1"))[0]
    assert shown["Config"]["Cmd"] == ["/bin/tool", "id"]
    assert "uid=0" in docker("run", "--rm", "--network=none", f"{repository}:1")


def test_changed_configuration_sends_no_layer_again(
    tars: tuple[bytes, bytes], repository: str
) -> None:
    publish(archive(tars, "first"), f"{repository}:1")
    began = time.monotonic()
    changed = archive(tars, "/bin/tool", "cat", "/etc/motd")
    moved, _, left_out = publish(changed, f"{repository}:1")
    assert (moved, left_out) == ([f"{repository}:1"], [2])
    assert time.monotonic() - began < 2
    assert docker("run", "--rm", "--network=none", f"{repository}:1") == "two"


def test_changed_upper_layer_sends_only_itself(tars: tuple[bytes, bytes], repository: str) -> None:
    publish(archive(tars, "first"), f"{repository}:1")
    upper = layer_bytes([folder(""), folder("etc"), file("etc/motd", uuid.uuid4().hex.encode())])
    changed = archive((tars[0], upper), "/bin/tool", "cat", "/etc/motd")
    assert publish(changed, f"{repository}:2")[2] == [1]
    assert len(docker("run", "--rm", "--network=none", f"{repository}:2")) == 32


def test_engine_that_refuses_a_lean_archive_gets_the_whole(
    tars: tuple[bytes, bytes], repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the quick look says may be out of date: an image can be removed at any time.
    monkeypatch.setattr(docker_engine, "_shared_layers", lambda *_: 2)
    fresh = layer_bytes([*base_entries(b"#!x"), file("mark", uuid.uuid4().bytes)])
    made = archive((fresh, tars[1]), "x")
    moved, _, left_out = publish(made, f"{repository}:1")
    assert (moved, left_out) == ([f"{repository}:1"], [2, 0])


def test_same_image_is_not_loaded_again(tars: tuple[bytes, bytes], repository: str) -> None:
    made = archive(tars, "same")
    publish(made, f"{repository}:1")
    moved, _, left_out = publish(made, f"{repository}:1", f"{repository}:2")
    assert (len(moved), left_out) == (2, [])


def test_foreign_tag_is_left_alone(tars: tuple[bytes, bytes], repository: str) -> None:
    foreign = archive(tars, "foreign", label=False)
    docker_engine.load_archive(foreign())
    docker("tag", str(foreign.id), f"{repository}:1")
    made = archive(tars, "mine")
    moved, refused, _ = publish(made, f"{repository}:1", f"{repository}:2")
    assert moved == [f"{repository}:2"]
    assert len(refused) == 1
    assert f"{repository}:1: expected an image of minid's" in refused[0]
    assert docker_engine.image_id(f"{repository}:1") == str(foreign.id)
    alone = archive(tars, "nowhere to go")
    assert publish(alone, f"{repository}:1")[0] == []
    assert docker_engine.image_id(str(alone.id)) is None


def test_damaged_archive_is_refused(tars: tuple[bytes, bytes]) -> None:
    made = archive(tars, "never")
    whole = b"".join(made())
    with pytest.raises(PublishError):
        docker_engine.load_archive([whole[: len(whole) // 3]])
    with pytest.raises(PublishError, match="expected the archive to load"):
        docker_engine.load_archive([b"no tar at all" * 100])
    assert docker_engine.image_id(str(made.id)) is None


def test_silent_and_absent_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "engine.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{where}")
    assert not docker_engine.engine_answers()
    with pytest.raises(PublishError, match="expected an answer to GET /images/x/json"):
        docker_engine.image_id("x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen()
        began = time.monotonic()
        assert not docker_engine.engine_answers(timeout_s=0.2)
        assert time.monotonic() - began < 1
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert not docker_engine.engine_answers()


def test_checks_in_a_container(loaded: str) -> None:
    page = Check("http", port=80, contains="hello engine")
    beside = Check("exec", argv=("/bin/tool", "cat", "/etc/motd"), contains="two")
    wrong = Check(
        "exec", argv=("/bin/tool", "exit", "3", "{version}"), exit_code=3, contains="1.2.3"
    )
    image = image_to_check((), *SERVE[1:])
    report = check_image(image, (page, beside, wrong), DockerRunner(lambda _: loaded))
    assert report.passed, report
    assert report.runner == "docker"
    assert report.output_tail == ("serving 80",)
    if os.geteuid() == 0:
        assert report.libraries == ("/bin/tool",)
    assert check_containers() == []


def test_dead_program_and_command_alone(tars: tuple[bytes, bytes], repository: str) -> None:
    made = archive(tars, "/bin/tool", "exit", "9", "last words")
    publish(made, f"{repository}:1")
    page = Check("http", port=80, deadline_s=10)
    alone = Check("exec", argv=("/bin/tool", "flood", str(64 << 20)), contains="the last line")
    image = image_to_check((), "exit", "9")
    report = check_image(image, (page, alone), DockerRunner(lambda _: str(made.id)))
    assert "got exit code 9: last words" in report.results[0].detail
    assert report.results[1].passed, report.results[1].detail
    assert check_containers() == []


def test_cancel_removes_the_container(loaded: str) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    silent = Check("http", port=81, deadline_s=60)
    with pytest.raises(CheckError, match="cancelled"):
        check_image(
            image_to_check((), *SERVE[1:]), (silent,), DockerRunner(lambda _: loaded), cancel=cancel
        )
    assert check_containers() == []


def test_containers_of_a_killed_minid_are_removed(loaded: str) -> None:
    name = docker("create", "--label", f"{OWNER_LABEL}=999999999:1", loaded)
    mine = docker("create", "--label", "unrelated=1", loaded)
    try:
        with DockerContainer(loaded):
            there = docker("ps", "--all", "--quiet", "--no-trunc").split()
            assert name not in there
            assert mine in there
    finally:
        docker("rm", mine)


def test_fetch_page(loaded: str) -> None:
    assert fetch_page(loaded, 80) == b"hello engine"
    with pytest.raises(CheckError, match="port 81: expected a page, got connection refused"):
        fetch_page(loaded, 81, timeout_s=0.3)
    assert check_containers() == []
