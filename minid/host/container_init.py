"""The child program of one check: it makes the namespaces and serves the container in them.

Started by `minid.host.container`, with one end of a socket as its only tie: when the other end is
gone, it ends, and its process namespace and all mounts with it. Standard library only, little of
it, and all of it imported before the user changes: the new one may not be able to read its files.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH102, PTH112

from __future__ import annotations

import array  # noqa: F401 (socket.send_fds wants it, and by then it may be out of reach)
import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
from typing import Any

from minid.errors import HostError, ImageError, MinidError, UnpackError
from minid.host import container_fs, launch, layer_folder
from minid.host.container_server import Server
from minid.host.control_message import MAX_MESSAGE, receive_message

CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
CLONE_NEWCGROUP = 0x02000000
_NEW = launch.CLONE_NEWUSER | launch.CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_JOIN_SESSION_KEYRING = 1
_QUIET = launch.MS_NOSUID | launch.MS_NODEV | launch.MS_NOEXEC
_SHELVES = ("/mnt", "/srv", "/media", "/tmp")  # noqa: S108 (covered by a mount of our own)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_IFF_UP = 1


def main(control_fd: int) -> None:
    """Serve one container over the socket `control_fd`; does not return."""
    control = socket.socket(fileno=control_fd)
    try:
        job = receive_message(control)
        if job is not None:
            serve(control, job)
    except MinidError as error:
        _report(control, type(error).__name__, error.message, error.hint)
    except OSError as error:
        _report(control, "HostError", f"container: {error.strerror}: {error.filename or ''}", "")
    except BaseException as error:
        _report(control, "HostError", f"container: {error!r}", "")
    os._exit(1)


def serve(control: socket.socket, job: dict[str, Any]) -> None:
    """From a plain process to pid 1 of a namespace that answers requests."""
    server = Server
    if "bench" in job:
        from minid.host.bench_init import join
        from minid.host.bench_server import BenchServer

        server = BenchServer
        if job["bench"]["join"]:
            join(control, job)
            return
    elif "probe" in job:
        from minid.host.probe_server import ProbeServer

        server = ProbeServer
    present = layer_folder.hold_layers([layer["id"] for layer in job["layers"]], job["cache"])
    missing = open_missing(job["layers"], job["cache"])
    shelf = find_shelf()
    if os.geteuid() == 0:
        enter_private_mounts()
        stock_shelf(shelf, job)
    unshare_all()
    get_mapped(control)
    if not job["root"]:
        launch.mount("", "/", "", launch.MS_REC | launch.MS_SLAVE)
        stock_shelf(shelf, job)
    if os.fork():
        # The outer half only keeps the namespace's parent alive; the control socket says the rest.
        control.close()
        os.wait()
        os._exit(0)
    launch._libc.prctl(launch.PR_SET_PDEATHSIG, 9, 0, 0, 0)
    launch.set_limits(job["limits"])
    job["shelf"] = shelf
    settle_namespace(job)
    layers = [layer["id"] for layer in job["layers"]]
    layer_folder.unpack_layers(layers, missing, f"{shelf}/layers")
    for descriptor in present:
        os.close(descriptor)
    control.send(b'{"event": "ready"}')
    server(control, job).run()


def find_shelf() -> str:
    """The folder that gets covered; the same for all who ask on this machine."""
    return next(path for path in _SHELVES if os.path.isdir(path))


def open_missing(layers: list[dict[str, str]], cache: str) -> dict[str, int]:
    """Descriptors of the tar files whose layers are not unpacked yet, by diff ID."""
    missing = {}
    for layer in layers:
        if not os.path.isdir(f"{cache}/{layer['id']}"):
            missing[layer["id"]] = os.open(layer["tar"], os.O_RDONLY | os.O_NOFOLLOW)
    if missing:
        import hashlib  # now, while Python's own files can still be read
        import tarfile  # noqa: F401

        hashlib.sha256()
    return missing


def enter_private_mounts() -> None:
    """A mount namespace in which later steps are allowed, also from a chroot or systemd-nspawn.

    The kernel lets a user namespace mount /proc and /sys only where it sees whole ones already.
    """
    launch.check(launch._libc.unshare(launch.CLONE_NEWNS), "unshare mounts")
    launch.settle_root()
    launch.mount("proc", "/proc", "proc", _QUIET)
    if not os.path.isdir("/sys/kernel"):
        with contextlib.suppress(OSError):
            launch.mount("sysfs", "/sys", "sysfs", _QUIET)


def stock_shelf(shelf: str, job: dict[str, Any]) -> None:
    """Cover `shelf` with a file system of our own that shows the layer cache and has room to work.
    A workbench's tools are shown there too.

    Paths below it can be walked by the namespace's root, whatever lies above the real cache.
    """
    folder = os.open(job["cache"], os.O_PATH | os.O_DIRECTORY)
    shown = [os.open(s, os.O_PATH | os.O_DIRECTORY) for s in job.get("bench", {}).get("shown", ())]
    container_fs.mount("tmpfs", shelf, "tmpfs", launch.MS_NOSUID | launch.MS_NODEV, "mode=755")
    for name in ("layers", "work"):
        os.mkdir(f"{shelf}/{name}", 0o755)
    launch.mount(f"/proc/self/fd/{folder}", f"{shelf}/layers", "", launch.MS_BIND)
    os.close(folder)
    for number, source in enumerate(shown):
        os.mkdir(f"{shelf}/shown{number}", 0o755)
        flags = launch.MS_BIND | launch.MS_REC
        launch.mount(f"/proc/self/fd/{source}", f"{shelf}/shown{number}", "", flags)
        os.close(source)


def unshare_all() -> None:
    """New user, mount, ipc, network and process namespaces; HostError says what forbids them."""
    try:
        launch.check(launch._libc.unshare(_NEW | CLONE_NEWCGROUP), "unshare")
    except OSError as error:
        raise HostError(
            f"user namespaces: expected to be allowed, got {error.strerror}",
            hint="sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone must allow "
            "them, and an ordinary user cannot make one inside a chroot",
        ) from error


def get_mapped(control: socket.socket) -> None:
    """Have the parent write the id map and become root by it."""
    control.send(b'{"event": "map"}')
    if not control.recv(MAX_MESSAGE):
        os._exit(1)
    become_root()


def become_root() -> None:
    """Root of the user namespace that this process is in."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.setgroups([])
    # Changing the user made this process undumpable, and its /proc files somebody else's.
    launch._libc.prctl(4, 1, 0, 0, 0)


