"""What a hostile build tries, and must not get. Runs as root and as an ordinary user."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.host import launch
from minid.host.sandbox import (
    SandboxResult,
    SandboxSpec,
    build_identity,
    host_environment,
    run_sandbox,
)
from minid.model import Limits
from tests.support.line import wait_for
from tests.support.require import require

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]
PYTHON = Path("/usr/bin/python3")
LIMITS = Limits(wall_s=30, silence_s=30)


class Prison:
    """A job folder and a way to run commands in a sandbox on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.identity = build_identity("")
        self.text = b""
        for part in (folder / "src", self.out):
            part.mkdir(parents=True)
            if self.identity.uid is not None:
                os.chown(part, self.identity.uid, self.identity.gid or 0)

    def spec(self, *argv: str, limits: Limits = LIMITS) -> SandboxSpec:
        return SandboxSpec(
            environment=host_environment(Digest.of(b"")),
            argv=argv,
            binds=((self.folder / "src", "/build/src", True), (self.out, "/build/out", True)),
            limits=limits,
        )

    def run(self, *argv: str, cancel: threading.Event | None = None, **limits) -> SandboxResult:
        self.text = b""
        spec = self.spec(*argv, limits=replace(LIMITS, **limits))
        return run_sandbox(spec, self.identity, output=self._hear, cancel=cancel)

    def sh(self, script: str, **limits) -> SandboxResult:
        return self.run("sh", "-uc", script, **limits)

    def python(self, script: str, **limits) -> SandboxResult:
        if not PYTHON.exists():
            pytest.skip(f"{PYTHON} is not there")
        return self.run(str(PYTHON), "-c", textwrap.dedent(script), **limits)

    def _hear(self, chunk: bytes) -> None:
        self.text += chunk


@pytest.fixture
def prison(tmp_path: Path) -> Prison:
    require("bwrap")
    return Prison(tmp_path / "job")


def grows(file: Path) -> bool:
    """Whether somebody still writes to the file."""
    before = file.stat().st_size
    time.sleep(0.5)
    return file.stat().st_size != before


# What it may do: without this the refusals below would prove nothing.


def test_a_build_may_write_its_folders_and_compile(prison: Prison):
    result = prison.sh("echo hi > /build/out/x && echo t > /tmp/t && echo s > /dev/shm/s && pwd")
    assert (result.status, result.ended_by) == (0, "")
    assert prison.text == b"/build/src\n"
    assert (prison.out / "x").read_text() == "hi\n"
    assert (prison.out / "x").stat().st_uid == (prison.identity.uid or os.getuid())


def test_the_status_is_the_commands(prison: Prison):
    assert prison.sh("exit 7").status == 7
    assert prison.sh("kill -TERM $$").status == 128 + 15


def test_it_is_nobody_without_rights(prison: Prison):
    prison.sh("id -u; id -G; grep -E '^Cap|NoNewPrivs' /proc/self/status")
    uid, groups, *rest = prison.text.decode().split("\n")
    assert uid == "1000"
    assert set(groups.split()) <= {"1000", "65534"}
    assert [line.split()[1].strip("0") for line in rest if line] == ["", "", "", "", "", "1"]


# Files


@pytest.mark.parametrize(
    "command",
    [
        "touch /usr/minid-was-here",
        "rm /usr/bin/env",
        "chmod 4755 /usr/bin/env",
        "mkdir /new",
        "touch /dev/file",
        "touch /etc/file",
        "echo x > /etc/passwd",
        "cat /etc/shadow",
        "ls /root",
        "ls /home",
        "ls /var",
        "ls /sys",
        "ls /run",
        "test -S /var/run/docker.sock || test -S /run/docker.sock",
        "cat /proc/1/root/etc/shadow",
        "ls /proc/1/root/root",
        "cat /proc/kcore | head -c 1 | grep .",
        "echo 1 > /proc/sys/kernel/core_uses_pid",
        "echo b > /proc/sysrq-trigger",
        "mknod /build/out/disk b 8 0",
        "chown 0 /build/out",
        "mount -t tmpfs none /build/src",
        "mount --bind /build/src /usr",
        "umount /usr",
        "umount -l /proc",
        "unshare -U true",
        "unshare -m true",
        "unshare -n true",
        "chroot / true",
        "hostname changed",
        "ip link add dummy0 type dummy",
        "renice -n -5 $$",
        "sh -c ': < /dev/tty'",
    ],
)
def test_a_command_is_refused(prison: Prison, command: str):
    result = prison.sh(f"{{ {command}; }} 2>&1 && echo SUCCEEDED; true")
    assert result.status == 0, prison.text
    assert b"SUCCEEDED" not in prison.text


