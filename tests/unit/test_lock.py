"""The writer's lock: one holder, who is named, and who cannot keep it by dying."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minid.store import lock
from minid.store.lock import free_lock, lock_holder, writer_lock

HOLD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from minid.store.lock import writer_lock\n"
    "with writer_lock(Path(sys.argv[1]), print):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_nobody_waits_for_a_free_lock(tmp_path: Path) -> None:
    waited: list[str] = []
    for _ in range(2):
        with writer_lock(tmp_path / "state" / "lock", waited.append):
            assert (tmp_path / "state" / "lock").read_text() == f"{os.getpid()}\n"
    assert waited == []


def test_the_holder_is_named_and_waited_for(tmp_path: Path) -> None:
    waited: list[str] = []
    entered = threading.Event()
    asked = threading.Event()

    def on_wait(pid: str) -> None:
        waited.append(pid)
        asked.set()

    def enter() -> None:
        with writer_lock(tmp_path / "lock", on_wait):
            entered.set()

    with holder(tmp_path / "lock") as process:
        thread = threading.Thread(target=enter)
        thread.start()
        assert asked.wait(30)
        assert not entered.is_set()
        assert process.stdin is not None
        process.stdin.close()
        thread.join(30)
    assert entered.is_set()
    assert waited == [str(process.pid)]


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        waited: list[str] = []
        with writer_lock(tmp_path / "lock", waited.append):
            assert waited == []
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_holder_is_told_with_its_role(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock_holder(path) == ""
    with writer_lock(path, print, "daemon"):
        assert lock_holder(path) == f"{os.getpid()} daemon"
    assert lock_holder(path) == ""
    with writer_lock(path, print):
        assert lock_holder(path) == str(os.getpid())


# A killed parent, and a child that has not become its program yet: it has all of its descriptors.
HEIR = (
    "import os, sys\n"
    "from pathlib import Path\n"
    "from minid.store.lock import writer_lock\n"
    "with writer_lock(Path(sys.argv[1]), print):\n"
    "    if not os.fork():\n"
    "        print('held', flush=True)\n"
    "        sys.stdin.read()\n"
    "        os._exit(0)\n"
    "    os.kill(os.getpid(), 9)\n"
)


@contextmanager
def heir(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A holder that was killed; its child has the lock until the input ends."""
    argv = [sys.executable, "-c", HEIR, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.wait()
        assert lock_holder(path) == str(process.pid)
        yield process


def test_a_child_of_a_killed_holder_is_waited_for(tmp_path: Path) -> None:
    found: list[bool] = []

    def enter() -> None:
        with free_lock(tmp_path / "lock") as free:
            found.append(free)

    with heir(tmp_path / "lock") as process:
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(0.2)
        assert found == []
        assert process.stdin is not None
        process.stdin.close()
        thread.join(30)
    assert found == [True]


def test_a_child_that_stays_is_not_waited_for_any_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEIR_S", 0.05)
    with heir(tmp_path / "lock"), free_lock(tmp_path / "lock") as free:
        assert not free


def test_who_lives_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEIR_S", float("inf"))
    with holder(tmp_path / "lock"), free_lock(tmp_path / "lock") as free:
        assert not free
    with free_lock(tmp_path / "lock") as free:
        assert free
