"""Starting programs: clean, bounded, and dead when they should be."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from minid.errors import HostError
from minid.host import process


def test_status_and_both_outputs_are_kept_apart():
    done = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=5)
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_a_signal_is_a_negative_status():
    assert process.run(["sh", "-c", "kill -TERM $$"], timeout_s=5).status == -15


def test_the_environment_is_clean(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    done = process.run(["env"], timeout_s=5)
    names = {line.split(b"=")[0] for line in done.stdout.splitlines()}
    assert names == {b"PATH", b"LC_ALL"}


def test_a_given_environment_replaces_the_clean_one():
    done = process.run(["/usr/bin/env"], timeout_s=5, environ={"A": "b"})
    assert done.stdout == b"A=b\n"


def test_standard_input_is_shut_and_a_session_is_its_own():
    script = "readlink /proc/self/fd/0; cut -d' ' -f6 /proc/$$/stat; echo $$"
    stdin, session, pid = process.run(["sh", "-c", script], timeout_s=5).stdout.split()
    assert stdin == b"/dev/null"
    assert session == pid


def test_no_descriptor_is_inherited(tmp_path: Path):
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        done = process.run(["sh", "-c", f"test -e /proc/self/fd/{secret}"], timeout_s=5)
    finally:
        os.close(secret)
    assert done.status == 1


def test_input_larger_than_a_pipe_goes_through():
    blob = os.urandom(1 << 20)
    assert process.run(["cat"], timeout_s=10, input_bytes=blob).stdout == blob


def test_input_that_nobody_reads_is_no_error():
    assert process.run(["true"], timeout_s=5, input_bytes=b"x" * (1 << 20)).status == 0


def test_the_whole_group_dies_at_the_timeout(tmp_path: Path):
    started = time.monotonic()
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(HostError, match=r"sh: expected to end within 0\.5 s"):
        process.run(["sh", "-c", script], timeout_s=0.5)
    assert time.monotonic() - started < 5
    grandchild = int((tmp_path / "pid").read_text())
    time.sleep(0.1)
    state = Path(f"/proc/{grandchild}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_closed_outputs_do_not_hide_a_timeout():
    with pytest.raises(HostError, match="expected to end"):
        process.run(["sh", "-c", "exec >&- 2>&-; exec sleep 60"], timeout_s=0.3)


def test_endless_output_is_stopped():
    with pytest.raises(HostError, match="expected at most 100000 bytes"):
        process.run(["cat", "/dev/zero"], timeout_s=10, max_output=100_000)


def test_a_missing_program_names_the_package(monkeypatch):
    monkeypatch.setattr(process, "SYSTEM_PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostError, match="bwrap: expected on PATH") as caught:
        process.run(["bwrap", "--version"], timeout_s=5)
    assert caught.value.hint == "apt-get install bubblewrap"


def test_a_file_that_is_no_program_is_a_host_error(tmp_path: Path):
    (tmp_path / "plain").write_text("text")
    with pytest.raises(HostError, match="Permission denied"):
        process.run([str(tmp_path / "plain")], timeout_s=5)


def test_relative_folders_of_path_are_not_searched(monkeypatch):
    monkeypatch.setenv("PATH", ".:bin:/usr/bin")
    assert process.search_path().split(":")[0] == "/usr/bin"


def test_start_streams_as_the_program_writes():
    child = process.start(["sh", "-c", "echo one; exec sleep 60"])
    assert child.stdout is not None
    assert child.stdout.readline() == b"one\n"
    process.kill_group(child)
    child.stdout.close()
    assert child.returncode == -9


def test_a_group_gets_its_grace(tmp_path: Path):
    script = f"trap 'echo bye > {tmp_path}/bye; exit 0' TERM; echo; while :; do sleep 0.05; done"
    child = process.start(["sh", "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    process.kill_group(child, grace_s=5)
    child.stdout.close()
    assert (tmp_path / "bye").read_text() == "bye\n"
