"""Working folders whose recipes take a second: for tests of the whole line with real parts.

`ground` is a static program and the base of the others, `words` a library, `hello` a program that
needs it. Their sources are made here, compiled with this machine's gcc, and served by a folder.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.users import ROOT, python_for, setpriv_options

MTIME = 1700000000
NOBODYS_URL = "https://127.0.0.1/{name}-{{version}}.tar.gz"  # refused before any packet is sent

GROUND_FILES = {
    "Makefile": "all:\n\tgcc -static -O1 -o tool tool.c\n"
    "install:\n\tmkdir -p $(DESTDIR)/bin\n\tcp tool $(DESTDIR)/bin/tool\n",
    "tool.c": (ROOT / "tests" / "data" / "tool.c").read_text(),
}
WORDS_FILES = {
    "words.h": "const char *word(void);\n",
    "words.c": 'const char *word(void) { return "hello"; }\n',
    "Makefile": "all:\n\tgcc -shared -fPIC -Wl,-soname,libwords.so.1 -o libwords.so.1 words.c\n"
    "install:\n\tmkdir -p $(DESTDIR)/usr/local/lib $(DESTDIR)/usr/local/include\n"
    "\tcp libwords.so.1 $(DESTDIR)/usr/local/lib\n"
    "\tln -s libwords.so.1 $(DESTDIR)/usr/local/lib/libwords.so\n"
    "\tcp words.h $(DESTDIR)/usr/local/include\n",
}
HELLO_FILES = {
    "hello.c": "#include <stdio.h>\n#include <words.h>\n"
    'int main(void) { printf("%s %s\\n", word(), VERSION); return 0; }\n',
    "hello.conf": "greeting = hello\ncolour = red\n",
    "Makefile": "S = $(SYSROOT)/usr/local\nall:\n\tgcc -DVERSION='\"$(VERSION)\"' -I$(S)/include "
    "-o hello hello.c -L$(S)/lib -lwords -Wl,-rpath,/usr/local/lib\n"
    "install:\n\tmkdir -p $(DESTDIR)/usr/local/bin $(DESTDIR)/usr/local/etc\n"
    "\tcp hello $(DESTDIR)/usr/local/bin\n\tcp hello.conf $(DESTDIR)/usr/local/etc\n",
}

_HEAD = """\
summary = "{name} for tests"

[source]
version = "{version}"
url = "{url}"
sha256 = "{sha256}"

[build]
environment = "host"
{build}steps = ["make", "make DESTDIR=$DESTDIR install"]
"""
GROUND_TABLES = """
[rootfs]
base = "scratch"
users = [{ name = "root", uid = 0, gid = 0 }]
directories = [{ path = "/tmp", mode = "1777" }]

[image]
cmd = ["/bin/tool", "id"]
comment = "ground {version}"
tags = ["{version}", "latest"]

[[check]]
exec = ["/bin/tool", "id"]
contains = "uid=0"
"""
HELLO_TABLES = """
[rootfs]
base = "ground"
files = [{ path = "/etc/motd", content = "welcome\\n" }]

[[rootfs.edits]]
path = "/usr/local/etc/hello.conf"
replace = "red"
with = "green"

[image]
cmd = ["/usr/local/bin/hello"]
comment = "hello {version}"
author = "tests"
env = { MODE = "test" }
tags = ["{version}", "latest"]
budget = "20 MB"

[[check]]
exec = ["/usr/local/bin/hello"]
contains = "hello {version}"
"""
CONFIG = """\
mirrors = ["file:archives"]

[fetch]
distro = false
attempts = 1

[build]
jobs = {jobs}