def test_a_setuid_file_gives_nobody_rights(prison: Prison):
    prison.sh("cp /usr/bin/env /build/out/env; chmod 4755 /build/out/env")
    assert (prison.out / "env").stat().st_uid != 0 or os.getuid() == 0 == prison.identity.uid


def test_inherited_descriptors_are_shut(prison: Prison):
    secret = os.open("/etc/passwd", os.O_RDONLY)
    high = os.dup2(secret, 57, inheritable=True)
    os.set_inheritable(secret, True)
    try:
        prison.sh("for fd in /proc/[0-9]*/fd/*; do readlink $fd; done")
    finally:
        os.close(secret)
        os.close(high)
    kinds = {
        line.partition(":[")[0].partition(":")[0] for line in prison.text.decode().splitlines()
    }
    # The eventfd is bwrap's own, by which its first process tells the status.
    assert kinds <= {"/dev/null", "pipe", "anon_inode"}


# Processes and signals


def test_the_machines_processes_are_out_of_sight_and_reach(prison: Prison):
    host = os.getpid()
    prison.sh(f"ls /proc | grep -c '^[0-9]'; kill -0 {host} && echo SUCCEEDED")
    assert int(prison.text.split()[0]) < 10
    assert b"SUCCEEDED" not in prison.text


def test_ptrace_reaches_no_process_of_the_machine(prison: Prison):
    prison.python(
        f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        for pid in ({os.getpid()}, {os.getppid()}):
            print(libc.ptrace(16, pid, 0, 0), ctypes.get_errno())
        """
    )
    assert prison.text.split() == [b"-1", b"3"] * 2


def test_nothing_can_be_typed_into_a_terminal(prison: Prison):
    primary, secondary = os.openpty()
    try:
        # Even a terminal at hand is none of the session's own.
        prison.python(
            """
            import fcntl, os, termios
            for path in ("/dev/tty", "/dev/console", "/proc/1/fd/0", "/dev/stdout"):
                try:
                    fd = os.open(path, os.O_RDWR)
                    fcntl.ioctl(fd, termios.TIOCSTI, b"x")
                    print("SUCCEEDED")
                except OSError as error:
                    print(type(error).__name__)
            print(os.getsid(0) in (0, 1, os.getppid(), os.getpid()))
            """
        )
    finally:
        os.close(primary)
        os.close(secondary)
    assert b"SUCCEEDED" not in prison.text
    assert prison.text.strip().endswith(b"True")


# Network


def test_a_tcp_server_of_the_machine_is_out_of_reach(prison: Prison):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 1):
            server.accept()[0].close()
        server.settimeout(0.2)
        prison.python(
            f"""
            import socket
            try:
                socket.create_connection(("127.0.0.1", {port}), 2)
                print("SUCCEEDED")
            except OSError as error:
                print(error.errno)
            print([name for _, name in socket.if_nameindex()])
            """
        )
        with pytest.raises(TimeoutError):
            server.accept()
    assert prison.text.split() == [b"111", b"['lo']"]


def test_an_abstract_socket_of_the_machine_is_out_of_reach(prison: Prison):
    name = f"\0minid-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        prison.python(
            f"""
            import socket
            try:
                socket.socket(socket.AF_UNIX).connect({name!r})
                print("SUCCEEDED")
            except OSError as error:
                print(error.errno)
            """
        )
    assert prison.text.strip() == b"111"


# Survival


SURVIVOR = "(setsid sh -c 'while :; do echo x >> /build/out/alive; sleep 0.05; done' {}) & "


@pytest.mark.parametrize("outputs", ["", ">/dev/null 2>&1 </dev/null"])
def test_a_double_fork_does_not_outlive_the_build(prison: Prison, outputs: str):
    result = prison.sh(SURVIVOR.format(outputs) + "sleep 0.3; exit 0")
    assert (result.status, result.ended_by) == (0, "")
    assert result.seconds < 5
    assert (prison.out / "alive").stat().st_size > 0
    assert not grows(prison.out / "alive")


def test_cancelling_ends_everything(prison: Prison):
    cancel = threading.Event()
    threading.Timer(0.7, cancel.set).start()
    result = prison.run("sh", "-c", SURVIVOR.format("") + "wait; sleep 60", cancel=cancel)
    assert result.ended_by == "cancelled"
    assert result.seconds < 5
    assert not grows(prison.out / "alive")


def test_ignored_signals_do_not_help(prison: Prison):
    script = "trap '' TERM INT HUP QUIT; " + SURVIVOR.format("") + "while :; do sleep 1; done"
    result = prison.sh(script, wall_s=1)
    assert result.ended_by == "wall"
    assert result.seconds < 5
    assert not grows(prison.out / "alive")


@pytest.mark.parametrize("target", ["$$", "1", "-1"])
def test_stopped_processes_die_too(prison: Prison, target: str):
    result = prison.sh(f"kill -STOP {target}; sleep 60", wall_s=1)
    assert result.ended_by == "wall"
    assert result.seconds < 5


def test_nothing_outlives_minid(prison: Prison):
    script = f"""
        import sys
        sys.path[:0] = [{str(REPOSITORY)!r}]
        from pathlib import Path
        from minid.formats.digest import Digest
        from minid.host.sandbox import *
        from minid.host.sandbox import host_environment
        job = Path({str(prison.folder)!r})
        spec = SandboxSpec(host_environment(Digest.of(b"")),
            ("sh", "-c", {SURVIVOR.format("") + "sleep 60"!r}),
            binds=((job / "src", "/build/src", True), (job / "out", "/build/out", True)))
        run_sandbox(spec, build_identity(""), output=lambda chunk: None)
        """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        wait_for((prison.out / "alive").exists)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    wait_for(lambda: not grows(prison.out / "alive"), 10)
    assert (prison.out / "alive").stat().st_size > 0


# Bombs


def test_a_fork_bomb_is_ended(prison: Prison):
    result = prison.run("perl", "-e", "fork while 1", processes=100, wall_s=20)
    assert result.ended_by == "processes"
    assert result.seconds < 15


def test_a_memory_bomb_is_ended(prison: Prison):
    bomb = 'my @a; push @a, "x" x 1048576 while 1'
    result = prison.run("perl", "-e", bomb, memory_bytes=256 << 20)
    assert result.ended_by == "memory"
    assert result.seconds < 15
    assert result.peak_bytes and result.peak_bytes > 200 << 20


def test_memory_of_many_processes_counts_together(prison: Prison):
    bomb = "for i in 1 2 3 4 5 6; do perl -e '$x = \"x\" x (60 << 20); sleep 60' & done; wait"
    result = prison.sh(bomb, memory_bytes=256 << 20)
    assert result.ended_by == "memory"
    assert result.seconds < 15


def test_shared_memory_is_not_counted_as_often_as_it_is_shared(prison: Prison):
    script = "$x = 'x' x (100 << 20); fork for 1..3; select undef, undef, undef, 1"
    result = prison.run("perl", "-e", script, memory_bytes=400 << 20)
    assert (result.status, result.ended_by) == (0, "")


def test_a_disk_bomb_is_ended(prison: Prison):
    bomb = "i=0; while :; do i=$((i+1)); head -c 8000000 /dev/zero > /build/out/$i; done"
    result = prison.sh(bomb, disk_bytes=64 << 20)
    assert result.ended_by == "disk"
    assert result.seconds < 15


def test_one_big_file_is_refused(prison: Prison):
    result = prison.sh("head -c 100000000 /dev/zero > /build/out/big", file_bytes=1 << 20)
    assert result.ended_by == "file"
    assert (prison.out / "big").stat().st_size <= 1 << 20


def test_a_bomb_of_inodes_is_ended(prison: Prison):
    bomb = "i=0; while :; do i=$((i+1)); : > /build/out/$i; done"
    result = prison.sh(bomb, inodes=2000)
    assert result.ended_by == "inodes"
    assert result.seconds < 15


def test_a_bottomless_folder_is_ended(prison: Prison):
    bomb = """
        import os
        while True:
            os.mkdir("d")
            os.chdir("d")
        """
    result = prison.python(bomb, wall_s=20)
    subprocess.run(["rm", "-rf", prison.folder / "src"], check=True)  # too deep for pytest
    assert result.ended_by == "inodes"


def test_temporary_folders_are_bounded(prison: Prison):
    script = "head -c 9000000 /dev/zero > {}; test $? -ne 0"
    for place in ("/tmp/x", "/dev/shm/x"):
        assert prison.sh(script.format(place), tmp_bytes=1 << 20).status == 0


def test_a_log_bomb_is_ended_and_cut(prison: Prison):
    result = prison.run("yes", log_bytes=100_000)
    assert result.ended_by == "log"
    assert len(prison.text) == 100_000
    assert result.seconds < 5


def test_silence_is_ended(prison: Prison):
    result = prison.sh("echo start; sleep 60", silence_s=1)
    assert result.ended_by == "silence"
    assert prison.text == b"start\n"
    assert result.seconds < 5


def test_processor_time_is_bounded_over_all_processes(prison: Prison):
    result = prison.sh("while :; do :; done & while :; do :; done & wait", cpu_s=2, wall_s=20)
    assert result.ended_by == "cpu"
    assert result.seconds < 10
    assert result.cpu_s >= 1


# Fallbacks


def test_the_filter_refuses_user_namespaces_and_nothing_else(tmp_path: Path):
    require("bwrap")
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is not there")
    identity = build_identity("")
    script = textwrap.dedent(
        """
        import ctypes, os, threading
        libc = ctypes.CDLL(None, use_errno=True)
        def call(number, *words):
            got = libc.syscall(number, *words)
            return ctypes.get_errno() if got < 0 else 0
        clone, unshare = {"x86_64": (56, 272), "aarch64": (220, 97)}[os.uname().machine]
        print(call(unshare, 0x10000000), call(clone, 0x10000000, 0, 0, 0, 0), call(435, 0, 0))
        threading.Thread(target=print, args=("thread",)).start()
        os.waitpid(os.spawnlp(os.P_NOWAIT, "true", "true"), 0)
        print("alive", call(unshare, 0x400))
        """
    )
    (tmp_path / "filter").write_bytes(launch.userns_filter(os.uname().machine))
    with (tmp_path / "filter").open("rb") as stream:
        done = subprocess.run(
            [
                "bwrap",
                "--ro-bind",
                "/",
                "/",
                "--seccomp",
                str(stream.fileno()),
                PYTHON,
                "-c",
                script,
            ],
            pass_fds=[stream.fileno()],
            user=identity.uid,
            group=identity.gid,
            capture_output=True,
            check=True,
        )
    assert done.stdout.split() == [b"1", b"1", b"38", b"thread", b"alive", b"0"]


def test_a_folder_below_a_private_one_can_be_bound(tmp_path: Path):
    require("bwrap")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    prison = Prison(private / "job")
    assert prison.sh("echo hi > /build/out/x").status == 0
    assert (prison.out / "x").read_text() == "hi\n"
