"""Commands in a real root file system, in an overlay and in a copy: what they see and leave."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minid.errors import ComposeError
from minid.formats.digest import Digest
from minid.host.capture import CommandJob
from minid.host.container import LayerFile, prune_layers
from minid.host.logfile import LogFile
from minid.model import Changes, Composed, Entry, Limits, Tree
from minid.recipe_reader import parse_recipe
from minid.steps.commands import apply_changes, run_job
from minid.steps.image import build_image
from minid.steps.layers import write_layer
from minid.store.blobs import Blobs
from minid.store.contents import read_content, store_tree
from tests.support.line import Line, give_to, line_folder
from tests.support.require import require
from tests.support.tiny_image import GROUP, MTIME, PASSWD, file, folder, link
from tests.support.users import ordinary_user

pytestmark = pytest.mark.integration
APPLETS = ("cat", "chmod", "chown", "id", "ln", "mkdir", "mkfifo", "mv", "rm", "sed", "sleep")
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep

# Everything that commands may do to a tree, some of it to nothing.
MANY = """
echo made > /etc/made; chmod 640 /etc/made; chown 100:101 /etc/made
mkdir -p /srv/deep/er; chmod 2750 /srv/deep; chown 100 /srv/deep/er
ln -s ../etc/made /srv/soft; ln /etc/made /srv/hard
rm /etc/group; rm -r /opt/gone; mkdir /opt/anew; mv /opt/whole /opt/moved
rm -r /opt/full; mkdir /opt/full; echo new > /opt/full/new
rm -r /opt/folder; echo file > /opt/folder
rm /opt/file; mkdir /opt/file; echo inside > /opt/file/inside
echo more >> /usr/one; chmod 700 /usr/capable
sed -i s/nothing/something/ /etc/passwd; chmod 755 /bin/busybox; cat /usr/equal > /usr/copy
mv /usr/copy /usr/equal; chown 7:8 /etc; : > /etc/empty
"""


RECIPE = """
summary = "test"
[source]
version = "1"
url = "https://192.0.2.1/r-1.tar.gz"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
[build]
steps = ["make"]
"""


def root_entries() -> list[Entry]:
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    capable = replace(
        file("usr/capable", b"x", 0o755), xattrs=(("security.capability", CAPABILITY),)
    )
    twin = replace(file("usr/two", b""), kind="hardlink", target="usr/one", content=None)
    full = ["opt/whole", "opt/gone", "opt/full", "opt/folder"]
    return [
        folder("bin"),
        file("bin/busybox", busybox, 0o755),
        link("bin/sh", "busybox"),
        *(link(f"bin/{name}", "busybox") for name in APPLETS),
        folder("etc"),
        file("etc/group", GROUP),
        file("etc/passwd", PASSWD),
        folder("opt"),
        *(entry for name in full for entry in (folder(name), file(f"{name}/x", b"x", 0o600, 5, 6))),
        file("opt/file", b"file"),
        folder("usr"),
        capable,
        file("usr/equal", b"equal"),
        file("usr/one", b"one"),
        twin,
    ]


class Bench:
    """A store with one layer as base, where commands can be run."""

    def __init__(self, place: Path) -> None:
        self.blobs = Blobs(place / "store")
        self.blobs.prepare()
        self.cache = place / "layers"
        self.log = LogFile(place / "log")
        entries = sorted(root_entries(), key=lambda entry: entry.image_path)
        self.layer, self.base = store_tree(entries, read_content(self.blobs), self.blobs)

    def run(
        self,
        *commands: str,
        copied: bool = False,
        limits: Limits | None = None,
        cancel: threading.Event | None = None,
    ) -> Changes:
        job = CommandJob(
            commands,
            (LayerFile(self.layer, self.blobs.path(self.layer)),),
            "r.toml: rootfs.commands",
            MTIME,
            limits or Limits(),
            copied=copied,
        )
        return run_job(
            job, self.base, cache=self.cache, blobs=self.blobs, log=self.log, cancel=cancel
        )

    def compose(self, *commands: str, copied: bool = False) -> Composed:
        composed = Composed(self.base, (), (), flatten=False)
        return apply_changes(composed, self.run(*commands, copied=copied), self.base)

    def content(self, entry: Entry | None) -> bytes:
        assert entry is not None and entry.content is not None
        return read_content(self.blobs)(entry.content)

    def image_of(self, *parts: tuple[Entry, ...]) -> Digest:
        """The manifest's digest of an image with these layers."""
        read = read_content(self.blobs)
        layers = tuple(write_layer(part, read, self.blobs, created_by="t")[0] for part in parts)
        recipe = parse_recipe(RECIPE.encode(), Path("r.toml"))
        image = build_image(
            recipe,
            layers=layers,
            base=None,
            created=MTIME,
            architecture="amd64",
            blobs=self.blobs,
        )
        return image.manifest


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("runc", "busybox")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.log.close()
    prune_layers(bench.cache, [])