def settle_namespace(job: dict[str, Any]) -> None:
    """As pid 1: /proc of this namespace, a scratch file system, the network."""
    try:
        launch.mount("proc", "/proc", "proc", _QUIET)
    except OSError as error:
        raise HostError(f"/proc: expected to be mountable, got {error.strerror}") from error
    show_cgroups()
    leave_keyring()
    options = f"mode=755,size={job['scratch_bytes']}"
    container_fs.mount("tmpfs", f"{job['shelf']}/work", "tmpfs", 0, options)
    bring_up_network(job["address"])


def show_cgroups() -> None:
    """Show the one plain hierarchy, whatever the machine has.

    The runtime needs none, yet runc refuses to work in a bare chroot without one and crun where it
    finds the hybrid of two.
    """
    with contextlib.suppress(OSError):
        launch.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", _QUIET)


def leave_keyring() -> None:
    """Give up the session's keys here: runc would fail where it may not do so (systemd-nspawn)."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        with contextlib.suppress(OSError):
            launch.check(launch.syscall(number, _JOIN_SESSION_KEYRING, 0), "keyctl")


def bring_up_network(address: str) -> None:
    """Loopback up, with the container's own address beside 127.0.0.1 as Docker gives it one.

    A service that listens on 127.0.0.1 only must fail its check: from outside it is not reached.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name = b"lo".ljust(16, b"\0")
        fcntl.ioctl(sock, _SIOCSIFFLAGS, name + struct.pack("h22x", _IFF_UP))
        alias = b"lo:1".ljust(16, b"\0")
        for call, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.255")):
            where = struct.pack("HH4s16x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(sock, call, alias + where)
    with contextlib.suppress(OSError):  # a restarted service finds its ports free, as in Docker
        launch.write_text("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0")
    with contextlib.suppress(OSError):  # as Docker does: port 80 needs no capability
        launch.write_text("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")


def _report(control: socket.socket, kind: str, message: str, hint: str) -> None:
    known = {cls.__name__ for cls in (HostError, ImageError, UnpackError)}
    reply = {"error": message, "kind": kind if kind in known else "HostError", "hint": hint}
    with contextlib.suppress(OSError):
        control.send(json.dumps(reply).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
