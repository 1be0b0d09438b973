"""Working in the root of an image: what is seen, what is listed, what comes back, what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.line import Line, give_to, line_folder, wait_for
from tests.support.require import require
from tests.support.shell_line import Shell, add_box
from tests.support.users import ordinary_user

pytestmark = pytest.mark.integration
WHO = {"overlay": ("", ()), "copy": ("", ("--copy",)), "user": ("other", ())}
STAT = ("stat", "-c", "%n %f %u:%g %s %Y %y", "/etc/motd", "/data/deep/two", "/data/deep", "/data")


@pytest.fixture(scope="module")
def lines() -> Iterator[dict[str, Line]]:
    """A built line for who runs the tests, and one for a user without rights."""
    require("bwrap", "make", "runc", "busybox")
    user = ordinary_user()
    with line_folder() as mine, line_folder() as theirs:
        found = {"": _built(Line(mine), "")}
        if user:
            found["other"] = _built(Line(theirs), user)
        yield found


def _built(line: Line, user: str) -> Line:
    line.write_config()
    add_box(line)
    line = give_to(line, user)
    line.build()
    return line


@pytest.fixture(params=WHO)
def shell(request: pytest.FixtureRequest, lines: dict[str, Line]) -> Iterator[Shell]:
    """A fresh workbench as root with an overlay, with a copy, and as an ordinary user."""
    who, options = WHO[request.param]
    if who not in lines:
        pytest.skip("needs root beside the ordinary user")
    shell = Shell(lines[who], options=options)
    yield shell
    shell.discard()


@pytest.fixture
def plain(lines: dict[str, Line]) -> Iterator[Shell]:
    """A fresh workbench for what is the same for all."""
    shell = Shell(lines[""])
    yield shell
    shell.discard()


def stored(line: Line) -> dict[str, int]:
    """The store's files, and those of the layer cache, with the times of their last change."""
    folders = (line.store, line.state / "layers")
    return {str(p): p.lstat().st_mtime_ns for f in folders for p in f.rglob("*") if p.is_file()}


def test_a_deleted_file_comes_back(shell: Shell) -> None:
    before, text = shell.run(*STAT), shell.run("cat", "/etc/motd")
    below = stored(shell.line)
    shell.run("rm", "/etc/motd")
    assert shell.status() == ["D /etc/motd"]
    assert shell.run("cat", "/etc/motd", status=1) == ""
    shell.restore("/etc/motd")
    assert shell.status() == []
    assert shell.run(*STAT) == before
    assert shell.run("cat", "/etc/motd") == text == "welcome\n"
    assert stored(shell.line) == below


def test_folders_made_anew_and_moved(shell: Shell) -> None:
    before = shell.look(), shell.run(*STAT)
    shell.run(script="rm -r /data; mkdir /data; echo new > /data/new; mv /srv /other; mkdir /srv")
    found = shell.status()
    assert {"D /data/one", "D /data/deep", "D /data/deep/two", "A /data/new"} <= {*found}
    assert {"A /other/web", "A /other", "D /srv/web"} <= {*found} and "D /srv" not in found
    shell.restore("/data/deep", "srv/web")
    assert not {"D /data/deep", "D /data/deep/two", "D /srv/web"} & {*shell.status()}
    assert "D /data/one" in shell.status()
    assert shell.run("cat", "/data/deep/two") == "two\n"
    shell.restore("/other")
    assert not [line for line in shell.status() if "/other" in line]
    shell.restore("/")
    assert shell.status() == []
    assert (shell.look(), shell.run(*STAT)) == before


@pytest.mark.parametrize("shell", ["overlay", "copy"], indirect=True)
def test_what_is_told(shell: Shell) -> None:
    shell.run(
        script="touch /data/one; cat /data/one > /tmp/x; cat /tmp/x > /data/one; rm /tmp/x\n"
        "chmod 600 /data/conf; chown 100:5 /data/conf; ln -sf two /data/link\n"
        "mkfifo /tmp/pipe; echo x >> /data/deep/two; rm /etc/said; mkdir /etc/said\n"
        "echo > \"$(printf '/tmp/a\\033[31mb')\"; echo > \"$(printf '/tmp/\\377')\""
    )
    found = shell.line.query("shell", "box", "--status")
    changes = {item["path"]: item for item in found["changes"]}
    assert changes["/data/conf"]["what"] == ["mode", "owner"]
    assert changes["/data/conf"]["after"]["mode"] == "0600"
    assert changes["/data/link"]["what"] == ["target"]
    assert changes["/data/deep/two"]["what"] == ["bytes"]
    assert changes["/etc/said"]["what"] == ["kind"]
    assert changes["/tmp/pipe"]["after"]["kind"] == "fifo"
    assert "/data/one" not in changes and "/data" not in changes
    told = shell.line.run("shell", "box", "--status").out
    assert "\x1b" not in told and "A /tmp/a\\x1b[31mb" in told
    shell.restore("/tmp")
    assert not [line for line in shell.status() if "/tmp" in line]


