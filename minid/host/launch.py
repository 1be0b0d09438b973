"""The little program between minid and bwrap: it gives up what bwrap must not have.

Run as `python -I -S -B launch.py FD`: FD gives one JSON object (see `namespace.py`). It imports
the standard library only and nothing of minid. bwrap that is started by root stays host root, so
root is dropped here; and what only root can mend for it (a plain chroot, a read-only /proc/sys, a
folder the build user cannot reach) is mended first, in a mount namespace of its own. A trusted
program (mmdebstrap) keeps its rights, and gets the namespace so that its mounts end with it.
"""

# pathlib would double the start time of a program that runs before every build.
# ruff: noqa: PTH102, PTH110, PTH112, PTH116

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import struct
import sys
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 8, 4096, 16384, 1 << 19
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
SYS_OPEN_TREE, SYS_MOVE_MOUNT = 428, 429  # the same numbers on every architecture
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, MOVE_MOUNT_F_EMPTY_PATH = 1, os.O_CLOEXEC, 4
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522
PARKING_FD = 100
SHELVES = ("/mnt", "/srv", "/media", "/opt")
USERNS_COUNT = "/proc/sys/user/max_user_namespaces"

_libc = ctypes.CDLL(None, use_errno=True)


def main(job: dict[str, Any]) -> None:
    """Prepare this process as the job says and become `argv`; does not return."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    die_with_parent(job["parent"])
    error_fd = fcntl.fcntl(job["error_fd"], fcntl.F_DUPFD_CLOEXEC, PARKING_FD)
    try:
        for procs in job["cgroups"]:
            write_text(procs, str(os.getpid()))
        argv = list(job["argv"])
        if os.geteuid() == 0:
            argv = prepare_as_root(job, argv)
        if "--disable-userns" in argv and proc_sys_is_read_only():
            argv = replace_by_seccomp(argv, job)
        place_descriptors(job, error_fd)
        if job["trusted"]:
            stay_above(job["parent"])
        else:
            drop_privileges(job["uid"], job["gid"])
            die_with_parent(job["parent"])  # a change of uid clears it
        set_limits(job["limits"])
        os.umask(0o022)
        os.execve(argv[0], argv, job["environ"])  # noqa: S606
    except (OSError, ValueError) as error:
        os.write(error_fd, str(error).encode())
        os._exit(125)


def prepare_as_root(job: dict[str, Any], argv: list[str]) -> list[str]:
    """A private mount namespace in which bwrap can work as the build user; the fitting argv."""
    if job["uid"] is None and not job["trusted"]:
        raise ValueError("expected a build user to drop to, got root")
    check(_libc.unshare(CLONE_NEWNS), "unshare mounts")
    settle_root()
    if proc_sys_is_read_only() or not os.path.exists(USERNS_COUNT):
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if job["trusted"]:
        return argv
    return expose_sources(argv, set(job["sources"]), job["uid"], job["gid"])


def settle_root() -> None:
    """Make this process's root the mount namespace's real root.

    The kernel refuses user namespaces to a process whose root is elsewhere, that is after a plain
    chroot. So step out of it (root may), and put a copy of the tree on top of everything.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    step_out_of_chroot()
    mount("", ".", "", MS_REC | MS_SLAVE)
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE
    tree = check(syscall(SYS_OPEN_TREE, root, b"", flags), "open_tree")
    check(syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, b".", MOVE_MOUNT_F_EMPTY_PATH), "move_mount")
    os.fchdir(tree)
    os.chroot(".")
    os.chdir("/")
    os.close(root)
    os.close(tree)


def step_out_of_chroot() -> None:
    """Leave the working directory and the root at the top of the mount namespace."""
    os.chdir("/")
    inner = next(name for name in ("/usr", "/proc", "/etc") if os.path.isdir(name))
    os.chroot(inner)  # the working directory is now outside the root, and `..` has no stop
    here = os.stat(".")
    while True:
        os.chdir("..")
        above = os.stat(".")
        if (above.st_dev, above.st_ino) == (here.st_dev, here.st_ino):
            break
        here = above
    os.chroot(".")


def expose_sources(argv: list[str], sources: set[str], uid: int, gid: int) -> list[str]:
    """Give bind sources below folders that the build user cannot pass a second, reachable place."""
    hidden = [path for path in sorted(sources) if not reachable(path, uid, gid)]
    if not hidden:
        return argv
    shelf = next(path for path in SHELVES if reachable(path, uid, gid))
    mount("tmpfs", shelf, "tmpfs", MS_NOSUID | MS_NODEV, b"mode=0711")
    places = {}
    for number, source in enumerate(hidden):
        places[source] = f"{shelf}/{number}"
        if os.path.isdir(source):
            os.mkdir(places[source])
        else:
            os.close(os.open(places[source], os.O_CREAT | os.O_WRONLY))
        mount(source, places[source], "", MS_BIND | MS_REC)
    return [
        places.get(word, word) if before in ("--bind", "--ro-bind") else word
        for before, word in zip(["", *argv], argv, strict=False)
    ]


