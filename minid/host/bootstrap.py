"""Making the file system of a Debian environment with mmdebstrap, as an archive."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minid.errors import HostError
from minid.host import process
from minid.host.apt_sources import load_sources, select_sources, write_lines
from minid.host.namespace import BuildIdentity, LaunchJob, start_launch

_MAX_QUOTED = 300

# The tools that every configure script and Makefile may call. They are listed because the smallest
# variant installs only what it is told: no apt, no login, no init, half the time and size.
BASE_PACKAGES = (
    "base-files",
    "base-passwd",
    "bash",
    "bzip2",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "mawk",
    "sed",
    "tar",
    "xz-utils",
)

# What a package needs of the distribution's essential packages, which none has to name: cmake comes
# with usrmerge, whose script calls mountpoint.
_ESSENTIALS = {"cmake": "util-linux"}

# Removed inside mmdebstrap's tree, where $1 is its root: faster by a third than dpkg's own filter.
# Licences stay, and the links of packages that share one: who copies a library has to name it.
_TRIM = (
    'cd "$1" && rm -rf usr/share/man usr/share/locale usr/share/info etc/hostname etc/resolv.conf'
    " && find usr/share/doc -mindepth 2 ! -type d ! -name copyright -delete"
    " && find usr/share/doc -mindepth 1 -type d -empty -delete"
)
_TIMEOUT_S = 1800.0
_STDERR = 2  # where a failure to start it is told, too
_RANGE_HINT = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
_HINTS = (
    ("newuidmap", f"apt-get install uidmap, then {_RANGE_HINT}"),
    ("subuid", _RANGE_HINT),
    ("Unable to locate package", "the suite has no package of that name; see build.packages"),
    ("Temporary failure resolving", "the machine's package archive could not be reached"),
    ("usrmerge failed", "add util-linux to build.packages: usrmerge calls its mountpoint"),
    ("No space left", "free some space on the disk of the state folder"),
)


@dataclass(frozen=True, slots=True)
class DebianTree:
    """What to bootstrap. `mirror` empty: the machine's own sources. `own_suite` is its codename."""

    suite: str
    packages: tuple[str, ...]
    mirror: str = ""
    own_suite: str = ""


def write_debian_archive(
    tree: DebianTree,
    archive: Path,
    *,
    output: Callable[[bytes], None],
    cancel: threading.Event | None = None,
) -> None:
    """Write the tree as a tar to `archive`, lines of progress to `output`.

    Works as root and, with subordinate ids, as an ordinary user. HostError with mmdebstrap's last
    words when it fails, is cancelled, or takes longer than half an hour.
    """
    process.need_program("mmdebstrap")
    work = archive.parent
    environ = process.clean_environ()
    if _is_open(work):
        environ["TMPDIR"] = str(work)
    job = LaunchJob(
        argv=(
            *_cage(),
            "mmdebstrap",
            *_options(tree, work),
            tree.suite,
            "-",
            *_mirrors(tree, work),
        ),
        environ=tuple(environ.items()),
        trusted=True,
    )
    with archive.open("wb") as target:
        child = start_launch(
            job, BuildIdentity(), _STDERR, stdout=target.fileno(), stderr=subprocess.PIPE
        )
        tail: list[str] = []
        try:
            for line in _lines(child.stderr.fileno(), cancel):  # type: ignore[union-attr]
                output(line + b"\n")
                tail = [*tail[-19:], line.decode(errors="replace")]
            status = child.wait(60)
        except BaseException:
            process.kill_group(child, grace_s=10)  # it unmounts and removes its tree on SIGTERM
            raise
        finally:
            child.stderr.close()  # type: ignore[union-attr]
    if status != 0:
        raise _failure(status, tail)


def _cage() -> list[str]:
    """A process namespace, so that nothing of it outlives minid; without root it makes its own."""
    return ["unshare", "--pid", "--fork", "--kill-child", "--"] if os.geteuid() == 0 else []


def _options(tree: DebianTree, work: Path) -> Iterator[str]:
    mode = "root" if os.geteuid() == 0 else "unshare"
    yield from ("--variant=custom", f"--mode={mode}", "--format=tar")
    essentials = {_ESSENTIALS[name] for name in tree.packages if name in _ESSENTIALS}
    yield "--include=" + ",".join(sorted({*BASE_PACKAGES, *essentials, *tree.packages}))
    yield "--dpkgopt=force-unsafe-io"
    yield '--aptopt=APT::Install-Recommends "false"'
    for line in _proxy_lines(work):
        yield f"--aptopt={line}"
    yield f"--customize-hook={_TRIM}"


def _proxy_lines(work: Path) -> list[str]:
    """How the machine's apt reaches the network: proxies, and whether it checks dates."""
    done = process.run(["apt-config", "dump"], timeout_s=30, cwd=work)
    wanted = re.compile(r"Acquire::(?:\w+::Proxy\S*|Check-Valid-Until|Check-Date) ", re.IGNORECASE)
    return [line.rstrip(";") for line in done.stdout.decode().splitlines() if wanted.match(line)]


def _mirrors(tree: DebianTree, work: Path) -> list[str]:
    if tree.mirror:
        return [tree.mirror]
    return list(write_lines(select_sources(load_sources(), tree.suite, tree.own_suite), work))


def _is_open(folder: Path) -> bool:
    """Whether anybody may pass down to the folder: without root, mmdebstrap's tree is not ours."""
    if os.geteuid() == 0:
        return True
    return all(path.stat().st_mode & 0o001 for path in [folder, *folder.parents])


def _lines(fd: int, cancel: threading.Event | None) -> Iterator[bytes]:
    """Lines from the descriptor until its end; HostError when cancelled or too late."""
    deadline = time.monotonic() + _TIMEOUT_S
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            if cancel is not None and cancel.is_set():
                raise HostError("mmdebstrap: expected to end, got cancelled")
            if time.monotonic() > deadline:
                raise HostError(f"mmdebstrap: expected to end within {_TIMEOUT_S:g} s, got no end")
            if not selector.select(0.2):
                continue
            chunk = os.read(fd, 1 << 16)
            *whole, pending = (pending + chunk).split(b"\n")
            yield from whole
            if not chunk:
                break
    if pending:
        yield pending


def _failure(status: int, tail: Sequence[str]) -> HostError:
    errors = [line for line in tail if line.startswith("E:")] or list(tail) or [f"status {status}"]
    text = "\n".join(tail)
    # mmdebstrap quotes whole command lines; what went wrong stands before or above them.
    short = errors[0] if len(errors[0]) <= _MAX_QUOTED else errors[0][:_MAX_QUOTED] + "..."
    hint = next((hint for word, hint in _HINTS if word in text), "")
    return HostError(
        f"mmdebstrap: expected an environment, got {short!r}",
        hint=hint,
        log_tail=[line[:_MAX_QUOTED] for line in tail],
    )
