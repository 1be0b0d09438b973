"""The sandbox's command line as a value, whom it runs as, and what the watch measures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minid.errors import HostError
from minid.formats.digest import Digest
from minid.host import jobserver
from minid.host.enclosure import bind_sources, sandbox_data, sandbox_environ
from minid.host.namespace import DATA_FD
from minid.host.process_table import parse_stat
from minid.host.sandbox import (
    BUILD_UID,
    BuildIdentity,
    SandboxSpec,
    build_identity,
    host_environment,
    run_sandbox,
    sandbox_argv,
)
from minid.host.watch import measure_disk
from minid.model import Environment, Limits

HOST = host_environment(Digest.of(b""))


@pytest.fixture
def tree(tmp_path: Path) -> Environment:
    """A small root file system."""
    for name in ("usr/bin", "usr/lib", "opt", "var/lib", "root", "etc"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    for name in ("passwd", "group"):
        (tmp_path / "tree/etc" / name).touch()
    (tmp_path / "tree/bin").symlink_to("usr/bin")
    (tmp_path / "tree/lib64").symlink_to("/nowhere")
    return Environment("debian", "debian", str(tmp_path / "tree"), Digest.of(b""))


def options(argv: list[str], name: str, count: int) -> list[tuple[str, ...]]:
    """The values of every use of an option that takes `count` of them."""
    return [tuple(argv[at + 1 : at + 1 + count]) for at, word in enumerate(argv) if word == name]


def test_everything_is_unshared_and_dropped():
    argv = sandbox_argv(SandboxSpec(HOST, ("true",)))
    assert argv[:4] == ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns"]
    for word in ("--new-session", "--die-with-parent", "--clearenv"):
        assert word in argv
    assert options(argv, "--uid", 1) == options(argv, "--gid", 1) == [("1000",)]
    assert options(argv, "--cap-drop", 1) == [("ALL",)]
    assert "--share-net" not in argv


def test_words_of_the_command_are_never_options():
    argv = sandbox_argv(SandboxSpec(HOST, ("--bind", "/", "/", "$(id)")))
    assert argv[argv.index("--") + 1 :] == ["--bind", "/", "/", "$(id)"]


def test_equal_specifications_give_equal_lines(tmp_path: Path):
    spec = SandboxSpec(HOST, ("true",), ((tmp_path, "/build/src", True),), (("A", "b"),))
    assert sandbox_argv(spec) == sandbox_argv(spec)


def test_binds_are_writable_only_where_asked(tmp_path: Path):
    binds = ((tmp_path / "a", "/build/src", True), (tmp_path / "b", "/sysroot", False))
    argv = sandbox_argv(SandboxSpec(HOST, ("true",), binds))
    assert options(argv, "--bind", 2) == [(str(tmp_path / "a"), "/build/src")]
    assert (str(tmp_path / "b"), "/sysroot") in options(argv, "--ro-bind", 2)


def test_tmpfs_sizes_are_bounded_and_the_root_is_read_only():
    argv = sandbox_argv(SandboxSpec(HOST, ("true",), limits=Limits(tmp_bytes=4096)))
    for at in [at for at, word in enumerate(argv) if word == "--tmpfs"]:
        assert argv[at - 2 : at] == ["--size", "4096"]
    assert options(argv, "--remount-ro", 1) == [("/dev",), ("/",)]


def test_the_environment_variables_are_fixed_but_for_the_given():
    environ = sandbox_environ(SandboxSpec(HOST, ("true",), environ=(("TZ", "UTC0"), ("X", "1"))))
    assert environ == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC0",
        "X": "1",
    }


def test_the_machine_shows_its_toolchain_only():
    argv = sandbox_argv(SandboxSpec(HOST, ("true",)))
    sources = {source for source, _ in options(argv, "--ro-bind", 2)}
    assert "/usr" in sources
    assert not sources & {"/", "/etc", "/home", "/root", "/var", "/run", "/sys", "/opt"}
    assert ("/etc/ld.so.cache", "/etc/ld.so.cache") in options(argv, "--ro-bind-try", 2)


def test_a_tree_is_shown_whole_but_for_what_the_sandbox_has_itself(tree: Environment):
    argv = sandbox_argv(SandboxSpec(tree, ("true",)))
    targets = [target for _, target in options(argv, "--ro-bind", 2)]
    assert sorted(targets) == ["/etc", "/opt", "/usr"]
    links = options(argv, "--symlink", 2)
    assert links == [("usr/bin", "/bin"), ("/nowhere", "/lib64")]


def test_links_of_a_tree_are_no_bind_sources(tree: Environment):
    names = {path.name for path in bind_sources(SandboxSpec(tree, ("true",)))}
    assert {"usr", "etc"} <= names
    assert not names & {"bin", "lib64"}


def test_a_linked_etc_is_not_followed(tree: Environment, tmp_path: Path):
    etc = Path(tree.root) / "etc"
    etc.rename(tmp_path / "elsewhere")
    etc.symlink_to("/root")
    with pytest.raises(HostError, match="expected a folder, got a symlink"):
        sandbox_argv(SandboxSpec(tree, ("true",)))


def test_only_files_that_a_tree_has_are_covered(tree: Environment):
    targets = [target for target, _, _ in sandbox_data(SandboxSpec(tree, ("true",)))]
    assert targets == ["/etc/passwd", "/etc/group"]


def test_a_jobserver_brings_its_make():
    spec = SandboxSpec(HOST, ("true",), jobserver=(30, 31))
    assert sandbox_environ(spec)["PATH"].startswith("/minid/bin:/usr/local/sbin")
    assert sandbox_environ(spec)["MAKEFLAGS"] == " -j --jobserver-auth=8,9"
    data = sandbox_data(spec)
    at = [target for target, _, _ in data].index("/minid/bin/make")
    assert data[at] == ("/minid/bin/make", "0755", jobserver.SHIMS["make"])
    numbers = dict(map(reversed, options(sandbox_argv(spec), "--ro-bind-data", 2)))
    assert numbers["/minid/bin/make"] == str(DATA_FD + at)


def test_nobody_builds_as_root():
    if os.geteuid() != 0:
        assert build_identity("root") == BuildIdentity(None, None)
        return
    assert build_identity("") == BuildIdentity(BUILD_UID, BUILD_UID)
    for user in ("root", "0"):
        with pytest.raises(HostError, match="expected an unprivileged user"):
            build_identity(user)
    with pytest.raises(HostError, match="expected a user of this machine, got 'no-such-user'"):
        build_identity("no-such-user")
    with pytest.raises(HostError, match="expected a build user to drop to"):
        run_sandbox(SandboxSpec(HOST, ("true",)), BuildIdentity(), output=lambda chunk: None)


def test_disk_is_measured_without_following_links(tmp_path: Path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"x" * 50_000)
    (tmp_path / "a/hard").hardlink_to(tmp_path / "a/b/file")
    (tmp_path / "a/usr").symlink_to("/usr")
    used = measure_disk([tmp_path], 1000)
    assert (used.inodes, used.largest_bytes, used.deep) == (5, 50_000, False)
    assert 50_000 <= used.size_bytes < 80_000


def test_measuring_gives_up_past_the_number_of_inodes(tmp_path: Path):
    for number in range(50):
        (tmp_path / str(number)).mkdir()
    assert measure_disk([tmp_path], 10).inodes > 10


def test_a_sparse_file_counts_by_its_length(tmp_path: Path):
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 30)
    used = measure_disk([tmp_path], 10)
    assert used.largest_bytes == 1 << 30
    assert used.size_bytes < 1 << 20


def test_a_process_may_have_any_name():
    words = "S 7 1 1 0 -1 0 0 0 0 0 100 50 20 30 20 0 1 0 5 4096 3 0"
    row = parse_stat(9, f"9 (a) b ( c) {words}".encode())
    ticks = os.sysconf("SC_CLK_TCK")
    assert (row.parent, row.cpu_s) == (7, 200 / ticks)
    assert row.resident_bytes == 3 * os.sysconf("SC_PAGE_SIZE")


def test_a_link_to_itself_is_one_inode(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    used = measure_disk([tmp_path], 1000)
    assert (used.inodes, used.deep) == (1, False)
