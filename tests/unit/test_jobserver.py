"""The token pipe, and the shims that keep make in it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from minid.errors import BuildError
from minid.host.jobserver import SHIMS, Jobserver, make_flags


@pytest.fixture
def jobserver():
    server = Jobserver(2)
    yield server
    server.close()


def take_all(server: Jobserver) -> bytes:
    return os.read(server._reader, 4096)


def test_a_slot_holds_one_token(jobserver: Jobserver):
    with jobserver.slot():
        assert take_all(jobserver) == b"+"


def test_lost_tokens_are_made_up_for_when_nobody_builds(jobserver: Jobserver):
    with jobserver.slot():
        take_all(jobserver)
    assert take_all(jobserver) == b"++"


def test_surplus_tokens_are_dropped_when_nobody_builds(jobserver: Jobserver):
    with jobserver.slot():
        os.write(jobserver.fds[1], b"+" * 100)
    assert take_all(jobserver) == b"++"


def test_a_build_that_fails_gives_its_token_back(jobserver: Jobserver):
    with pytest.raises(ValueError, match="broken"), jobserver.slot(), jobserver.slot():
        raise ValueError("broken")
    assert take_all(jobserver) == b"++"


def test_the_third_build_waits_for_a_slot(jobserver: Jobserver):
    entered = threading.Event()

    def build() -> None:
        with jobserver.slot():
            entered.set()

    with jobserver.slot():
        with jobserver.slot():
            thread = threading.Thread(target=build)
            thread.start()
            assert not entered.wait(0.3)
        assert entered.wait(5)
    thread.join()


def test_waiting_can_be_cancelled(jobserver: Jobserver):
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    started = time.monotonic()
    refused = pytest.raises(BuildError, match="got cancelled")
    with jobserver.slot(), jobserver.slot(), refused, jobserver.slot(cancel):
        pass
    assert time.monotonic() - started < 3
    assert take_all(jobserver) == b"++"


def test_the_pipe_given_to_make_blocks(jobserver: Jobserver):
    assert os.get_blocking(jobserver.fds[0])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["-j4", "all"], ["all"]),
        (["-j", "4", "all"], ["all"]),
        (["-j", "all"], ["all"]),
        (["all", "-j"], ["all"]),
        (["--jobs=4", "-k"], ["-k"]),
        (["--jobs", "4", "-k"], ["-k"]),
        (["-j", "CC=a b", "x y"], ["CC=a b", "x y"]),
        (["-C", "jobs", "-fj4"], ["-C", "jobs", "-fj4"]),
        (["-junk", "*", ""], ["-junk", "*", ""]),
    ],
)
def test_the_make_shim_drops_the_number_of_jobs_only(tmp_path: Path, given, kept):
    assert run_shim(tmp_path, given, make_flags((8, 9))) == kept


def test_the_make_shim_drops_nothing_without_a_jobserver(tmp_path: Path):
    assert run_shim(tmp_path, ["-j4"], "") == ["-j4"]


def run_shim(folder: Path, argv: list[str], flags: str) -> list[str]:
    """What a make behind the shim is given."""
    (folder / "bin").mkdir()
    make = folder / "bin/make"
    make.write_text("#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done\n")
    make.chmod(0o755)
    (folder / "shim").write_text(SHIMS["make"])
    done = subprocess.run(
        ["sh", folder / "shim", *argv],
        env={"PATH": f"/minid/bin:{folder}/bin:/usr/bin:/bin", "MAKEFLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_pipe_that_a_build_filled_holds_up_nobody(jobserver: Jobserver):
    """The descriptors are in the sandbox, whose programs may write there what they like."""
    os.set_blocking(jobserver.fds[1], False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(jobserver.fds[1], b"+")
    os.set_blocking(jobserver.fds[1], True)
    worker = Jobserver(2, (os.dup(jobserver.fds[0]), os.dup(jobserver.fds[1])))

    def play() -> None:
        with worker.slot():
            pass
        jobserver.give_back()

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    worker.close()
