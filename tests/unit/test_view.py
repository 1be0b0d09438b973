"""Views: nothing outside the root is ever seen, layers that disagree are both tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.formats.file_view import FileView, Folder, Walker, normalize, relative_target
from minid.host.view import DirectoryView, LayeredView, TreeView
from minid.model import Entry, Tree
from tests.support.elf_files import file_entry, read_nothing


def make_root(path: Path) -> Path:
    root = path / "root"
    (root / "usr/lib/deep").mkdir(parents=True)
    (root / "usr/lib/libz.so.1.2").write_bytes(b"z")
    (root / "usr/lib/libz.so.1").symlink_to("libz.so.1.2")
    (root / "usr/lib/libz.so").symlink_to("/lib/libz.so.1")
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/deep/up").symlink_to("../../../../../../lib/libz.so.1.2")
    (root / "outside").symlink_to("../secret")
    (root / "absolute").symlink_to(str(path / "secret"))
    (root / "loop").symlink_to("loop")
    (root / "away").symlink_to(str(path))
    (path / "secret").write_bytes(b"secret")
    return root


def read(view: FileView, path: str) -> bytes:
    with view.open(path) as source:
        return bytes(source[0 : len(source)])


def test_follows_links_inside_the_root_only(tmp_path: Path) -> None:
    walker = Walker(DirectoryView(make_root(tmp_path)))
    assert [found.chain for found in walker.find("/lib/libz.so")] == [
        ("usr/lib/libz.so", "usr/lib/libz.so.1", "usr/lib/libz.so.1.2")
    ]
    assert walker.find("/lib/libz.so")[0].links == ("lib",)
    assert walker.find("usr/lib/deep/up")[0].image_path == "usr/lib/libz.so.1.2"
    for path in ("outside", "absolute", "loop", "away/secret", "loop/x", "../secret"):
        assert walker.find(path) == [], path


def test_opening_follows_nothing(tmp_path: Path) -> None:
    view = DirectoryView(make_root(tmp_path))
    assert read(view, "usr/lib/libz.so.1.2") == b"z"
    for path in ("lib/libz.so.1.2", "usr/lib/libz.so.1", "outside", "usr", "nothing", "../secret"):
        with pytest.raises(FileNotFoundError), view.open(path):
            pass


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    view = DirectoryView(tmp_path)
    assert [node.kind for node in view.nodes_at("pipe")] == ["other"]
    with pytest.raises(FileNotFoundError), view.open("pipe"):
        pass


def test_only_hides_the_rest(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "home").mkdir()
    (root / "home/key").write_bytes(b"k")
    view = DirectoryView(root, ("usr/lib",))
    assert sorted(view.names_in("")) == ["usr"]
    assert view.nodes_at("home/key") == ()
    assert read(view, "usr/lib/libz.so.1.2") == b"z"
    with pytest.raises(FileNotFoundError), view.open("home/key"):
        pass


def test_a_file_is_read_in_windows(tmp_path: Path) -> None:
    data = bytes(range(256)) * 400
    (tmp_path / "f").write_bytes(data)
    with DirectoryView(tmp_path).open("f") as source:
        assert len(source) == len(data)
        for start, stop in ((0, 10), (5, 16_000), (102_390, 200_000), (16_383, 16_390), (7, 3)):
            assert source[start:stop] == data[start:stop]
        assert source[0:90_000] == data[:90_000]


def test_trees_are_views() -> None:
    tree = Tree(
        (
            file_entry("a/b/file", b"content"),
            Entry("a/b/hard", "hardlink", 0o644, 0, target="a/b/file"),
            Entry("a/link", "symlink", 0o777, 0, target="b/file"),
        )
    )
    view = TreeView(tree, read_nothing)
    assert [node.kind for node in view.nodes_at("a/b")] == ["directory"]
    assert read(view, "a/b/hard") == b"content"
    assert Walker(view).find("a/link")[0].chain == ("a/link", "a/b/file")
    assert view.nodes_at("a/c") == ()
    with pytest.raises(FileNotFoundError):
        view.open("a/link")


def test_layers_that_disagree_are_both_tried(tmp_path: Path) -> None:
    above = TreeView(Tree((file_entry("lib/mine.so", b"m"),)), read_nothing)
    view = LayeredView([above, DirectoryView(make_root(tmp_path))])
    walker = Walker(view)
    assert walker.folders("/lib") == (Folder("lib"), Folder("usr/lib", ("lib",)))
    assert walker.find("/lib/mine.so")[0].image_path == "lib/mine.so"
    assert walker.find("/lib/libz.so.1.2")[0].image_path == "usr/lib/libz.so.1.2"
    assert read(view, "lib/mine.so") == b"m"
    assert {"mine.so"} <= set(view.names_in("lib"))


def test_the_upper_layer_hides_the_lower() -> None:
    upper = TreeView(Tree((file_entry("etc/x", b"upper"),)), read_nothing)
    lower = TreeView(Tree((file_entry("etc/x", b"lower"), file_entry("etc/y", b"y"))), read_nothing)
    view = LayeredView([upper, lower])
    assert (read(view, "etc/x"), read(view, "etc/y")) == (b"upper", b"y")


def test_a_maze_of_links_ends(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"l{number}").symlink_to(f"l{number + 1}/l{number + 1}")
    assert Walker(DirectoryView(tmp_path)).find("l0/x") == []


def test_paths() -> None:
    assert normalize("/a/./b/../../../c//d") == "c/d"
    assert normalize("x/y", "etc") == "etc/x/y"
    assert relative_target("usr/lib/libz.so", "usr/lib/libz.so.1") == "libz.so.1"
    assert relative_target("usr/lib/m/x", "opt/x") == "../../../opt/x"
    assert relative_target("x", "usr/x") == "usr/x"
