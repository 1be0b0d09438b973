"""A line whose image has a shell: busybox with its applets, files of every kind, an owner."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tests.support.line import Done, Line

BOX_FILES = {
    "Makefile": "all:\ninstall:\n\tmkdir -p $(DESTDIR)/bin $(DESTDIR)/data/deep\n"
    "\tcp $$(command -v busybox) $(DESTDIR)/bin/busybox\n"
    "\tfor name in $$(busybox --list); do ln -sf busybox $(DESTDIR)/bin/$$name; done\n"
    "\trm $(DESTDIR)/bin/busybox; cp $$(command -v busybox) $(DESTDIR)/bin/busybox\n"
    "\techo one > $(DESTDIR)/data/one; echo two > $(DESTDIR)/data/deep/two\n"
    "\tprintf 'alpha = 1\\nbeta = 2\\ngamma = 3\\n' > $(DESTDIR)/data/conf\n"
    "\tln -s one $(DESTDIR)/data/link\n"
}
BOX_TABLES = """
[rootfs]
base = "scratch"
# who there is
users = [{ name = "root", uid = 0, gid = 0, shell = "/bin/sh" }, { name = "web", uid = 100 }]
directories = [{ path = "/tmp", mode = "1777" }, { path = "/srv/web", owner = "web" }]
files = [{ path = "/etc/motd", content = "welcome\\n", owner = "web", mode = "0640" }]
links = { "/etc/said" = "motd" }

[image]
cmd = ["sleep", "1"]
env = { MODE = "test" }
workdir = "/srv/web"

[[check]]
exec = ["cat", "/etc/passwd"]
contains = "root"
"""
LOOK = (
    "cd /; find . -xdev -path ./dev -prune -o -path ./proc -prune -o -path ./sys -prune -o"
    " -exec stat -c '%n|%f|%u:%g|%s|%N' {} +; find ./data ./etc ./srv -type f -exec md5sum {} +"
)


def add_box(line: Line) -> None:
    """The recipe `box`."""
    line.add_recipe("box", BOX_FILES, BOX_TABLES)


@dataclass(frozen=True)
class Shell:
    """`minid shell NAME` in a line; `options` go with each command that works in it."""

    line: Line
    name: str = "box"
    options: tuple[str, ...] = ()

    def run(self, *argv: str, script: str | bytes = "", status: int = 0) -> str:
        """Run a command, or a script, in the root; what it wrote."""
        words = ["shell", self.name, *self.options, *(["--", *argv] if argv else [])]
        data = script if isinstance(script, bytes) else script.encode()
        done = self.call(*words, data=data)
        assert done.status == status, done.out + done.err
        return done.out

    def call(self, *words: str, data: bytes = b"") -> Done:
        """`minid WORDS` with something on standard input."""
        done = subprocess.run(
            self.line.argv(*words),
            input=data,
            capture_output=True,
            cwd=self.line.folder,
            timeout=120,
            env=self.environ(),
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def environ(self) -> dict[str, str]:
        """What a command of this line gets."""
        import os

        from tests.support.users import ROOT

        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.line.folder),
            "PYTHONPATH": str(ROOT),
        }

    def status(self) -> list[str]:
        """`A /path` and the like, one a change."""
        found = self.line.query("shell", self.name, "--status")
        return [f"{item['status']} {item['path']}" for item in found["changes"]]

    def restore(self, *paths: str) -> None:
        done = self.line.run("shell", self.name, "--restore", *paths)
        assert done.status == 0, done.err

    def discard(self) -> None:
        """Forget the workbench, if there is one."""
        self.line.run("shell", self.name, "--discard")

    def look(self) -> list[str]:
        """Everything there is, with its bytes."""
        return sorted(self.run("sh", "-c", LOOK).splitlines())
