"""Trees as plain files: what is written, and what is never written through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minid.host.materialize import write_tree
from minid.model import Content, Entry, Tree

MTIME = 1_700_000_000


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, "directory", mode, MTIME)


def file(path: str, data: bytes = b"x", mode: int = 0o644) -> Entry:
    return Entry(path, "file", mode, MTIME, uid=7, gid=7, content=Content.inline(data))


def link(path: str, target: str, kind: str = "symlink") -> Entry:
    return Entry(path, kind, 0o777, MTIME, target=target)  # type: ignore[arg-type]


def read(content: Content) -> bytes:
    assert content.data is not None
    return content.data


def write(target: Path, *entries: Entry) -> None:
    target.mkdir(exist_ok=True)
    write_tree(Tree(entries), target, read)


def test_files_folders_and_links(tmp_path: Path) -> None:
    write(
        tmp_path / "root",
        folder("usr"),
        file("usr/a", b"tool", 0o4755),
        link("usr/b", "usr/a", "hardlink"),
        link("usr/c", "/etc/shadow"),
    )
    root = tmp_path / "root"
    assert (root / "usr/a").read_bytes() == b"tool"
    assert (root / "usr/a").stat().st_mode & 0o7777 == 0o755
    assert (root / "usr/a").stat().st_mtime == MTIME
    assert (root / "usr/a").stat().st_uid == os.geteuid()
    assert (root / "usr/b").samefile(root / "usr/a")
    assert (root / "usr/c").readlink() == Path("/etc/shadow")


@pytest.mark.parametrize("umask", [0o077, 0o022, 0])
def test_everybody_may_read_it_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "root", folder("d", 0o700), file("d/f", mode=0o600), file("d/g", mode=0))
    finally:
        os.umask(before)
    assert (tmp_path / "root/d").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "root/d/f").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "root/d/g").stat().st_mode & 0o777 == 0o444


def test_nothing_is_written_through_a_symlink(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(ValueError, match="'lib' to be a folder of the tree"):
        write(tmp_path / "root", link("lib", "../outside"), file("lib/evil"))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/evil", "..", "a/.."])
def test_nothing_is_written_outside(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="folder of the tree"):
        write(tmp_path / "root", folder("a"), file(path))
    assert not (tmp_path / "evil").exists()


def test_a_folder_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a' to be a folder"):
        write(tmp_path / "root", file("a"), file("a/b"))


def test_a_file_does_not_replace_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"safe")
    with pytest.raises(FileExistsError):
        write(tmp_path / "root", link("a", "../outside"), file("a", b"evil"))
    assert (tmp_path / "outside").read_bytes() == b"safe"


def test_a_hard_link_does_not_follow_a_symlink(tmp_path: Path) -> None:
    write(tmp_path / "root", link("a", "/etc/passwd"), link("b", "a", "hardlink"))
    assert (tmp_path / "root/b").is_symlink()
