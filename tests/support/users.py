"""Ordinary users for tests that run as root, and a Python that they may run."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.require import demand_or_skip

ROOT = Path(__file__).parents[2]
SUBORDINATE = "1879113728-1879179263"  # nobody else's: above what useradd hands out


def ordinary_user() -> str:
    """The name of an ordinary user with subordinate ids that minid may run as.

    As root: `builder1`, else the first there is, else one who is made, and removed when the tests
    end. Skips where the machine makes none. A user who is not root is one already.
    """
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid}
    files = [path for path in map(Path, ("/etc/subuid", "/etc/subgid")) if path.exists()]
    owners = [[row.partition(":")[0] for row in path.read_text().splitlines()] for path in files]
    names = [name for name in owners[0] if name in known & {*owners[-1]}] if owners else []
    if not names:
        return _make_user("minid-tests")
    return "builder1" if "builder1" in names else names[0]


def _make_user(name: str) -> str:
    ranges = ("--add-subuids", SUBORDINATE, "--add-subgids", SUBORDINATE)
    try:
        subprocess.run(["useradd", "--no-create-home", name], check=True, capture_output=True)
        atexit.register(subprocess.run, ["userdel", name], capture_output=True)
        subprocess.run(["usermod", *ranges, name], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        demand_or_skip("user", f"no ordinary user has subordinate ids, nor can be made: {error}")
    return name


def setpriv_options(user: str) -> list[str]:
    """What makes setpriv(1) run a command as that user."""
    entry = pwd.getpwnam(user)
    return [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def python_for(user: str, place: Path) -> str:
    """An interpreter that has minid and that the user may run: ours, or the machine's in a venv.

    Interpreters below somebody's home are common, and closed to others.
    """

    def reaches(python: str) -> bool:
        # `env` comes between: setpriv looks the program up with the rights that it gives away.
        words = ["setpriv", *setpriv_options(user), "env", "-C", "/", python, "-I", "-c"]
        return (
            subprocess.run([*words, "import minid.cli.main"], capture_output=True).returncode == 0
        )

    if reaches(sys.executable):
        return sys.executable
    machines = "/usr/bin/python3"
    subprocess.run([machines, "-m", "venv", "--without-pip", str(place)], check=True)
    (folder,) = place.glob("lib/python3*/site-packages")
    libraries = [str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (folder / "minid.pth").write_text("\n".join(dict.fromkeys(libraries)) + "\n")
    python = str(place / "bin" / "python")
    if not reaches(python):
        _copy_minid(folder)
    if not reaches(python):
        demand_or_skip("user", f"{user} can reach neither {sys.executable} nor {ROOT}")
    return python


def _copy_minid(folder: Path) -> None:
    """minid and what it always loads, as source: that fits every Python that it runs on."""
    import tomli

    def is_other(where: str, names: list[str]) -> list[str]:
        return [name for name in names if "." in name and not name.endswith((".py", ".typed"))]

    for package in (ROOT / "minid", Path(tomli.__file__).parent):
        shutil.copytree(package, folder / package.name, ignore=is_other)
