"""Builds side by side keep to one number of jobs, and one build alone reaches it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.host.jobserver import Jobserver
from minid.host.sandbox import SandboxSpec, build_identity, host_environment, run_sandbox
from minid.model import Limits
from tests.support.require import require

pytestmark = pytest.mark.integration

MAKEFILE = """\
all: 1 2 3 4 5 6 7 8 9 10
%:
\t@echo "$$(date +%s%N) 1" >> /build/out/times
\t@sleep 0.3
\t@echo "$$(date +%s%N) -1" >> /build/out/times
"""

NINJA = """\
rule nap
  command = echo "$$(date +%s%N) 1" >> /build/out/times; sleep 0.3; $
      echo "$$(date +%s%N) -1" >> /build/out/times; touch $out
""" + "".join(f"build /build/out/{n}: nap\n" for n in range(10))


class Builds:
    """Two builds' folders, and what their jobs recorded."""

    def __init__(self, folder: Path, jobserver: Jobserver) -> None:
        self.folder = folder
        self.jobserver = jobserver
        self.identity = build_identity("")

    def run(self, name: str, script: str) -> str:
        folder = self.folder / name
        for part in (folder / "src", folder / "out"):
            part.mkdir(parents=True)
            if self.identity.uid is not None:
                os.chown(part, self.identity.uid, self.identity.gid or 0)
        (folder / "src/Makefile").write_text(MAKEFILE)
        (folder / "src/build.ninja").write_text(NINJA)
        spec = SandboxSpec(
            environment=host_environment(Digest.of(b"")),
            argv=("sh", "-euc", script),
            binds=((folder / "src", "/build/src", True), (folder / "out", "/build/out", True)),
            environ=(("JOBS", str(self.jobserver.jobs)),),
            limits=Limits(wall_s=60),
            jobserver=self.jobserver.fds,
        )
        text = bytearray()
        with self.jobserver.slot():
            result = run_sandbox(spec, self.identity, output=text.extend)
        assert result.status == 0, text
        return text.decode()

    def most_at_once(self, *names: str) -> int:
        """The highest number of jobs that ran at the same time, over these builds."""
        lines = [
            line.split() for name in names for line in self._times(name).read_text().splitlines()
        ]
        running, most = 0, 0
        for _, step in sorted((int(time), int(step)) for time, step in lines):
            running += step
            most = max(most, running)
        return most

    def _times(self, name: str) -> Path:
        return self.folder / name / "out/times"


@pytest.fixture
def builds(tmp_path: Path):
    require("bwrap", "make")
    jobserver = Jobserver(3)
    yield Builds(tmp_path, jobserver)
    jobserver.close()


def tokens_left(jobserver: Jobserver) -> int:
    """How many tokens lie in the pipe (they are taken out)."""
    return len(os.read(jobserver._reader, 4096))


def test_one_build_reaches_the_number_without_a_warning(builds: Builds):
    text = builds.run("one", "make -j$JOBS")
    assert builds.most_at_once("one") == 3
    assert "warning" not in text
    assert tokens_left(builds.jobserver) == 3


@pytest.mark.parametrize("flags", ["", "-j8", "-j 8", "--jobs=8", "--jobs 8", "-j"])
def test_the_number_holds_whatever_the_recipe_says(builds: Builds, flags: str):
    builds.run("one", f"make {flags}")
    assert builds.most_at_once("one") == 3


def test_two_builds_keep_to_it_together(builds: Builds):
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(builds.run, name, "make -j$JOBS") for name in ("one", "two")]:
            done.result()
    assert builds.most_at_once("one", "two") == 3
    assert tokens_left(builds.jobserver) == 3


def test_a_make_below_make_takes_part(builds: Builds):
    (builds.folder / "sub").mkdir()
    text = builds.run(
        "one", "printf 'top:\\n\\t+$(MAKE) -f Makefile all\\n' > top.mk; make -j8 -f top.mk"
    )
    assert builds.most_at_once("one") == 3
    assert "warning" not in text


def test_a_folder_before_the_shims(builds: Builds):
    text = builds.run("one", "mkdir tools; PATH=$PWD/tools:$PATH make -j8 2>&1")
    assert builds.most_at_once("one") == 3
    assert "warning" not in text


def test_ninja_takes_what_is_free(builds: Builds):
    require("ninja")
    builds.run("one", "ninja")
    assert builds.most_at_once("one") == 3
    assert tokens_left(builds.jobserver) == 3


def test_tools_of_ninja_are_let_be(builds: Builds):
    require("ninja")
    builds.run("one", "ninja -C . -t restat build.ninja")


def test_tokens_of_a_killed_build_come_back(builds: Builds):
    cancel = threading.Event()
    threading.Timer(0.4, cancel.set).start()
    folder = builds.folder / "killed"
    for part in (folder / "src", folder / "out"):
        part.mkdir(parents=True)
    spec = SandboxSpec(
        environment=host_environment(Digest.of(b"")),
        argv=("sh", "-c", "head -c 2 <&8 >/dev/null; sleep 60"),
        binds=((folder / "src", "/build/src", True),),
        limits=Limits(wall_s=20),
        jobserver=builds.jobserver.fds,
    )
    with builds.jobserver.slot():
        result = run_sandbox(spec, builds.identity, output=lambda chunk: None, cancel=cancel)
    assert result.ended_by == "cancelled"
    assert tokens_left(builds.jobserver) == 3