def reachable(path: str, uid: int, gid: int) -> bool:
    """Whether that user can look the path up. Asked as that user: modes alone do not tell."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        os.stat(path)
        return True
    except OSError:
        return False
    finally:
        os.seteuid(0)
        os.setegid(0)


def proc_sys_is_read_only() -> bool:
    """Whether bwrap cannot set the count of user namespaces, as in a hardened service."""
    try:
        return bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return False


def replace_by_seccomp(argv: list[str], job: dict[str, Any]) -> list[str]:
    """Refuse nested user namespaces by a system call filter, where the count cannot be set."""
    fd = os.memfd_create("filter")
    os.write(fd, userns_filter(os.uname().machine))
    os.lseek(fd, 0, os.SEEK_SET)
    job["fds"].append([fd, job["filter_fd"]])
    at = argv.index("--disable-userns")
    return [*argv[:at], "--seccomp", str(job["filter_fd"]), *argv[at + 1 :]]


def userns_filter(machine: str) -> bytes:
    """BPF: clone and unshare with CLONE_NEWUSER give EPERM, clone3 ENOSYS (libc then uses clone).

    Calls of a foreign ABI (i386, x32) kill the process: their numbers would slip past the rules.
    """
    tables = {"x86_64": (0xC000003E, 56, 272), "aarch64": (0xC00000B7, 220, 97)}
    if machine not in tables:
        raise ValueError(f"/proc/sys: expected to be writable on {machine}, got read-only")
    audit_arch, clone, unshare = tables[machine]
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow, refuse, missing = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
    program = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 0, 7, audit_arch),  # else → kill
        (load, 0, 0, 0),  # seccomp_data.nr
        (at_least, 5, 0, 0x40000000),  # x32 → kill
        (equal, 7, 0, 435),  # clone3 → missing
        (equal, 1, 0, clone),
        (equal, 0, 4, unshare),  # else → allow
        (load, 0, 0, 16),  # seccomp_data.args[0], low half: flags
        (any_bit, 1, 2, CLONE_NEWUSER),
        (give, 0, 0, kill),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
        (give, 0, 0, missing),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in program)


def place_descriptors(job: dict[str, Any], error_fd: int) -> None:
    """Put the job's descriptors at their numbers and close every other one."""
    for number, text in enumerate(job["data"]):
        fd = os.memfd_create("data")
        os.write(fd, text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
        job["fds"].append([fd, job["data_fd"] + number])
    parked = [
        (fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, error_fd + 1), target)
        for source, target in job["fds"]
    ]
    for source, target in parked:
        os.dup2(source, target, inheritable=True)
    kept = sorted({0, 1, 2, error_fd, *(target for _, target in parked)})
    for before, after in zip(kept, [*kept[1:], 1 << 20], strict=True):
        os.closerange(before + 1, after)


def drop_privileges(uid: int | None, gid: int | None) -> None:
    """Become the build user for good: no groups, no capabilities, no way to gain any."""
    if os.geteuid() == 0:
        assert uid and gid
        os.setgroups([])
        for capability in range(LAST_CAPABILITY + 1):
            _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    drop_capabilities()
    check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def drop_capabilities() -> None:
    """Give up those that a service gives its user (AmbientCapabilities=): bwrap refuses to start
    with any."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    check(_libc.capset(header, bytes(24)), "capset")


def stay_above(parent: int) -> None:
    """Go on in a child. The parent stays, gives its status, and ends the group if minid dies.

    The program's own children would not notice: the signal is for the first process only.
    """
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that is for the program, to clean up
    signal.signal(signal.SIGUSR1, lambda *_: os.killpg(0, signal.SIGKILL))
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0)
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)


def set_limits(limits: dict[str, int]) -> None:
    """Set soft and hard limits, by names of the resource module, never above what is allowed."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that started this process ends, also if it ended just now."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(125)


def mount(source: str, target: str, kind: str, flags: int, options: bytes = b"") -> None:
    """mount(2); OSError that names the target."""
    names = (os.fsencode(source), os.fsencode(target), kind.encode())
    done = _libc.mount(*names, ctypes.c_ulong(flags), options)
    check(done, f"mount on {target}")


def syscall(number: int, *arguments: int | bytes) -> int:
    """syscall(2) for calls that libc does not wrap."""
    typed = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *typed))


def check(result: int, what: str) -> int:
    """The result of a C call; OSError with errno and `what` when it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def write_text(path: str, text: str) -> None:
    """Write a control file."""
    with open(path, "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    with open(int(sys.argv[1]), "rb") as request:
        wanted = json.load(request)
    main(wanted)
