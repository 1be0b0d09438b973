"""Both ways of opening beneath a folder must refuse the same things."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minid.host.beneath import open_beneath, openat2_works, walk_beneath

Open = Callable[..., int]


@pytest.fixture(params=["openat2", "walk"])
def open_it(request: pytest.FixtureRequest) -> Open:
    if request.param == "walk":
        return walk_beneath
    if not openat2_works():
        pytest.skip("this kernel has no openat2")
    return open_beneath


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (root / "up").symlink_to("..")
    (root / "near").symlink_to("a")
    (root / "far").symlink_to(tmp_path)
    (root / "a/link").symlink_to("../../secret")
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


def test_opens_what_is_inside(open_it: Open, root_fd: int) -> None:
    opened = open_it(root_fd, b"a/b/file", os.O_RDONLY)
    assert os.read(opened, 99) == b"inside"
    assert not os.get_inheritable(opened)
    os.close(opened)


@pytest.mark.parametrize("path", [b".", b"./a/./b"])
def test_opens_folders(open_it: Open, root_fd: int, path: bytes) -> None:
    opened = open_it(root_fd, path, os.O_PATH | os.O_DIRECTORY)
    assert os.path.samestat(os.fstat(opened), os.stat(path, dir_fd=root_fd))
    os.close(opened)


@pytest.mark.parametrize(
    "path",
    [
        b"../secret",
        b"a/../../secret",
        b"/etc/passwd",
        b"up/secret",
        b"far/secret",
        b"near/b/file",
        b"a/link",
        b"up",
        b"a/b/file/x",
        b"missing",
        b"missing/file",
    ],
)
def test_refuses(open_it: Open, root_fd: int, path: bytes) -> None:
    with pytest.raises(OSError):
        os.close(open_it(root_fd, path, os.O_RDONLY))


def test_refuses_nul(root_fd: int) -> None:
    with pytest.raises((OSError, ValueError)):
        os.close(open_beneath(root_fd, b"a/b/file\0x", os.O_RDONLY))


def test_refuses_magic_links(open_it: Open) -> None:
    proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for path in (b"root/etc/passwd", b"cwd/x", b"fd/0"):
            with pytest.raises(OSError):
                os.close(open_it(proc, path, os.O_RDONLY))
    finally:
        os.close(proc)


def test_refuses_mount_points(open_it: Open) -> None:
    top = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.close(open_it(top, b"proc/1/stat", os.O_RDONLY))
        with pytest.raises(OSError, match="cross-device"):
            os.close(open_it(top, b"proc/1/stat", os.O_RDONLY, one_mount=True))
    finally:
        os.close(top)


def test_creates_only_inside(open_it: Open, root_fd: int, tmp_path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(open_it(root_fd, b"a/new", flags, 0o600))
    assert (tmp_path / "root/a/new").stat().st_mode & 0o777 == 0o600
    for path in (b"up/new", b"../new", b"a/link"):
        with pytest.raises(OSError):
            os.close(open_it(root_fd, path, flags, 0o600))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]


def test_opens_a_symlink_itself(open_it: Open, root_fd: int) -> None:
    opened = open_it(root_fd, b"a/link", os.O_PATH | os.O_NOFOLLOW)
    assert os.readlink(b"", dir_fd=opened) == b"../../secret"
    os.close(opened)


def test_leaks_no_descriptor(open_it: Open, root_fd: int) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (b"up/secret", b"missing/x", b"a/b/file/x"):
        with pytest.raises(OSError):
            open_it(root_fd, path, os.O_RDONLY)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
