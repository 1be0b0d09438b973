"""Laying trees over each other by copying, and reading an image's files without leaving it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minid.host.container_fs import copy_tree, open_in_root, read_in_root


def make(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_copy_keeps_looks_links_and_times(tmp_path: Path) -> None:
    source = make(tmp_path / "a", bin__one="1", etc__deep__two="2")
    (source / "bin" / "one").chmod(0o4750)
    (source / "etc").chmod(0o711)
    (source / "link").symlink_to("/outside/of/it")
    (source / "bin" / "twin").hardlink_to(source / "bin" / "one")
    os.utime(source / "bin" / "one", (5, 6))
    target = tmp_path / "t"
    target.mkdir()
    copy_tree(str(source), str(target))
    one = (target / "bin" / "one").stat()
    assert (one.st_mode & 0o7777, one.st_mtime, one.st_nlink) == (0o4750, 6, 2)
    assert (target / "bin" / "twin").samefile(target / "bin" / "one")
    assert (target / "link").readlink() == Path("/outside/of/it")
    assert (target / "etc").stat().st_mode & 0o777 == 0o711
    assert (target / "etc" / "deep" / "two").read_text() == "2"


def test_upper_tree_wins_whatever_it_meets(tmp_path: Path) -> None:
    lower = make(tmp_path / "a", same="old", folder__x="x", file="f", kept__y="y")
    (lower / "link").symlink_to(tmp_path / "victim")
    make(tmp_path / "victim", inside="untouched")
    upper = make(
        tmp_path / "b", same="new", folder="file now", file__z="z", kept__w="w", link__v="v"
    )
    target = tmp_path / "t"
    target.mkdir()
    copy_tree(str(lower), str(target))
    copy_tree(str(upper), str(target))
    assert (target / "same").read_text() == "new"
    assert (target / "folder").read_text() == "file now"
    assert (target / "file" / "z").read_text() == "z"
    assert sorted(path.name for path in (target / "kept").iterdir()) == ["w", "y"]
    assert not (target / "link").is_symlink()
    assert [path.name for path in (tmp_path / "victim").iterdir()] == ["inside"]


def test_links_of_an_image_resolve_inside_it(tmp_path: Path) -> None:
    make(tmp_path / "root", etc__real="inside")
    make(tmp_path, secret="outside")
    (tmp_path / "root" / "etc" / "absolute").symlink_to("/etc/real")
    (tmp_path / "root" / "etc" / "up").symlink_to("../../../../etc/real")
    (tmp_path / "root" / "etc" / "secret").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "root" / "etc" / "fifo")
    root = os.open(tmp_path / "root", os.O_PATH)
    try:
        assert read_in_root(root, "etc/absolute") == "inside"
        assert read_in_root(root, "etc/up") == "inside"
        assert read_in_root(root, "etc/secret") == ""
        assert read_in_root(root, "etc/fifo") == ""
        assert read_in_root(root, "etc") == ""
        with pytest.raises(FileNotFoundError):
            open_in_root(root, "/etc/secret", os.O_PATH)
    finally:
        os.close(root)
