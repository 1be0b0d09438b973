"""What was tried by hand becomes recipe lines, and the build gives what the workbench had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.line import Line, line_folder
from tests.support.require import demand_or_skip, require
from tests.support.shell_line import Shell, add_box

pytestmark = pytest.mark.integration
ALL = """
echo 'bob:x:1000:1000:Bob:/srv/bob:/bin/sh' >> /etc/passwd; cp /etc/group /etc/group-
echo bob:x:1000: >> /etc/group; echo 'bob:!:20000:0:99999:7:::' >> /etc/shadow
mkdir -p /srv/bob/deep /var/empty; chown bob /srv/bob; chmod 2750 /var/empty
echo small > /srv/bob/deep/x; chown web:bob /srv/bob/deep/x; chmod 4755 /srv/bob/deep/x
head -c 5000 /dev/urandom > /srv/rand
printf 'one\\n{version}\\n' > /srv/braces
ln -s /srv/bob /bob; ln -sf /etc/passwd /data/link
sed -i 's/beta = 2/beta = two/' /data/conf
echo more >> /data/one
rm /data/deep/two /etc/said
chmod 700 /srv/web
"""


@pytest.fixture
def shell() -> Iterator[Shell]:
    require("bwrap", "make", "runc", "busybox")
    with line_folder() as place:
        line = Line(place)
        line.write_config()
        add_box(line)
        line.build()
        yield Shell(line)


def kept(shell: Shell) -> str:
    """The recipe's text after --keep, which must succeed."""
    done = shell.line.run("shell", shell.name, "--keep")
    assert done.status == 0, done.out + done.err
    return shell.line.recipe("box").read_text()


def without_backups(listing: list[str]) -> list[str]:
    """Without what adduser leaves beside the accounts, and the day that it writes there."""
    return [line for line in listing if "/etc/shadow" not in line and "-|" not in line
            and not line.endswith(("/group-", "/passwd-"))]  # fmt: skip


def test_the_build_gives_what_the_workbench_had(shell: Shell) -> None:
    shell.run(script=ALL)
    before = without_backups(shell.look())
    text = kept(shell)
    assert shell.status() == []
    assert without_backups(shell.look()) == before
    for line in (
        "# who there is",
        'name = "bob", uid = 1000',
        '{ path = "/srv/bob", owner = "bob"',
        '{ path = "/var/empty", mode = "2750" }',
        'owner = "web", group = "bob", mode = "4755"',
        '{ rule = "setuid", reason = "the mode was set by hand in the workbench", paths = [',
        'source = "rand"',
        'source = "braces"',
        '"/bob" = "/srv/bob"',
        'remove = ["/data/deep/two"]',
        'replace = "beta = 2"',
        'append = "more\\n"',
    ):
        assert line in text, text
    assert "/etc/said" not in text  # the line that made it is gone
    assert "bob:!:" in shell.run("cat", "/etc/shadow")


def test_folders_that_became_files_and_back(shell: Shell) -> None:
    shell.run(script="rm -r /data; echo file > /data; rm /etc/motd; mkdir /etc/motd")
    before = shell.look()
    kept(shell)
    assert shell.look() == before


def test_again_and_again(shell: Shell) -> None:
    shell.run(script="sed -i s/alpha/first/ /data/conf; echo 1 > /srv/x")
    kept(shell)
    shell.run(script="sed -i s/gamma/third/ /data/conf; echo 2 > /srv/x; rm /etc/motd /etc/said")
    before = shell.look()
    text = kept(shell)
    assert shell.look() == before
    assert text.count('"/srv/x"') == 1 and text.count('"/data/conf"') == 2
    shell.run("rm", "/data/conf")
    assert '"/data/conf"' in kept(shell)
    assert shell.run("ls", "/data").split() == ["deep", "link", "one"]


UNFIT = {
    "mkfifo /srv/pipe": "/srv/pipe: expected a file, folder or link, got a fifo",
    "echo > \"$(printf '/srv/a\\033b')\"": "/srv/a\\x1bb: expected a name that a recipe",
    "ln -s x /srv/l; chown -h 5 /srv/l": "/srv/l: expected a link of root, got one of 5:0",
}


