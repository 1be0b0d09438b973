"""Making real environments, and building in them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minid.config import EnvironmentSpec
from minid.errors import HostError
from minid.host.environment import find_environment, make_environment, request_key
from minid.host.sandbox import SandboxSpec, build_identity, run_sandbox
from minid.model import Environment, Limits
from tests.support.line import wait_for
from tests.support.require import require

pytestmark = pytest.mark.integration

SMALL = EnvironmentSpec("small", "debian", packages=())
DEBIAN = EnvironmentSpec("debian", "debian")
PROGRAM = "#include <stdio.h>\n#include <zlib.h>\nint main(void) { puts(zlibVersion()); }\n"


def make(spec: EnvironmentSpec, packages: tuple[str, ...], folder: Path, lines: bytearray, **more):
    return make_environment(
        spec, packages, folder, identity=build_identity(""), output=lines.extend, **more
    )


def run_in(environment: Environment, job: Path, script: str) -> str:
    """What the script writes, run as a build."""
    identity, text = build_identity(""), bytearray()
    job.mkdir()
    if identity.uid is not None:
        os.chown(job, identity.uid, identity.gid or 0)
    spec = SandboxSpec(
        environment, ("sh", "-euc", script), ((job, "/build/src", True),), limits=Limits(wall_s=60)
    )
    result = run_sandbox(spec, identity, output=text.extend)
    assert result.status == 0, text
    return text.decode()


def command_lines() -> list[str]:
    """The command lines of all processes."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines.append((process / "cmdline").read_bytes().decode(errors="replace"))
    return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    require("mmdebstrap", "bwrap")
    if os.geteuid() != 0:
        require("newuidmap")
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="module")
def debian(folder: Path) -> Environment:
    """The default environment with a library, made by two threads that ask for it at once."""
    lines, made = [bytearray(), bytearray()], []
    threads = [
        threading.Thread(
            target=lambda own=own: made.append(make(DEBIAN, ("zlib1g-dev",), folder, own))
        )
        for own in lines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert sorted(bool(own) for own in lines) == [False, True]  # one made it, one waited
    return made[0]


def test_a_program_is_compiled_against_the_library(debian: Environment, tmp_path: Path):
    (tmp_path / "main.c").write_text(PROGRAM)
    script = f"cat > main.c <<'END'\n{PROGRAM}END\ncc main.c -lz -o main && ./main"
    version = run_in(debian, tmp_path / "job", script).strip()
    assert any(line.startswith(f"zlib1g-dev=1:{version}") for line in debian.packages)


def test_the_tools_of_build_scripts_are_there(debian: Environment, tmp_path: Path):
    tools = (
        "sh bash make patch perl awk sed grep find xargs tar gzip bzip2 xz diff install ld strip"
    )
    assert (
        run_in(debian, tmp_path / "job", f"for t in {tools}; do command -v $t >/dev/null; done")
        == ""
    )
    assert run_in(debian, tmp_path / "job2", "id -un; getent hosts localhost || true").startswith(
        "minid"
    )


def test_the_tree_is_plain_files_of_the_builder(debian: Environment):
    owner = build_identity("").uid or os.getuid()
    for folder, names, files in os.walk(debian.root):
        for name in (*names, *files):
            status = (Path(folder) / name).lstat()
            assert status.st_uid == owner
            assert not status.st_mode & 0o6000
    kept = [path for path in (Path(debian.root) / "usr/share/doc").rglob("*") if path.is_file()]
    assert kept
    assert {path.name for path in kept} == {"copyright"}


def test_the_environment_cannot_be_changed_by_a_build(debian: Environment, tmp_path: Path):
    script = (
        "for f in /usr/x /etc/x /etc/passwd /bin/x /opt/x; do ! (echo x >> $f) 2>/dev/null; done"
    )
    run_in(debian, tmp_path / "job", script)


def test_it_is_found_again(debian: Environment, folder: Path):
    assert find_environment(DEBIAN, ("zlib1g-dev",), folder) == debian
    assert find_environment(DEBIAN, (), folder) is None
    assert not [path for path in folder.iterdir() if path.name.startswith(".new-")]


def test_a_package_that_does_not_exist_is_told(folder: Path):
    with pytest.raises(HostError, match="Unable to locate package") as caught:
        make(SMALL, ("no-such-package-anywhere",), folder, bytearray())
    assert "build.packages" in caught.value.hint
    assert find_environment(SMALL, ("no-such-package-anywhere",), folder) is None


def test_making_can_be_cancelled(folder: Path):
    cancel = threading.Event()
    threading.Timer(3, cancel.set).start()
    started = time.monotonic()
    with pytest.raises(HostError, match="cancelled"):
        make(SMALL, (), folder, bytearray(), cancel=cancel)
    assert time.monotonic() - started < 15
    assert not [path for path in folder.iterdir() if path.name.startswith(".new-")]


def test_a_killed_maker_leaves_no_half_environment(folder: Path):
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.integration.test_environment import *\n"
        f"make(SMALL, ('libzstd1',), Path({str(folder)!r}), bytearray())\n"
    )
    repository = Path(__file__).parents[2]

    def at_work() -> list[str]:
        lines = command_lines()
        return [line for line in lines if "mmdebstrap" in line and str(folder) in line]

    child = subprocess.Popen([sys.executable, "-c", script], cwd=repository)
    try:
        wait_for(lambda: list(folder.glob(".new-*")) and at_work(), 60)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert find_environment(SMALL, ("libzstd1",), folder) is None
    assert not (folder / request_key(SMALL, ("libzstd1",))).exists()
    left_over = list(folder.glob(".new-*"))
    assert left_over
    wait_for(lambda: not at_work(), 10)
    make(SMALL, ("libzstd1",), folder, bytearray())
    assert not any(path.exists() for path in left_over)


def test_an_image_is_an_environment(folder: Path, tmp_path: Path):
    docker = pytest.importorskip("docker")
    try:
        client = docker.from_env(timeout=20)
    except docker.errors.DockerException as error:
        pytest.skip(f"no engine: {error}")
    require("mmdebstrap")
    small = make(SMALL, (), folder, bytearray())
    archive = subprocess.Popen(["tar", "-C", small.root, "-c", "."], stdout=subprocess.PIPE)
    name = f"minid-test-environment:{os.getpid()}"
    subprocess.run(["docker", "import", "-", name], stdin=archive.stdout, check=True)
    try:
        spec = EnvironmentSpec("imported", "image", image=name)
        made = make(spec, (), folder, bytearray())
        assert str(made.digest) == client.images.get(name).id
        assert find_environment(spec, (), folder) == made
        assert run_in(made, tmp_path / "job", "echo in $(id -u)").strip() == "in 1000"
    finally:
        client.images.remove(name, force=True)
        client.close()


def test_no_engine_is_told(folder: Path, monkeypatch):
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    spec = EnvironmentSpec("centos", "image", image="centos:7")
    with pytest.raises(HostError, match="expected an engine for environment image 'centos:7'"):
        make(spec, (), folder, bytearray())