[publish]
docker = "{docker}"
{export}"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Line:
    """A working folder and how `minid` is called in it: with which environment, as whom."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    umask: int = 0o022
    python: str = sys.executable

    @property
    def state(self) -> Path:
        return self.folder / "var"

    @property
    def store(self) -> Path:
        return self.state / "store"

    def with_environ(self, **values: str) -> Line:
        """The same folder under other environment variables."""
        return replace(self, environ={**self.environ, **values})

    # what is in the folder

    def write_config(self, *, docker: str = "off", export: bool = False, jobs: int = 2) -> None:
        text = CONFIG.format(
            jobs=jobs, docker=docker, export='export = "images"\n' if export else ""
        )
        (self.folder / "config.toml").write_text(text)

    def add_source(self, name: str, version: str, files: Mapping[str, str]) -> str:
        """Put a release into the mirror; its SHA-256."""
        data = source_archive(f"{name}-{version}", files)
        (self.folder / "archives").mkdir(exist_ok=True)
        (self.folder / "archives" / f"{name}-{version}.tar.gz").write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def add_recipe(
        self,
        name: str,
        files: Mapping[str, str],
        tables: str = "",
        *,
        version: str = "1.0.0",
        build: str = "",
    ) -> None:
        """A release and a recipe for it; `build` holds more keys of [build]."""
        (self.folder / "recipes").mkdir(exist_ok=True)
        head = _HEAD.format(
            name=name,
            version=version,
            url=NOBODYS_URL.format(name=name).replace("{{", "{").replace("}}", "}"),
            sha256=self.add_source(name, version, files),
            build=build,
        )
        self.recipe(name).write_text(head + tables)

    def add_all(self) -> None:
        """The three recipes."""
        self.add_recipe("ground", GROUND_FILES, GROUND_TABLES)
        self.add_recipe("words", WORDS_FILES)
        self.add_recipe("hello", HELLO_FILES, HELLO_TABLES, build='needs = ["words"]\n')

    def recipe(self, name: str) -> Path:
        return self.folder / "recipes" / f"{name}.toml"

    def edit(self, name: str, before: str, after: str) -> None:
        """Change a recipe's text, which must hold `before`."""
        text = self.recipe(name).read_text()
        assert before in text, f"{name}.toml has no {before!r}"
        self.recipe(name).write_text(text.replace(before, after))

    # what is run

    def argv(self, *words: str) -> list[str]:
        """The command line of `minid WORDS`."""
        program = "import sys; from minid.cli.main import main; sys.exit(main())"
        argv = [self.python, "-c", program, *words]
        return ["setpriv", *setpriv_options(self.user), "env", *argv] if self.user else argv

    def start(self, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start `minid WORDS` in the folder, in a process group of its own."""
        keep = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        environ = {**keep, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **self.environ}
        return subprocess.Popen(
            [*before, *self.argv(*words)],
            cwd=self.folder,
            env=environ,
            umask=self.umask,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, *words: str, before: Sequence[str] = ()) -> Done:
        """`minid WORDS` to its end."""
        with self.start(*words, before=before) as child:
            out, err = child.communicate(timeout=300)
            return Done(child.returncode, out, err)

    def build(self, *words: str) -> dict[str, dict[str, Any]]:
        """`minid build --json WORDS`, which must succeed; outcomes by recipe."""
        done = self.run("build", "--json", *words)
        assert done.status == 0, done.out + done.err
        return {item["recipe"]: item for item in done.json()}

    def query(self, *words: str) -> Any:
        """`minid WORDS --json`, which must succeed; what it says."""
        done = self.run(*words, "--json")
        assert done.status == 0, done.out + done.err
        return done.json()

    def tags(self) -> dict[str, str]:
        """Tag → manifest digest, as index.json has it."""
        index = json.loads((self.store / "index.json").read_bytes())
        return {
            item["annotations"]["org.opencontainers.image.ref.name"]: item["digest"]
            for item in index["manifests"]
        }

    def blob(self, digest: str) -> bytes:
        return (self.store / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def source_archive(top: str, files: Mapping[str, str]) -> bytes:
    """A release: a gzipped tar with one folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime, member.mode = len(text.encode()), MTIME, 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


@contextmanager
def line_folder(name: str = "w") -> Iterator[Path]:
    """A new folder that every user can reach, gone afterwards.

    It lies below MINID_TEST_FOLDER, or var/tests of the checkout, or /var/tmp where the checkout
    is in somebody's closed home.
    """
    closed = any(not path.stat().st_mode & 0o001 for path in (ROOT, *ROOT.parents))
    own = Path("/var/tmp") if closed else ROOT / "var" / "tests"
    shelf = Path(os.environ.get("MINID_TEST_FOLDER") or own)
    shelf.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="line-", dir=shelf))
    place.chmod(0o755)
    try:
        (place / name).mkdir(parents=True)
        yield place / name
    finally:
        shutil.rmtree(place)


@contextmanager
def new_line(**config: Any) -> Iterator[Line]:
    """A folder with the three recipes, not yet built."""
    with line_folder() as folder:
        line = Line(folder)
        line.write_config(**config)
        line.add_all()
        yield line


def copy_line(line: Line, folder: Path) -> Line:
    """The same recipes and archives in another folder, with nothing built."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("recipes", "archives"):
        shutil.copytree(line.folder / part, folder / part)
    shutil.copy(line.folder / "config.toml", folder)
    return replace(line, folder=folder)


def give_to(line: Line, user: str) -> Line:
    """The folder made over to an ordinary user, who is the one to call minid then."""
    if not user:
        return line
    entry = pwd.getpwnam(user)
    for path in (line.folder, *line.folder.rglob("*")):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return replace(line, user=user, python=python_for(user, line.folder.parent / "python"))


def wait_for(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until `what()` is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