def test_what_no_recipe_says(shell: Shell) -> None:
    before = shell.line.recipe("box").read_bytes()
    for script, text in UNFIT.items():
        shell.run(script=f"{script}; echo x > /srv/fine")
        done = shell.line.run("shell", "box", "--keep")
        assert done.status == 11 and text in done.err, done.err
        assert shell.line.recipe("box").read_bytes() == before
        assert "A /srv/fine" in shell.status()
        shell.restore("/srv")


def test_a_build_that_fails_takes_nothing(shell: Shell) -> None:
    before, tags = shell.line.recipe("box").read_bytes(), shell.line.tags()
    shell.run(script="rm /bin/cat; head -c 3000 /dev/urandom > /srv/rand")
    done = shell.line.run("shell", "box", "--keep")
    assert done.status == 24 and "as it was before" in done.err, done.err
    assert shell.line.recipe("box").read_bytes() == before
    assert not list((shell.line.folder / "recipes").glob("box/*"))
    assert shell.line.tags() == tags
    assert "D /bin/cat" in shell.status()
    # The root that the failed run had reached can be entered.
    number = next(row["run"] for row in runs_of(shell.line) if row["status"] == "failed")
    run = Shell(shell.line, "box", ("--run", str(number)))
    assert run.run("ls", "/srv").split() == ["rand", "web"]
    assert run.run("cat", "/etc/motd", status=127) == ""
    # A recipe that cannot be read is told as that.
    shell.line.recipe("box").write_bytes(before + b"x")
    for words in (("shell", "box", "--keep"), ("probe", "box", "--apply")):
        done = shell.line.run(*words)
        assert done.status == 11 and "expected valid TOML" in done.err, done.err


def runs_of(line: Line) -> list[dict[str, object]]:
    import sqlite3

    with sqlite3.connect(line.state / "records.sqlite") as records:
        rows = records.execute("SELECT id, status FROM runs").fetchall()
    return [{"run": number, "status": status} for number, status in rows]


def test_what_commands_made_is_theirs(shell: Shell) -> None:
    shell.line.edit("box", "links = {", 'commands = ["echo made > /data/made"]\nlinks = {')
    shell.line.build()
    shell.run(script="echo x > /srv/fine; echo more >> /data/made")
    done = shell.line.run("shell", "box", "--keep")
    assert done.status == 11 and "/data/made: expected what lines lay" in done.err
    shell.restore("/data/made")
    assert 'path = "/srv/fine"' in kept(shell)
    assert shell.run("cat", "/srv/fine", "/data/made") == "x\nmade\n"


def test_a_name_that_moved_is_told(shell: Shell) -> None:
    shell.run("touch", "/tmp/mine")
    shell.line.edit("box", "welcome", "good day")
    shell.line.build()
    done = shell.line.run("shell", "box", "--status")
    assert "the workbench stands on" in done.err and done.out == "A /tmp/mine\n"
    assert shell.line.query("shell", "box", "--status")["moved"] is True
    assert shell.run("cat", "/etc/motd") == "welcome\n"
    assert 'path = "/tmp/mine"' in kept(shell)
    assert shell.run("cat", "/etc/motd") == "good day\n"


def test_tools_are_at_hand_and_no_change(shell: Shell) -> None:
    require("strace")
    tools = Shell(shell.line, "box", ("--tools",))
    out = tools.run("sh", "-c", "strace -e trace=execve true 2>&1; ldd /bin/busybox")
    assert "exited with 0" in out and "statically linked" in out
    assert tools.run("sh", "-c", "echo x > /dev/minid/tools/x 2>&1 || echo no").endswith("no\n")
    if "busybox" not in tools.run("ls", "/dev/minid/tools/bin"):
        demand_or_skip("busybox-static", "no static busybox to bring along")
    tools.run("rm", "-r", "/bin")
    assert tools.run(script="ls /\n").split()[0] == "data"
    assert not [line for line in tools.status() if "minid" in line]