@pytest.fixture(params=["overlay", "copy"])
def copied(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "copy")


def by_path(tree: Tree) -> dict[str, Entry]:
    return {entry.image_path: entry for entry in tree.entries}


def test_what_commands_leave(bench: Bench, copied: bool) -> None:
    done = bench.compose(MANY, copied=copied)
    found = by_path(done.tree)
    made = found["etc/made"]
    assert bench.content(made) == b"made\n"
    assert (made.kind, made.mode, made.uid, made.gid, made.mtime) == (
        "file",
        0o640,
        100,
        101,
        MTIME,
    )
    assert (found["srv/hard"].kind, found["srv/hard"].target) == ("hardlink", "etc/made")
    assert (found["srv/soft"].kind, found["srv/soft"].target) == ("symlink", "../etc/made")
    assert found["srv"] == folder("srv")
    assert (found["srv/deep"].mode, found["srv/deep/er"].uid) == (0o2750, 100)
    assert (found["etc"].uid, found["etc"].gid) == (7, 8)
    assert bench.content(found["etc/empty"]) == b""
    gone = {"etc/group", "opt/gone", "opt/gone/x", "opt/whole", "opt/full/x", "opt/folder/x"}
    assert not gone & found.keys()
    assert done.flatten
    moved = found["opt/moved/x"]
    assert (moved.mode, moved.uid, moved.gid) == (0o600, 5, 6)
    assert (found["opt/folder"].kind, found["opt/file"].kind) == ("file", "directory")
    assert (bench.content(found["usr/one"]), bench.content(found["usr/two"])) == (
        b"onemore\n",
        b"one",
    )
    assert found["usr/capable"].xattrs == (("security.capability", CAPABILITY),)
    own = {entry.image_path for entry in done.own}
    assert not own & {"etc/passwd", "bin", "bin/busybox", "usr/equal", "usr/two"}
    assert not {"proc", "dev", "sys"} & found.keys()


def test_overlay_and_copy_give_the_same_image(bench: Bench) -> None:
    overlay, copy = bench.compose(MANY), bench.compose(MANY, copied=True)
    base = bench.base.entries
    assert overlay.flatten and copy.flatten
    assert bench.image_of(overlay.tree.entries) == bench.image_of(copy.tree.entries)
    assert bench.image_of(base, overlay.own) == bench.image_of(base, copy.own)
    assert bench.image_of(base, overlay.own) != bench.image_of(base)


def test_next_command_sees_what_the_last_one_did(bench: Bench) -> None:
    done = bench.compose("echo one > /a", "cat /a /a > /b; rm /a", "test ! -e /a")
    assert [entry.image_path for entry in done.own] == ["b"]
    assert not done.flatten


def test_what_commands_see(bench: Bench) -> None:
    old = os.umask(0o077)
    try:
        bench.run(
            'id; umask; pwd; test -z "$(cat)"',
            'echo "$SOURCE_DATE_EPOCH $TZ $LC_ALL $HOME"',
            "cat /proc/net/dev; cat /proc/self/status",
            "echo x > /proc/sys/kernel/hostname && exit 1; test ! -e /etc/resolv.conf",
        )
    finally:
        os.umask(old)
    text = bench.log.path.read_text()
    assert "uid=0" in text and "0022\n" in text
    assert f"{MTIME} UTC C.UTF-8 /root\n" in text
    assert [line.split()[1] for line in text.splitlines() if ":" in line and "lo:" in line] == [
        "lo:"
    ]
    assert "eth0" not in text
    assert "CapEff:\t00000000a80425fb" in text  # Docker's default set
    assert "+ rootfs.commands[1]: echo" in text


def test_network_is_denied(bench: Bench) -> None:
    with pytest.raises(ComposeError) as caught:
        bench.run("busybox wget -O - http://192.0.2.1/")
    assert "unreachable" in " ".join(caught.value.log_tail)


