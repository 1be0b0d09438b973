"""Programs under a runtime: their output in bounds, and their end."""

from __future__ import annotations

import os
import signal
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
