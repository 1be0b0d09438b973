"""Entering the namespaces of a workbench that is open, for one more process that serves it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from minid.errors import HostError
from minid.host import container_init, launch
from minid.host.bench_server import BenchServer

if TYPE_CHECKING:
    import socket

# The user namespace first: it gives the right to enter the others. The one of processes is that of
# the keeper's child, and holds for our children too.
_SPACES = ("user", "mnt", "ipc", "net", "cgroup", "pid_for_children")


def join(control: socket.socket, job: dict[str, Any]) -> None:
    """Become a second server in the namespaces of the keeper with pid `job["bench"]["join"]`."""
    keeper = job["bench"]["join"]
    try:
        spaces = [os.open(f"/proc/{keeper}/ns/{name}", os.O_RDONLY) for name in _SPACES]
        for space in spaces:
            launch.check(launch._libc.setns(space, 0), "setns")
            os.close(space)
    except OSError as error:
        raise HostError(
            f"workbench: expected to enter the shell of process {keeper}, got {error.strerror}",
            hint="it may have ended just now: again",
        ) from error
    container_init.become_root()
    if os.fork():
        control.close()
        os.wait()
        os._exit(0)
    launch._libc.prctl(launch.PR_SET_PDEATHSIG, 9, 0, 0, 0)
    launch.set_limits(job["limits"])
    job["shelf"] = container_init.find_shelf()
    control.send(b'{"event": "ready"}')
    BenchServer(control, job).run()