def test_command_that_fails(bench: Bench, copied: bool) -> None:
    with pytest.raises(ComposeError) as caught:
        bench.run("echo fine", "echo last words; exit 3", "echo never", copied=copied)
    assert caught.value.message == "r.toml: rootfs.commands[1]: expected status 0, got 3"
    assert caught.value.exit_code == 22
    assert caught.value.log_tail[-1] == "last words"
    with pytest.raises(ComposeError, match=r"commands\[0\]: expected status 0, got 1"):
        bench.run("false; true", copied=copied)  # -e


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("mkfifo /etc/pipe", "/etc/pipe: expected a file, folder or link, got a FIFO"),
        ("echo > /etc/.wh.x", "/etc/.wh.x: expected no whiteout's name, got one"),
        (r"echo > $(printf '/etc/a\377')", r"/etc/a\udcff: expected UTF-8, got other bytes"),
        (r"echo > $(printf '/etc/a\033b')", r"/etc/a\x1bb: expected no control characters"),
        ("busybox truncate -s 100G /big", "expected changes of at most 2147483648 bytes"),
    ],
)
def test_what_no_layer_can_hold(bench: Bench, copied: bool, command: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        bench.run(command, copied=copied)
    assert message in caught.value.message
    assert caught.value.message.startswith("r.toml: rootfs.commands: ")


def test_root_without_a_shell(bench: Bench) -> None:
    bench.base = Tree(tuple(entry for entry in bench.base.entries if entry.image_path != "bin/sh"))
    with pytest.raises(ComposeError, match="expected /bin/sh in the rootfs, got nothing"):
        bench.run("true")


@pytest.mark.parametrize(
    ("limits", "command", "name"),
    [
        (Limits(wall_s=0.3), "while echo; do sleep 0.1; done", "wall"),
        (Limits(silence_s=0.3), "sleep 60", "silence"),
        (Limits(log_bytes=10000), "busybox yes", "log"),
    ],
)
def test_limits_end_a_command(bench: Bench, limits: Limits, command: str, name: str) -> None:
    message = rf"commands\[0\]: expected to stay within build.limits.{name}, got past it"
    with pytest.raises(ComposeError, match=message):
        bench.run(command, limits=limits)


def test_told_to_end(bench: Bench) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(ComposeError, match="cancelled"):
        bench.run("sleep 60", cancel=cancel)


def test_what_is_left_running_changes_nothing_later(bench: Bench) -> None:
    done = bench.compose("(sleep 1; echo late > /late) & echo soon > /soon")
    assert [entry.image_path for entry in done.own] == ["soon"]


SHELL_FILES = {
    "Makefile": "all:\ninstall:\n\tmkdir -p $(DESTDIR)/bin $(DESTDIR)/data\n"
    "\tcp $$(command -v busybox) $(DESTDIR)/bin/busybox\n"
    "\tln -s busybox $(DESTDIR)/bin/sh\n\techo data > $(DESTDIR)/data/file\n"
}
SHELL_TABLES = """
[rootfs]
base = "scratch"
users = [{ name = "root", uid = 0, gid = 0 }]
commands = ["/bin/busybox --install -s /bin"]

[image]
cmd = ["sh"]

[[check]]
exec = ["ls", "-l", "/bin/ls"]
contains = "/bin/busybox"
"""
OWNER_FILES = {
    "Makefile": "all:\ninstall:\n\tmkdir $(DESTDIR)/app\n\techo app > $(DESTDIR)/app/x\n"
}
OWNER_TABLES = """
[rootfs]
base = "shell"
users = [{ name = "app" }]
files = [{ path = "/app/conf", content = "one\\n" }]
commands = ["chown app /app/x", "sed -i s/one/two/ /app/conf", "pwd"]

[[check]]
exec = ["stat", "-c", "%U", "/app/x"]
contains = "app"

[[check]]
exec = ["cat", "/app/conf"]
contains = "two"
"""


@pytest.fixture(params=["", "other"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """A folder with two recipes, for who runs the tests and for a user without rights."""
    require("bwrap", "make")
    user = ordinary_user() if request.param else ""
    if request.param and not user:
        pytest.skip("needs root beside the ordinary user")
    with line_folder() as place:
        line = Line(place)
        line.write_config()
        line.add_recipe("shell", SHELL_FILES, SHELL_TABLES)
        line.add_recipe("owner", OWNER_FILES, OWNER_TABLES)
        yield give_to(line, user)


def layers_of(line: Line, tag: str) -> list[str]:
    manifest = json.loads(line.blob(line.tags()[tag]))
    return [layer["digest"] for layer in manifest["layers"]]


def test_whole_line(line: Line) -> None:
    line.build()
    before = line.tags()
    base, made = layers_of(line, "shell:1.0.0"), layers_of(line, "owner:1.0.0")
    assert made[: len(base)] == base
    assert "rootfs.commands[2]: pwd" in line.run("logs", "owner").out
    assert {item["status"] for item in line.build().values()} == {"unchanged"}

    line.edit("owner", '"pwd"', '"echo last words; exit 4"')
    failed = line.run("build", "owner")
    assert failed.status == 22
    assert "rootfs.commands[2]: expected status 0, got 4" in failed.err
    assert "last words" in failed.err
    assert line.tags() == before

    line.edit("owner", '"echo last words; exit 4"', '"rm /data/file"')
    line.edit(
        "owner", 'exec = ["cat", "/app/conf"]', 'exec = ["sh", "-c", "! ls /data/file && echo two"]'
    )
    line.build()
    assert line.tags()["owner:1.0.0"] != before["owner:1.0.0"]
    assert line.tags()["shell:1.0.0"] == before["shell:1.0.0"]
    assert len(layers_of(line, "owner:1.0.0")) == 1  # of the base's layers no file can be missing
