"""What a sandboxed command sees: a value, and bwrap's command line. Nothing is started here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minid.errors import HostError
from minid.host import jobserver, process
from minid.host.namespace import DATA_FD, JOBSERVER_FDS, STATUS_FD
from minid.model import Environment, Limits

HOSTNAME = "minid"
SHIM_FOLDER = "/minid/bin"
_ETC_FILES = {
    "passwd": "root:x:0:0:root:/nonexistent:/bin/sh\nminid:x:1000:1000::/nonexistent:/bin/sh\n",
    "group": "root:x:0:\nminid:x:1000:\n",
    "hosts": "127.0.0.1 localhost minid\n::1 localhost minid\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_HOST_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives")
_NOT_TOP = {"build", "boot", "dev", "etc", "home", "lost+found", "media", "minid", "mnt", "proc"}
_NOT_TOP |= {"root", "run", "srv", "sys", "tmp", "var"}
_HOST_TOP = {"bin", "sbin", "usr"}


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One command in a sandbox.

    `binds` are (host path, target, writable). `environ` comes on top of the fixed environment.
    `jobserver` is the descriptor pair of `jobserver.Jobserver.fds`; with it the sandbox has a
    `make` that shares tokens with other builds.
    """

    environment: Environment
    argv: tuple[str, ...]
    binds: tuple[tuple[Path, str, bool], ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    limits: Limits = Limits()
    workdir: str = "/build/src"
    jobserver: tuple[int, int] | None = None


def sandbox_argv(spec: SandboxSpec) -> list[str]:
    """bwrap's command line for `spec`. It starts nothing and only looks at the environment's top.

    Descriptor numbers in it are those of `minid.host.namespace`.
    """
    limits = spec.limits
    argv = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns"]
    argv += ["--uid", "1000", "--gid", "1000", "--hostname", HOSTNAME, "--cap-drop", "ALL"]
    argv += ["--new-session", "--die-with-parent", "--json-status-fd", str(STATUS_FD), "--clearenv"]
    for name, value in sandbox_environ(spec).items():
        argv += ["--setenv", name, value]
    argv += _root_argv(spec.environment)
    argv += ["--perms", "0755", "--dir", "/build", "--proc", "/proc", "--dev", "/dev"]
    argv += ["--size", str(limits.tmp_bytes), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    argv += ["--perms", "1777", "--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108
    for number, (target, mode, _) in enumerate(sandbox_data(spec)):
        argv += ["--perms", mode, "--ro-bind-data", str(DATA_FD + number), target]
    for source, target, writable in spec.binds:
        argv += ["--bind" if writable else "--ro-bind", str(source.absolute()), target]
    # The root is a tmpfs without a size: nobody may write to it.
    argv += ["--remount-ro", "/", "--chdir", spec.workdir, "--"]
    return argv + list(spec.argv)


def sandbox_environ(spec: SandboxSpec) -> dict[str, str]:
    """The environment variables of the command: fixed ones, then the specification's own."""
    path = process.SYSTEM_PATH
    environ = {"HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if spec.jobserver is not None:
        path = f"{SHIM_FOLDER}:{path}"
        environ["MAKEFLAGS"] = jobserver.make_flags(JOBSERVER_FDS)
    return {"PATH": path} | environ | dict(spec.environ)


def sandbox_data(spec: SandboxSpec) -> list[tuple[str, str, str]]:
    """Small files that minid writes into the sandbox: (target, octal mode, text)."""
    root = Path(spec.environment.root)
    host = spec.environment.kind == "host"
    # Below a read-only /etc bwrap can cover files, and cannot make new ones.
    files = [
        (f"/etc/{name}", "0644", text)
        for name, text in _ETC_FILES.items()
        if host or _is_plain_file(root / "etc" / name)
    ]
    if spec.jobserver is not None:
        files += [(f"{SHIM_FOLDER}/{name}", "0755", text) for name, text in jobserver.SHIMS.items()]
    return files


def _root_argv(environment: Environment) -> list[str]:
    """Binds and links that make the environment the root: all of it read-only."""
    root = Path(environment.root)
    argv: list[str] = []
    for top in sorted(root.iterdir()):
        wanted = top.name in _HOST_TOP or top.name.startswith("lib")
        if top.name in _NOT_TOP or (environment.kind == "host" and not wanted):
            continue
        if top.is_symlink():
            argv += ["--symlink", str(top.readlink()), f"/{top.name}"]
        elif top.is_dir():
            argv += ["--ro-bind", str(top), f"/{top.name}"]
    if environment.kind != "host":
        if (root / "etc").is_symlink():  # bwrap would follow it on this machine
            raise HostError(f"{root}/etc: expected a folder, got a symlink")
        return [*argv, "--ro-bind", str(root / "etc"), "/etc"]
    argv += ["--perms", "0755", "--dir", "/etc"]
    for name in _HOST_ETC:
        argv += ["--ro-bind-try", str(root / "etc" / name), f"/etc/{name}"]
    return argv


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def bind_sources(spec: SandboxSpec) -> list[Path]:
    """Host paths that bwrap binds and that the build user may be unable to reach."""
    root = Path(spec.environment.root)
    tops = []
    if spec.environment.kind != "host":
        tops = [top for top in root.iterdir() if not top.is_symlink()]
    return tops + [source.absolute() for source, _, _ in spec.binds]