@pytest.mark.parametrize("shell", ["copy"], indirect=True)
def test_it_stays_until_it_is_discarded(shell: Shell) -> None:
    assert shell.run("sh", "-c", "echo $MODE; pwd; echo kept > /tmp/x; id -u") == (
        "test\n/srv/web\n0\n"
    )
    assert shell.run("cat", "/tmp/x") == "kept\n"
    assert shell.status() == ["A /tmp/x"]
    shell.discard()
    assert shell.status() == []
    assert not list((shell.line.state / "workbench").iterdir())


def test_links_that_lead_out_lead_nowhere(shell: Shell) -> None:
    victim = shell.line.folder / "victim"
    victim.mkdir(exist_ok=True)
    (victim / "one").write_text("mine")
    victim.chmod(0o777)
    shell.run(script=f"rm -r /data; ln -s {victim} /data; rm -r /srv; ln -s ../../../../etc /srv")
    assert "M /data" in shell.status()
    shell.restore("/data/one", "/srv/web")
    assert (victim / "one").read_text() == "mine"
    assert [path.name for path in victim.iterdir()] == ["one"]
    assert shell.run("cat", "/data/one") == "one\n"
    shell.restore("/")
    assert shell.status() == []


def processes_with(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(path.parent.name)
    return found


@contextmanager
def start(shell: Shell, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the root, which is ended where the test did not end it."""
    words = shell.line.argv("shell", shell.name, *shell.options, "--", *argv)
    child = subprocess.Popen(
        words,
        cwd=shell.line.folder,
        env=shell.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout
        child.stdout.close()


@pytest.mark.parametrize("shell", ["overlay", "user"], indirect=True)
def test_a_kill_loses_nothing_and_leaves_nothing(shell: Shell) -> None:
    word = f"9999.{os.getpid()}"
    with start(shell, "sh", "-c", f"echo done > /tmp/x; sleep {word}") as child:
        wait_for(lambda: processes_with(word))
        minid = child.pid
        if shell.line.user:  # setpriv becomes minid
            assert Path(f"/proc/{minid}/comm").read_text().startswith("python")
        child.kill()
    wait_for(lambda: not processes_with(word))
    assert str(shell.line.folder) not in Path("/proc/self/mountinfo").read_text()
    assert shell.status() == ["A /tmp/x"]


@pytest.mark.parametrize("shell", ["overlay"], indirect=True)
def test_signals_are_the_programs(shell: Shell) -> None:
    script = (
        "trap 'echo caught > /tmp/x; exit 5' INT; echo ready > /tmp/r; while :; do sleep 0.1; done"
    )
    with start(shell, "sh", "-c", script) as child:
        wait_for(lambda: "A /tmp/r" in shell.status())
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 5
    assert shell.run("cat", "/tmp/x") == "caught\n"
    word = f"8888.{os.getpid()}"
    with start(shell, "sleep", word) as child:  # has no handler, as the first of its namespace
        wait_for(lambda: len(processes_with(word)) > 1)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130


@pytest.mark.parametrize("shell", ["user"], indirect=True)
def test_two_at_once(shell: Shell) -> None:
    word = f"7777.{os.getpid()}"
    with start(shell, "sh", "-c", f"echo 1 > /tmp/first; sleep {word}") as child:
        wait_for(lambda: "A /tmp/first" in shell.status())
        shell.run("sh", "-c", "cat /tmp/first; echo 2 > /tmp/second; rm /etc/motd")
        assert shell.status() == ["D /etc/motd", "A /tmp/first", "A /tmp/second"]
        shell.restore("/etc/motd")
        assert shell.run("cat", "/etc/motd") == "welcome\n"
        refused = shell.line.run("shell", "box", "--discard")
        assert refused.status == 26 and "a shell that is open" in refused.err
        child.terminate()
        child.wait(60)
    assert shell.status() == ["A /tmp/first", "A /tmp/second"]


def test_who_came_first_leaves_last(plain: Shell) -> None:
    with start(
        plain, "sh", "-c", "echo > /tmp/in; while ! test -e /tmp/go; do sleep 0.1; done"
    ) as a:
        wait_for(lambda: "A /tmp/in" in plain.status())
        with start(plain, "sh", "-c", "echo > /tmp/go; sleep 1; echo > /tmp/late") as b:
            assert (b.wait(60), a.wait(60)) == (0, 0)
        assert a.stdout and b"waiting for their end" in a.stdout.read()
    assert plain.status() == ["A /tmp/go", "A /tmp/in", "A /tmp/late"]


def test_folders_that_lie_too_deep(plain: Shell) -> None:
    name = "d" * 200
    plain.run(script=f"cd /tmp; while mkdir {name} && cd {name}; do :; done 2> /dev/null; true")
    inner = f"cd /tmp; mv d* e; mkdir -p f/{name}/{name}; mv e f/{name}/{name}/e"
    plain.run(script=inner)
    assert plain.status()[-1].endswith("/…")
    refused = plain.line.run("shell", "box", "--keep")
    assert refused.status == 11 and "too deep" in refused.err
    plain.restore("/tmp")
    assert plain.status() == []


def test_a_damaged_workbench_is_told(plain: Shell) -> None:
    plain.run("true")
    meta = plain.line.state / "workbench" / "box:latest" / "bench.json"
    before = meta.read_bytes()
    meta.write_text('{"source": 3}')
    done = plain.line.run("shell", "box", "--status")
    assert done.status == 26 and "expected what the workbench stands on" in done.err
    meta.write_bytes(before)


def test_root_in_anothers_folder(lines: dict[str, Line]) -> None:
    if "other" not in lines:
        pytest.skip("needs root beside the ordinary user")
    done = replace(lines["other"], user="").run("shell", "box", "--status")
    assert done.status == 30 and "expected to be run as" in done.err


def test_a_status_of_its_own(plain: Shell) -> None:
    plain.run("sh", "-c", "exit 7", status=7)
    plain.run("no-such-program", status=127)
    plain.run("/etc/passwd", status=126)
    plain.run(script="kill -9 $$; exit 3", status=3)
    assert plain.run("sh", "-c", "read line; echo $line", script="hello\n") == "hello\n"
    binary = bytes(range(256)) * 5000
    plain.run("sh", "-c", "cat > /tmp/bytes", script=binary)
    assert plain.run("sh", "-c", "wc -c < /tmp/bytes").strip() == str(len(binary))
    assert plain.run("id", "-u") == "0\n"
    user = replace(plain, options=("-u", "web"))
    assert user.run("id", "-u") == "100\n"


def test_bad_wishes(plain: Shell) -> None:
    for words, text in (
        (("nosuch",), "expected an image"),
        (("box", "--restore", "/x"), "expected a workbench"),
        (("--run", "999"), "expected the number of a run"),
        (("--run", "9" * 30), "expected the number of a run"),
        ((os.fsdecode(b"\xff"),), "expected an image"),
        ((), "expected NAME or --run"),
    ):
        done = plain.line.run("shell", *words)
        assert done.status == 2 and text in done.err, done.err
    plain.run("true")
    done = plain.line.run("shell", "box", "--restore", "/etc/motd", "/nothing/there")
    assert done.status == 2 and "expected a path of the root" in done.err
    plain.run("touch", "/tmp/mine")
    done = plain.line.run("shell", "box", "--restore", "")  # nobody's wish to lose all
    assert done.status == 2 and "expected a path, got nothing" in done.err
    assert plain.run("ls", "/tmp/mine") == "/tmp/mine\n"
    plain.restore("/")


def test_a_terminal(plain: Shell) -> None:
    require("python3")
    done = subprocess.run(
        [plain.line.python, "-c", TERMINAL, *plain.line.argv("shell", "box")],
        cwd=plain.line.folder,
        env=plain.environ(),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr


TERMINAL = r"""
import fcntl, os, pty, select, signal, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
def size(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
def until(word):
    seen, end = b"", time.time() + 20
    while word not in seen:
        assert time.time() < end, (word, seen)
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 4096)
def say(text):
    os.write(fd, text)
size(33, 101)
until(b"# ")
say(b"stty size; tty\n"); until(b"33 101")
size(40, 90)
# The first may come before the size does.
say(b"until stty size | grep '40 90'; do sleep 0.1; done\n"); until(b"40 90\r\n")
# What is typed is not what is said: the shell has begun to run it.
asleep = b"sh -c 'echo be''gun; exec sleep 1234'\n"
say(asleep); until(b"begun")
say(b"\x03"); until(b"# ")
say(b"echo status $?\n"); until(b"status 130")
say(asleep); until(b"begun")
say(b"\x1a"); until(b"Stopped")
say(b"kill %1; echo gone\n"); until(b"gone\r\n")
say(b"rm /etc/motd; exit 9\n"); time.sleep(0.3)
try:
    say(b"exit 9\n")
    while os.read(fd, 4096): pass
except OSError:
    pass
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
"""
