"""A service's whole script of checks, in the sandbox and in Docker: what passes, what fails how."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from minid.errors import ImageError
from minid.formats.digest import Digest
from minid.formats.image_record import RECIPE_LABEL
from minid.host import docker_engine
from minid.host.container import LIMITS, MEMORY_BYTES, prune_layers
from minid.model import CheckReport
from minid.recipe import Certificate, Check, Start, StartFile
from minid.steps.check import DockerRunner, ImageToCheck, Runner, SandboxRunner, check_image
from tests.support.engine import check_containers, docker
from tests.support.require import require
from tests.support.tiny_image import (
    PASSWD,
    TinyArchive,
    base_entries,
    compile_tool,
    file,
    folder,
    layer_bytes,
    link,
)

pytestmark = pytest.mark.integration
SETTINGS: dict[str, Any] = {
    "Entrypoint": ["/bin/tool"],
    "Cmd": ["keep", "80"],
    "Env": ["GREETING=own", "PATH=/bin"],
    "StopSignal": "SIGQUIT",
}
AS_WEB = ("as", "100", "keep", "80")
SECRET = "hunter2-{version}"
PAGE = Check("http", port=80, contains="own 1")


@dataclass(frozen=True)
class Place:
    """A runner, and the image as it wants it."""

    runner: Runner
    image: ImageToCheck

    def run(self, *checks: Check, audit: bool = False) -> CheckReport:
        return check_image(self.image, checks, self.runner, audit=audit)

    def detail(self, *checks: Check) -> str:
        """Of the last check, which must fail as the only one."""
        report = self.run(*checks)
        assert [result.passed for result in report.results] == [True] * (len(checks) - 1) + [False]
        return report.results[-1].detail


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    require("gcc", "openssl")
    tool = compile_tool(tmp_path_factory.mktemp("tool"))
    root, accounts = base_entries(tool)[:3], base_entries(tool)[3:-1]
    # As some distributions have it: the accounts behind a link.
    accounts += [link("etc/passwd", "../etc/users"), file("etc/users", PASSWD)]
    return layer_bytes([*root, folder("data", uid=100), *accounts])


@pytest.fixture(scope="module", params=["sandbox", "docker"])
def place(
    request: pytest.FixtureRequest, layer: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    where = tmp_path_factory.mktemp("place")
    tar = where / "layer.tar"
    tar.write_bytes(layer)
    image = ImageToCheck("tiny", "1.2.3", SETTINGS, ((Digest.of(layer), tar),))
    if request.param == "sandbox":
        require("runc")
        yield Place(SandboxRunner(where / "layers"), image)
        prune_layers(where / "layers", [])
        return
    require("docker")
    if not docker_engine.engine_answers():
        if os.environ.get("MINID_REQUIRE"):
            pytest.fail("no Docker Engine answers")
        pytest.skip("no Docker Engine answers")
    made = TinyArchive.make([layer], SETTINGS | {"Labels": {RECIPE_LABEL: "tiny"}})
    name = f"minid-test-{uuid.uuid4().hex[:12]}:1"
    docker_engine.publish_archive(made, image_id=made.id, layers=made.pairs, names=(name,))
    yield Place(DockerRunner(lambda _: str(made.id)), image)
    docker("image", "rm", "--force", str(made.id))


def starts(**settings: Any) -> Check:
    return Check("start", start=Start(**settings))


def cat(path: str, **wanted: Any) -> Check:
    return Check("exec", argv=("/bin/tool", "cat", path), **wanted)


def test_whole_script(place: Place) -> None:
    report = place.run(
        starts(env=(("GREETING", SECRET),), cmd=AS_WEB),
        Check("http", port=80, contains="hunter2-1.2.3 1"),
        Check("process", name="tool", user="web"),
        Check("process", name="tool", user="100"),
        Check("log", stream="stdout", contains="serving 80"),
        Check("log", stream="stderr", contains="start 1"),
        cat("/proc/self/environ", contains="GREETING=hunter2-1.2.3"),
        Check("restart"),
        Check("http", port=80, contains="hunter2-1.2.3 2"),
        Check("restart"),
        Check("http", port=80, contains="hunter2-1.2.3 3"),
        Check("log", contains="start 1"),
        Check("log", contains="start 3"),
        Check("stop"),
        starts(),
        replace(PAGE, path="/x"),
        Check("stop"),
        audit=True,
    )
    assert report.passed, report
    assert [result.name for result in report.results[:4]] == [
        "start",
        "http 80 /",
        "process tool",
        "process tool",
    ]
    if report.runner == "sandbox" or os.geteuid() == 0:
        assert report.libraries == ("/bin/tool",)
    assert "hunter2" not in " ".join(report.log)
    assert nothing_left()


def test_own_settings_are_used_before_the_first_start(place: Place) -> None:
    report = place.run(PAGE, starts(env=(("GREETING", "new"),)), replace(PAGE, contains="new 1"))
    assert report.passed, report


def test_files_and_certificate_are_laid(place: Place) -> None:
    big = "0123456789abcdef" * 4096
    files = (
        StartFile("/etc/motd", "of {version}\n"),
        StartFile("/srv/deep/er/secret", "s", "web", 0o600),
        StartFile("/srv/big", big + "end"),
    )
    report = place.run(
        starts(files=files, certificate=Certificate("/tls/crt", "/tls/key", owner="web")),
        cat("/etc/motd", contains="of 1.2.3"),
        cat("/srv/big", contains="end"),
        cat("/tls/crt", contains="BEGIN CERTIFICATE"),
        cat("/tls/key", contains="PRIVATE KEY"),
        Check("exec", argv=("/bin/tool", "as", "100", "cat", "/tls/key"), contains="PRIVATE KEY"),
        Check("exec", argv=("/bin/tool", "as", "100", "cat", "/srv/deep/er/secret"), contains="s"),
        Check(
            "exec",
            argv=("/bin/tool", "as", "101", "cat", "/tls/key"),
            contains="Permission denied",
            exit_code=1,
        ),
        starts(),
        cat("/tls/key", contains="No such file", exit_code=1),
        cat("/etc/motd", contains="No such file", exit_code=1),
    )
    assert report.passed, report


def test_fastcgi(place: Place) -> None:
    ask = Check("fastcgi", port=9000, script="/srv/a.php", contains="body asked", deadline_s=1)
    assert place.run(starts(cmd=("fastcgi", "9000", "200", "body")), ask).passed
    wrong = place.detail(starts(cmd=("fastcgi", "9000", "404", "body")), ask)
    assert wrong == "expected status 200 containing 'body asked', got 404 'body asked'"
    page = place.detail(starts(), replace(ask, port=80))
    assert "expected status 200 containing 'body asked', got b'HTTP/1.1 200" in page
    assert "where a FastCGI record belongs" in page


def test_what_does_not_stop_is_said(place: Place) -> None:
    hard = Check("stop", deadline_s=0.5)
    detail = place.detail(starts(cmd=("sleep", "1000")), hard)
    assert detail == "expected an end after SIGQUIT, got a program that still runs"
    assert "expected exit code 3, got exit code 0" in place.detail(PAGE, Check("stop", exit_code=3))
    ended = place.detail(PAGE, Check("stop"), Check("stop"))
    assert ended.startswith("expected a program that runs, got one that had ended: exit code 0")
    again = place.run(PAGE, Check("stop"), Check("restart"), replace(PAGE, contains="own 2"))
    assert again.passed, again


def test_what_does_not_start_is_said(place: Place) -> None:
    image = replace(place.image, config=SETTINGS | {"Entrypoint": ["/bin/nothing"]})
    if isinstance(place.runner, SandboxRunner):
        detail = Place(place.runner, image).detail(starts())
        assert "expected the program to start, got a program that did not start" in detail
        assert "/bin/nothing" in detail
    report = place.run(starts(cmd=("exit", "3", "bad option")), PAGE)
    assert [result.passed for result in report.results] == [True, False]
    assert "got exit code 3: bad option" in report.results[1].detail
    with pytest.raises(ImageError, match="start: expected an owner of the image's passwd, got 'm"):
        place.run(starts(files=(StartFile("/a", "", "missing"),)))
    if isinstance(place.runner, SandboxRunner):
        with pytest.raises(ImageError, match="start: '/bin/tool/a': expected room for a file, got"):
            place.run(starts(files=(StartFile("/bin/tool/a", ""),)))


def test_what_is_started_last_must_not_fail_at_once(place: Place) -> None:
    dies = starts(cmd=("exit", "3", "bad option"))
    assert place.detail(dies) == "expected a program that goes on, got exit code 3: bad option"
    assert place.run(dies, Check("log", contains="bad option")).passed
    assert place.run(starts(cmd=("exit", "0"))).passed


def test_process_of_another_user_or_name_is_said(place: Place) -> None:
    soon = Check("process", name="tool", user="web", deadline_s=0.4)
    assert "expected a process 'tool' of user 'web', got 'root' (pid " in place.detail(PAGE, soon)
    other = place.detail(PAGE, replace(soon, name="redis-server"))
    assert other == "expected a process 'redis-server', got 'tool'"
    nobody = place.detail(PAGE, replace(soon, user="nobody"))
    assert nobody.endswith("of user 'nobody', got no such user in the image's passwd")
    dead = place.detail(starts(cmd=("exit", "3", "why")), replace(soon, deadline_s=30.0))
    assert dead == "expected a process 'tool', got exit code 3: why"


def test_text_on_the_other_stream_is_said(place: Place) -> None:
    wrong = Check("log", stream="stderr", contains="serving 80", deadline_s=0.4)
    assert place.detail(PAGE, wrong) == "expected 'serving 80' on stderr, got 'start 1'"
    missing = place.detail(PAGE, replace(wrong, stream="", contains="ready"))
    assert missing.startswith("expected 'ready' on stdout or stderr, got '")


def test_a_log_of_bytes_that_are_no_text_is_looked_into(place: Place) -> None:
    loud = StartFile("/srv/loud", ("\x01" * 390 + "\n") * 60)
    never = Check("log", contains="never", deadline_s=0.4)
    detail = place.detail(starts(cmd=("cat", "/srv/loud"), files=(loud,)), never)
    assert detail.startswith("expected 'never' on stdout or stderr, got '\\x01\\x01")


@pytest.mark.parametrize("place", ["docker"], indirect=True)
def test_a_container_of_the_engine_has_the_bounds_of_the_sandbox(place: Place) -> None:
    assert isinstance(place.runner, DockerRunner)
    with place.runner.open(place.image, None) as subject:
        subject.start()
        own = docker("ps", "--quiet", "--filter", f"ancestor={place.runner.load(place.image)}")
        bounds = docker(
            "inspect", "--format", "{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}}", own
        )
    assert bounds == f"{LIMITS['RLIMIT_NPROC']} {MEMORY_BYTES}"


def nothing_left() -> bool:
    if not docker_engine.engine_answers():
        return True
    return not check_containers()
