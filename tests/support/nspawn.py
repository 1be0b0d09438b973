"""A small Debian with its own systemd, booted in systemd-nspawn, with this checkout's minid in it.

The tree is made once by mmdebstrap and kept below var/tests; a test boots a copy. Nothing here
starts a systemd on the machine's own file system: its tmpfiles rules would empty /tmp.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from minid.host.apt_sources import load_sources, select_sources, write_lines
from minid.host.environment import machine_suite
from tests.support.line import line_folder
from tests.support.require import demand_or_skip, require
from tests.support.users import ROOT

PACKAGES = (
    "binutils",
    "bubblewrap",
    "bzip2",
    "ca-certificates",
    "dbus",
    "diffutils",
    "gcc",
    "git",
    "gpgv",
    "libc6-dev",
    "make",
    "mmdebstrap",
    "patch",
    "procps",
    "python3",
    "python3-venv",
    "runc",
    "systemd",
    "systemd-sysv",
    "uidmap",
    "xz-utils",
)
PLACE = "/opt/minid"  # of minid in the machine
PROGRAM, PYTHON = f"{PLACE}/bin/minid", f"{PLACE}/bin/python3"
_TRIM = (
    'cd "$1" && rm -rf usr/share/doc usr/share/locale var/cache/apt/archives/*.deb'
    " var/lib/apt/lists/* etc/machine-id && touch etc/machine-id"
)
_BOOT_S = 60.0
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted system. `root` is its file tree as seen from outside, `leader` its first process."""

    root: Path
    leader: int

    def run(self, *words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a program in it as root; its end, whatever the status."""
        enter = ["nsenter", f"--target={self.leader}", *_NAMESPACES, "--"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*enter, "/usr/bin/env", "-i", path, "LC_ALL=C.UTF-8", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def call(self, *words: str, timeout_s: float = 120.0) -> str:
        """Run a program in it as root, which must succeed; what it wrote."""
        done = self.run(*words, timeout_s=timeout_s)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.call("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def path(self, inside: str) -> Path:
        """A path in the machine as one out here."""
        return self.root / inside.lstrip("/")


@contextmanager
def booted_machine() -> Iterator[Machine]:
    """Boot a fresh machine with minid in PLACE; powered off and removed afterwards."""
    require("systemd-nspawn", "mmdebstrap", "nsenter")
    if os.geteuid() != 0:
        demand_or_skip("root", "only root boots a machine")
    base = base_tree()
    with line_folder("m") as folder:
        root = folder / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
        install_minid(root)
        with _boot(root, folder / "boot.log") as machine:
            yield machine


@contextmanager
def _boot(root: Path, log: Path) -> Iterator[Machine]:
    # The console is a pipe: a terminal would be taken for somebody who logs in.
    argv = ["setpriv", "--pdeathsig=KILL", "--", "systemd-nspawn", "--boot", "--register=no"]
    with log.open("wb") as out:
        nspawn = subprocess.Popen(
            [
                *argv,
                "--keep-unit",
                "--console=pipe",
                f"--directory={root}",
                f"--machine=minid-{os.getpid()}",
            ],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    machine = None
    try:
        machine = _wait_for_boot(nspawn, root, log)
        yield machine
    finally:
        # nspawn hands SIGTERM on as a wish to power off; when it is killed, all inside is.
        with suppress(subprocess.TimeoutExpired):
            if machine is not None:
                nspawn.send_signal(signal.SIGTERM)
                nspawn.wait(30)
        nspawn.kill()
        nspawn.wait(30)


def _wait_for_boot(nspawn: subprocess.Popen[bytes], root: Path, log: Path) -> Machine:
    end = time.monotonic() + _BOOT_S
    while time.monotonic() < end:
        if nspawn.poll() is not None:
            break
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        if children:
            machine = Machine(root, int(children[0]))
            with suppress(OSError, subprocess.TimeoutExpired):
                state = machine.run("systemctl", "is-system-running", timeout_s=10).stdout.strip()
                if state in ("running", "degraded"):
                    return machine
        time.sleep(0.1)
    return demand_or_skip("systemd-nspawn", f"no boot: {log.read_text(errors='replace')[-500:]!r}")


def base_tree() -> Path:
    """The tree that all machines are copies of, made on first use (half a minute)."""
    suite = machine_suite()
    key = hashlib.sha256(" ".join((suite, _TRIM, *PACKAGES)).encode()).hexdigest()[:16]
    shelf = Path(os.environ.get("MINID_TEST_FOLDER") or ROOT / "var" / "tests")
    shelf.mkdir(parents=True, exist_ok=True)
    base = shelf / f"machine-{key}"
    with (shelf / "machine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not base.is_dir():
            new = shelf / f"machine-{key}.new"
            shutil.rmtree(new, ignore_errors=True)
            _bootstrap(suite, new)
            new.rename(base)
    return base


def _bootstrap(suite: str, new: Path) -> None:
    with line_folder("m") as folder:
        sources = write_lines(select_sources(load_sources(), suite, suite), folder)
        argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory"]
        options = (
            "--include=" + ",".join(PACKAGES),
            '--aptopt=APT::Install-Recommends "false"',
            "--dpkgopt=force-unsafe-io",
            f"--customize-hook={_TRIM}",
        )
        done = subprocess.run([*argv, *options, suite, str(new), *sources], capture_output=True)
    if done.returncode:
        shutil.rmtree(new, ignore_errors=True)
        demand_or_skip("mmdebstrap", f"no tree: {done.stderr.decode(errors='replace')[-500:]!r}")
    _copy_apt(new)


def _copy_apt(root: Path) -> None:
    """The machine's own package sources, with the keys that they name, so that minid's
    environments can be made in there."""
    for place in ("etc/apt", "usr/share/keyrings", "etc/ssl/certs"):
        shutil.rmtree(root / place, ignore_errors=True)
        shutil.copytree(Path("/", place), root / place, symlinks=True)


def install_minid(root: Path) -> None:
    """minid's files, and the packages that it needs in a virtual environment."""
    place = root / PLACE.lstrip("/")
    _in_tree(root, "/usr/bin/python3", "-m", "venv", "--without-pip", PLACE)
    (site,) = place.glob("lib/python3*/site-packages")
    if site.parent.name == f"python{sys.version_info[0]}.{sys.version_info[1]}":
        for name in _needed("minid"):
            _copy_distribution(name, site)
    else:
        _download(site)
    for part in ("minid", "recipes", "systemd"):
        shutil.copytree(
            ROOT / part, place / "src" / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    (site / "minid.pth").write_text(f"{PLACE}/src\n")
    program = root / PROGRAM.lstrip("/")
    program.write_text(
        f"#!{PYTHON}\nimport sys\nfrom minid.cli.main import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    # The service cannot write what Python compiles. What does not compile is told when it is used.
    compiling = ["chroot", str(root), PYTHON, "-m", "compileall", "-q", PLACE]
    subprocess.run(compiling, check=False, capture_output=True)


def _in_tree(root: Path, *words: str) -> None:
    subprocess.run(["chroot", str(root), *words], check=True, capture_output=True)


def _needed(name: str) -> set[str]:
    """The distributions that one needs, and that those need."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for line in importlib.metadata.distribution(waiting.pop()).requires or ():
            word = re.match(r"[A-Za-z0-9._-]+", line)
            if word is None or word[0] in found or "extra ==" in line:
                continue
            with suppress(importlib.metadata.PackageNotFoundError):  # for another system
                importlib.metadata.distribution(word[0])
                found.add(word[0])
                waiting.append(word[0])
    return found


def _copy_distribution(name: str, site: Path) -> None:
    for file in importlib.metadata.files(name) or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), site / file)


def _download(site: Path) -> None:
    """Wheels for another Python than the one that runs the tests."""
    minor = site.parent.name.removeprefix("python")
    wanted = sorted(_needed("minid"))
    argv = [sys.executable, "-m", "pip", "install", "--quiet", f"--target={site}"]
    options = [f"--python-version={minor}", "--only-binary=:all:", "--no-deps"]
    subprocess.run([*argv, *options, *wanted], check=True, capture_output=True)
