"""Ending a tree of processes, however its members behave."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from minid.host import process
from minid.host.process_table import descendants, kill_tree, process_table


def start_tree(script: str) -> subprocess.Popen[bytes]:
    """A shell that has written a line once its children run."""
    child = process.start(["bash", "-c", script])
    assert child.stdout is not None
    child.stdout.readline()
    return child


def below(child: subprocess.Popen[bytes]) -> list[int]:
    return [row.pid for row in descendants(process_table(), child.pid)]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_children_in_sessions_of_their_own_die_too():
    with start_tree(
        "setsid sleep 100 & setsid sh -c 'sleep 100; :' & sleep 0.05; echo; wait"
    ) as child:
        pids = below(child)
        assert len(pids) == 4
        kill_tree(child.pid)
        assert not [pid for pid in pids if lives(pid)]
        assert child.wait() == -9


def test_who_ignores_signals_dies():
    with start_tree("trap '' TERM HUP INT; (trap '' TERM; echo; sleep 100; :) & wait") as child:
        pids = below(child)
        kill_tree(child.pid)
        assert len(pids) >= 2
        assert not [pid for pid in pids if lives(pid)]
        child.wait()


def test_one_that_has_ended_is_no_error():
    with process.start(["true"]) as child:
        time.sleep(0.05)
        kill_tree(child.pid)
        assert child.wait() == 0
