"""The OCI runtime's config.json for running an image the way Docker runs it (runtime-spec 1.0.2).

Pure: image configuration in, JSON value out. Who is root outside, and where the root file system
comes from, is `minid.host.container`'s work.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from minid.errors import ImageError

Json = dict[str, Any]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What Docker grants without --privileged or --cap-add (moby, oci/caps/defaults.go).
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

# moby, oci/defaults.go; paths that do not exist are skipped by the runtime.
_MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# System calls that name a file a program may look for in vain: the audit listens to these.
WATCHED_CALLS = (
    "open",
    "openat",
    "openat2",
    "execve",
    "stat",
    "lstat",
    "newfstatat",
    "access",
    "faccessat",
    "faccessat2",
    "statx",
)
_MAX_ID = 2**31 - 1
_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def process_argv(config: Mapping[str, object]) -> tuple[str, ...]:
    """What an image runs: Entrypoint, then Cmd; empty when it has neither."""
    return _strings(config, "Entrypoint") + _strings(config, "Cmd")


def stop_signal(config: Mapping[str, object]) -> int:
    """The number of the signal that ends an image's program: its StopSignal, or SIGTERM.

    As in Docker a name (`SIGQUIT`, `QUIT`, `SIGRTMIN+3`) or a number; ImageError for anything else.
    """
    text = str(config.get("StopSignal") or "SIGTERM").upper()
    name, sign, offset = text.partition("+" if "+" in text else "-")
    if _is_number(name) and not sign:
        number = int(name[:4])
    else:
        found = getattr(signal, f"SIG{name.removeprefix('SIG')}", None)
        number = int(found) if isinstance(found, signal.Signals) else 0
        if sign and number and _is_number(offset):
            number += int(offset[:4]) * (1 if sign == "+" else -1)
    if not 1 <= number <= signal.SIGRTMAX or (sign and not _is_number(offset)):
        raise ImageError(f"image.stop_signal: expected a signal, got {text!r}")
    return number


def process_env(config: Mapping[str, object], hostname: str, home: str) -> tuple[str, ...]:
    """The environment as Docker completes it: PATH, HOSTNAME, HOME unless the image sets them."""
    env = dict.fromkeys(("PATH", "HOSTNAME"), "") | {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    for line in _strings(config, "Env"):
        key, _, value = line.partition("=")
        env[key] = value
    env.setdefault("HOME", home)
    return tuple(f"{key}={value}" for key, value in env.items())


def resolve_user(user: str, passwd: str, group: str) -> Json:
    """An image's User (`name`, `uid`, either with `:group` or `:gid`) as ids, from its own files.

    Returns uid, gid, additional gids and home. As in Docker, an unknown number is taken as it is
    and gets group 0; an unknown name, or a number that is no id, is an ImageError.
    """
    who, _, explicit_group = user.partition(":")
    lines = [fields for line in passwd.splitlines() if len(fields := line.split(":")) >= 6]
    key = who or "0"
    found = next((f for f in lines if f[0] == key), None) or next(
        (f for f in lines if f[2] == key), None
    )
    if found is None and not _is_number(key):
        raise ImageError(f"image.user: expected a name of the image's passwd, got {who!r}")
    uid = _parse_id(found[2] if found else key)
    gid = _parse_id(found[3]) if found else 0
    extra: list[int] = []
    if explicit_group:
        gid = _resolve_group(explicit_group, group)
    elif found:
        extra = _memberships(found[0], group)
    return {"uid": uid, "gid": gid, "extra": extra, "home": (found[5] if found else "") or "/"}


def user_names(passwd: str) -> Mapping[int, str]:
    """The names of users by number, the first of each, of the text of a passwd file."""
    names: dict[int, str] = {}
    for fields in (line.split(":") for line in passwd.splitlines()):
        if len(fields) >= 3 and _is_number(fields[2]) and len(fields[2]) <= len(str(_MAX_ID)):
            names.setdefault(int(fields[2]), fields[0])
    return names


def runtime_config(
    config: Mapping[str, object],
    user: Json,
    *,
    argv: Sequence[str] = (),
    hostname: str = "minid",
    binds: Sequence[tuple[str, str]] = (),
    sys: bool = True,
) -> Json:
    """config.json for one process of an image; `argv` empty means the image's own.

    The container gets pid, ipc, uts and mount namespaces and inherits user and network namespace,
    so that whoever starts the runtime decides both. `binds` are (source, path in the container).
    `sys` False leaves /sys out, for places where it cannot be mounted. The root is `rootfs`
    beside the file.
    """
    arguments = tuple(argv) or process_argv(config)
    if not arguments:
        raise ImageError("image.cmd: expected a command to run, got neither cmd nor entrypoint")
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": False},
        "hostname": hostname,
        "process": _process(config, user, arguments, hostname),
        "mounts": _mounts(binds, sys),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc")],
            "maskedPaths": [p for p in _MASKED if sys or not p.startswith("/sys")],
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def with_listener(config: Json, socket_path: str, machine: str) -> Json:
    """The same config.json, with the file calls announced on a socket (seccomp notification)."""
    seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": socket_path,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [{"names": list(WATCHED_CALLS), "action": "SCMP_ACT_NOTIFY"}],
    }
    return config | {"linux": config["linux"] | {"seccomp": seccomp}}


def _process(config: Mapping[str, object], user: Json, argv: Sequence[str], hostname: str) -> Json:
    root = user["uid"] == 0
    held = list(DEFAULT_CAPABILITIES) if root else []
    return {
        "terminal": False,
        "user": {"uid": user["uid"], "gid": user["gid"], "additionalGids": user["extra"]},
        "args": list(argv),
        "env": list(process_env(config, hostname, user["home"])),
        "cwd": str(config.get("WorkingDir") or "/"),
        "capabilities": {
            "bounding": list(DEFAULT_CAPABILITIES),
            "effective": held,
            "permitted": held,
            "inheritable": [],
            "ambient": [],
        },
        # Docker lets set-user-id programs work: su and ping in an image must behave as there.
        "noNewPrivileges": False,
    }


def _mounts(binds: Sequence[tuple[str, str]], sys: bool) -> list[Json]:
    quiet = ["nosuid", "noexec", "nodev"]
    mounts = [
        _mount("/proc", "proc", quiet),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
        _mount("/dev/shm", "tmpfs", [*quiet, "mode=1777", "size=65536k"]),  # noqa: S108
        _mount("/dev/mqueue", "mqueue", quiet),
    ]
    if sys:
        mounts.append(_mount("/sys", "sysfs", [*quiet, "ro"]))
    for source, target in binds:
        options = ["bind", "rprivate"]
        mounts.append({"destination": target, "type": "bind", "source": source, "options": options})
    return mounts


def _mount(target: str, kind: str, options: list[str]) -> Json:
    return {"destination": target, "type": kind, "source": kind, "options": options}


def _strings(config: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = config.get(key) or ()
    if not isinstance(value, (list, tuple)):
        raise ImageError(f"config.{key}: expected a list of strings, got {value!r}")
    return tuple(str(item) for item in value)


def _resolve_group(name: str, group: str) -> int:
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and name in (fields[0], fields[2]):
            return _parse_id(fields[2])
    if not _is_number(name):
        raise ImageError(f"image.user: expected a group of the image's group file, got {name!r}")
    return _parse_id(name)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _parse_id(text: str) -> int:
    """A uid or gid: as in Docker, 31 bits."""
    if not _is_number(text) or len(text) > len(str(_MAX_ID)) or int(text) > _MAX_ID:
        raise ImageError(f"image.user: expected an id from 0 to {_MAX_ID}, got {text!r}")
    return int(text)


def _memberships(name: str, group: str) -> list[int]:
    lines = (line.split(":") for line in group.splitlines())
    return [_parse_id(f[2]) for f in lines if len(f) >= 4 and name in f[3].split(",")]
