"""Which writes wait for others, and what is lost with them when minid is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minid.errors import StoreError
from minid.store.records import Records, StageRow

STAGE = StageRow("pack", "b" * 64, False, 0.1, {})


def open_pair(path: Path) -> tuple[Records, Records]:
    writer = Records(path, writable=True)
    return writer, Records(path, writable=False)


def test_a_result_waits_and_comes_with_the_next_write(tmp_path: Path) -> None:
    writer, reader = open_pair(tmp_path / "records.sqlite")
    run = writer.start_run("nginx", "1", "asked", (), 1.0)
    writer.set_log(run, "log")
    writer.add_result("a" * 64, "compose", "nginx", {"blobs": []}, 1.0)
    writer.add_stage(run, STAGE)
    assert writer.result("a" * 64) == {"blobs": []}
    assert writer.stages(run) == [STAGE]
    assert reader.result("a" * 64) is None
    assert reader.stages(run) == []
    writer.finish_run(run, "nginx", "", {}, 2.0)
    assert reader.result("a" * 64) == {"blobs": []}
    assert reader.stages(run) == [STAGE]


@pytest.mark.parametrize("how", ["settle", "close"])
def test_settle_and_close_write_what_waits(tmp_path: Path, how: str) -> None:
    writer, reader = open_pair(tmp_path / "records.sqlite")
    writer.add_result("a" * 64, "compose", "nginx", {}, 1.0)
    assert reader.result("a" * 64) is None
    getattr(writer, how)()
    assert reader.result("a" * 64) == {}


def test_a_write_that_fails_takes_nothing_along(tmp_path: Path) -> None:
    writer, reader = open_pair(tmp_path / "records.sqlite")
    writer.add_result("a" * 64, "compose", "nginx", {}, 1.0)
    with pytest.raises(KeyError):
        writer.publish(1, {"manifest": "sha256:" + "c" * 64}, ["nginx:1"], 1.0)
    writer.settle()
    assert reader.result("a" * 64) == {}
    assert reader.tags() == []


def test_a_killed_writer_loses_what_waited_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from minid.store.records import Records\n"
        "records = Records(Path(sys.argv[1]), writable=True)\n"
        "run = records.start_run('nginx', '1', 'asked', (), 1.0)\n"
        "records.set_log(run, 'log')\n"
        "records.add_result('a' * 64, 'compose', 'nginx', {}, 1.0)\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, path], check=False, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    records = Records(path, writable=True)
    assert [row.status for row in records.runs()] == ["running"]
    assert records.result("a" * 64) is None
    assert records.interrupt_running(2.0) == 1
    records.close()
    with pytest.raises(StoreError):
        Records(tmp_path / "nothing.sqlite", writable=False)
