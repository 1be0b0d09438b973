"""Programs under a runtime: their output in bounds, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from minid.host.container_process import Process
from tests.support.line import wait_for


def test_program_is_over_before_its_runtime_is(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 0.2 & echo $! > {pid_file}; exec sleep 60"
    runtime = Process(["/bin/sh", "-c", script], str(pid_file), "c1")
    try:
        wait_for(lambda: runtime.started)
        assert not runtime.is_over
        wait_for(lambda: runtime.is_over)
        assert runtime.exit_code is None
    finally:
        os.kill(runtime.pid, signal.SIGKILL)
        runtime.settle(5)
        runtime.close()
    assert runtime.exit_code == 128 + signal.SIGKILL


def test_program_that_has_not_begun_is_not_over(tmp_path: Path) -> None:
    runtime = Process(["/bin/sleep", "60"], str(tmp_path / "none"), "c1")
    assert not (runtime.started or runtime.is_over)
    runtime.kill()
    runtime.settle(5)
    runtime.close()
    assert runtime.is_over


REAPER = """
import os, sys, time
from minid.host.container_process import Process, reap_orphans
own = Process(["/bin/sh", "-c", "exit 7"], sys.argv[1], "c1")
orphan = os.fork() or os._exit(0)
for pid in (own.pid, orphan):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
reap_orphans()
try:
    os.waitpid(orphan, os.WNOHANG)
except ChildProcessError:
    own.settle(5)
    print("reaped", own.exit_code)
"""


def test_orphans_are_reaped_and_programs_keep_their_end(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", REAPER, str(tmp_path / "pid")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.stdout == "reaped 7\n", done.stderr
