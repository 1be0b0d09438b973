"""The program between minid and bwrap: what it sets up, and what it takes away."""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

import pytest

from minid.host import launch
from minid.host.namespace import DATA_FD, LaunchJob, start_launch
from minid.host.sandbox import build_identity

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
NEWUSER = 0x10000000


def run_job(script: str, **job) -> tuple[str, str]:
    """Output of a shell script that was started through launch.py, and what launch.py told."""
    read, write = os.pipe()
    try:
        child = start_launch(LaunchJob(argv=("sh", "-c", script), **job), build_identity(""), write)
        os.close(write)
        assert child.stdout is not None
        with child:
            output = child.stdout.read().decode()
        return output, os.read(read, 4096).decode()
    finally:
        os.close(read)


def test_descriptors_are_placed_and_all_others_closed(tmp_path: Path):
    one = os.open(tmp_path, os.O_RDONLY)
    try:
        output, told = run_job("ls /proc/self/fd; readlink /proc/self/fd/9", fds=((one, 9),))
    finally:
        os.close(one)
    *numbers, nine = output.split()
    # 3 is the folder that ls itself reads.
    assert (set(numbers), nine, told) == ({"0", "1", "2", "3", "9"}, str(tmp_path), "")


def test_descriptors_may_trade_places(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = (os.open(tmp_path / name, os.O_RDONLY) for name in "ab")
    try:
        output, _ = run_job(f"readlink /proc/self/fd/{a} /proc/self/fd/{b}", fds=((a, b), (b, a)))
    finally:
        os.close(a)
        os.close(b)
    assert [Path(line).name for line in output.split()] == ["b", "a"]


def test_texts_appear_as_descriptors():
    output, _ = run_job(
        f"cat /proc/self/fd/{DATA_FD} /proc/self/fd/{DATA_FD + 1}", data=("first\n", "zweité\n")
    )
    assert output == "first\nzweité\n"


def test_rights_and_surroundings_are_taken_away(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    output, _ = run_job("umask; env | cut -d= -f1; grep -E 'CapEff|NoNewPrivs' /proc/self/status")
    umask, *names, capabilities, privileges = output.splitlines()
    assert umask == "0022"
    assert set(names) <= {"PWD", "_", "SHLVL", "OLDPWD"}
    assert int(capabilities.split()[1], 16) == 0
    assert privileges.split()[1] == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_root_becomes_the_build_user():
    output, _ = run_job("grep -E '^(Uid|Gid|Groups|CapBnd)' /proc/self/status")
    identity = build_identity("")
    uids, gids, groups, bound = (line.split()[1:] for line in output.splitlines())
    assert set(uids) == {str(identity.uid)}
    assert set(gids) == {str(identity.gid)}
    assert groups == []
    assert int(bound[0], 16) == 0


def test_limits_are_set_hard_and_soft():
    output, _ = run_job("ulimit -Sn; ulimit -Hn", limits=(("RLIMIT_NOFILE", 77),))
    assert output.split() == ["77", "77"]


def test_a_limit_above_the_allowed_one_is_cut():
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    output, told = run_job("ulimit -Hn", limits=(("RLIMIT_NOFILE", allowed + 1),))
    assert (output.strip(), told) == (str(allowed), "")


def test_a_script_may_be_as_long_as_the_kernel_takes():
    output, told = run_job("#" + "x" * 120_000 + "\necho ran", data=("y" * 200_000,))
    assert (output, told) == ("ran\n", "")


def test_a_failure_is_told():
    output, told = run_job("echo ran", cgroups=("/nonexistent/cgroup.procs",))
    assert output == ""
    assert "/nonexistent/cgroup.procs" in told


def run_filter(machine: str, arch: int, number: int, flags: int) -> int:
    """What the kernel's interpreter of classic BPF would give for a call."""
    program = list(struct.iter_unpack("HBBI", launch.userns_filter(machine)))
    data = struct.pack("<iIQ6Q", number, arch, 0, flags, *[0] * 5)
    at, register = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            register = struct.unpack_from("<I", data, value)[0]
            continue
        tests = {0x15: register == value, 0x35: register >= value, 0x45: bool(register & value)}
        at += if_true if tests[code] else if_false


@pytest.mark.parametrize(
    ("machine", "arch", "clone", "unshare"),
    [("x86_64", 0xC000003E, 56, 272), ("aarch64", 0xC00000B7, 220, 97)],
)
def test_the_filter_refuses_user_namespaces(machine: str, arch: int, clone: int, unshare: int):
    for number in (clone, unshare):
        assert run_filter(machine, arch, number, NEWUSER) == EPERM
        assert run_filter(machine, arch, number, NEWUSER | 0x20000) == EPERM
        assert run_filter(machine, arch, number, 0x3D0F00) == ALLOW
    assert run_filter(machine, arch, 435, 0) == ENOSYS
    assert run_filter(machine, arch, 1, NEWUSER) == ALLOW


def test_the_filter_kills_foreign_calls():
    assert run_filter("x86_64", 0x40000003, 1, 0) == KILL  # i386
    assert run_filter("x86_64", 0xC000003E, 0x40000000 + 272, NEWUSER) == KILL  # x32


def test_an_unknown_machine_has_no_filter():
    with pytest.raises(ValueError, match="riscv64"):
        launch.userns_filter("riscv64")
