"""Files that are whole or not there, and trees that go away whatever is in them."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minid.host.files import (
    remove_tree,
    remove_unfinished,
    temporary_folder,
    write_file,
    write_stream,
)

ORDINARY = 65534  # nobody: rights of its own, none of root's


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    with path.open("rb") as reader:
        write_file(path, b"new", mode=0o600)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def broken() -> Iterator[bytes]:
        yield b"new"
        assert path.read_bytes() == b"old"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        write_stream(path, broken())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_killed_midway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from minid.host.files import write_stream\n"
        "def chunks():\n"
        "    yield b'n' * (1 << 20)\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "write_stream(Path(sys.argv[1]), chunks())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, path], check=False, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    path = tmp_path / "file"
    path.symlink_to("other")
    write_file(path, b"new")
    assert not path.is_symlink()
    assert (tmp_path / "other").read_bytes() == b"other"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "none" / "file", b"")


def make_deep(folder: Path, depth: int) -> None:
    """Folders deeper than a path can say, each with a file."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
        os.mkdir("folder", dir_fd=here)
        inner = os.open("folder", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_tree_three_thousand_folders_deep(tmp_path: Path) -> None:
    make_deep(tmp_path / "tree", 3000)
    remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    (outside / "kept").write_bytes(b"kept")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "folder").symlink_to(outside)
    (tree / "sub" / "file").symlink_to(outside / "kept")
    (tree / "sub" / "gone").symlink_to("nowhere")
    (tree / "sub" / "hard").hardlink_to(outside / "kept")
    remove_tree(tree)
    assert (outside / "kept").read_bytes() == b"kept"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o750
    assert list(tmp_path.iterdir()) == [outside]


def test_a_link_as_the_tree_itself_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    (outside / "kept").write_bytes(b"kept")
    (tmp_path / "tree").symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        remove_tree(tmp_path / "tree")
    assert (outside / "kept").read_bytes() == b"kept"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o750


def test_odd_names_and_kinds(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (b"\xff\n", b".gone-1", b"-rf", b"..."):
        (tree / os.fsdecode(name) / "inner").mkdir(parents=True)
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    assert not tree.exists()


def test_nothing_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "none")


def test_folders_without_rights_as_an_ordinary_user(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    locked = tree / "a" / "locked" / "b"
    locked.mkdir(parents=True)
    (locked / "file").write_bytes(b"")
    (tree / "a" / "locked" / "read-only").mkdir()
    (tree / "a" / "locked" / "read-only" / "file").write_bytes(b"")
    (tree / "a" / "locked" / "read-only").chmod(0o555)
    for folder in (locked, locked.parent, tree / "a", tree):
        folder.chmod(0)
    as_ordinary_user(tmp_path, lambda: remove_tree(Path("tree")))
    assert not tree.exists()


def as_ordinary_user(folder: Path, work: Callable[[], None]) -> None:
    """Run `work` in `folder`, and as the owner of all below it that is not root."""
    if os.geteuid() != 0:
        with contextlib.chdir(folder):
            work()
        return
    for path in (folder, *sorted(folder.rglob("*"))):
        os.chown(path, ORDINARY, ORDINARY, follow_symlinks=False)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.fchdir(here)
            os.setgroups([])
            os.setgid(ORDINARY)
            os.setuid(ORDINARY)
            work()
            status = 0
        finally:
            os._exit(status)
    os.close(here)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_temporary_folder_is_private_and_goes(tmp_path: Path) -> None:
    with pytest.raises(KeyError), temporary_folder(tmp_path / "jobs", "web-") as folder:
        assert folder.name.startswith("web-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "sub").mkdir(mode=0)
        raise KeyError
    assert list((tmp_path / "jobs").iterdir()) == []


def test_unfinished_files_of_the_dead_go(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as dead:
        dead.wait()
    gone = [tmp_path / f".minid-new-{dead.pid}-x", tmp_path / f".minid-new-{os.getpid()}-y"]
    kept = [tmp_path / f".minid-new-{os.getppid()}-x", tmp_path / ".new-x", tmp_path / "x"]
    for path in (*gone, *kept):
        path.write_text("half")
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "none")
    assert sorted(tmp_path.iterdir()) == sorted(kept)
