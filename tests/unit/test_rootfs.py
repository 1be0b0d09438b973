"""Looking up and changing a tree by path: symlinks, folders in the way, names of one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minid.errors import ComposeError
from minid.formats.rootfs import Rootfs, overlay_trees, with_parents
from minid.model import Content, Entry, Tree

MTIME = 1_700_000_000


def file(path: str, data: bytes = b"x", **fields: object) -> Entry:
    return Entry(path, "file", 0o644, MTIME, content=Content.inline(data), **fields)  # type: ignore[arg-type]


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, "directory", mode, MTIME)


def link(path: str, target: str) -> Entry:
    return Entry(path, "symlink", 0o777, MTIME, target=target)


def hard(path: str, target: str) -> Entry:
    return Entry(path, "hardlink", 0o644, MTIME, target=target)


def shown(tree: Tree) -> dict[str, object]:
    """Each path with its bytes or target, as a program would see it."""
    files = {e.image_path: e.content.data for e in tree.entries if e.content}
    return {
        e.image_path: files[e.target] if e.kind == "hardlink" else files.get(e.image_path, e.target)
        for e in tree.entries
        if e.kind != "directory"
    }


LINKS = Rootfs(
    [
        folder("usr"),
        folder("usr/lib"),
        folder("var"),
        folder("run"),
        link("lib", "usr/lib"),
        link("var/run", "/run"),
        link("var/self", "."),
        link("up", "../../../usr/lib"),
        link("usr/back", "../var/run"),
        link("usr/lib/libx.so", "libx.so.1"),
        file("usr/lib/libx.so.1"),
        link("dangling", "/no/where"),
        link("loop", "loop"),
        link("ping", "pong"),
        link("pong", "ping"),
        link("empty", ""),
    ]
)


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("usr/lib/libx.so", "usr/lib/libx.so.1"),
        ("lib/libx.so", "usr/lib/libx.so.1"),
        ("lib/new", "usr/lib/new"),
        ("var/run/nginx.pid", "run/nginx.pid"),
        ("var/self/self/run/x", "run/x"),
        ("up/libx.so", "usr/lib/libx.so.1"),
        ("usr/back/x", "run/x"),
        ("dangling", "no/where"),
        ("dangling/below", "no/where/below"),
        ("usr/../../../etc/passwd", "etc/passwd"),
        ("./usr/./lib", "usr/lib"),
        ("/usr//lib/", "usr/lib"),
        ("..", ""),
        ("", ""),
    ],
)
def test_resolve_follows_links_inside_the_tree(path: str, resolved: str) -> None:
    assert LINKS.resolve(path, follow_last=True) == resolved


@pytest.mark.parametrize("path", ["lib", "var/run", "usr/lib/libx.so", "dangling", "loop"])
def test_resolve_can_leave_the_last_part_alone(path: str) -> None:
    assert LINKS.resolve(path, follow_last=False) == path


@pytest.mark.parametrize("path", ["loop", "ping", "pong/x", "loop/a/b"])
def test_loops_are_refused(path: str) -> None:
    with pytest.raises(ComposeError, match="loop of symlinks"):
        LINKS.resolve(path, follow_last=True)


def test_resolve_agrees_with_the_kernel(tmp_path: Path) -> None:
    for name in ("usr/lib", "var", "run"):
        (tmp_path / name).mkdir(parents=True)
    for entry in LINKS.tree().entries:
        if entry.kind == "symlink" and entry.target and not entry.target.startswith("/"):
            (tmp_path / entry.image_path).symlink_to(entry.target)
    (tmp_path / "usr/lib/libx.so.1").touch()
    # Links that climb past the root or are absolute only mean the same below a root of its own.
    for path in ("lib/libx.so", "var/self/self", "usr/../lib/libx.so"):
        real = os.path.relpath(os.path.realpath(tmp_path / path), tmp_path)
        assert LINKS.resolve(path, follow_last=True) == real


def test_chain_of_forty_links_is_followed_and_not_more() -> None:
    chain = [link(f"l{n}", f"l{n + 1}") for n in range(50)]
    root = Rootfs(chain)
    assert root.resolve("l10", follow_last=True) == "l50"
    with pytest.raises(ComposeError):
        root.resolve("l9", follow_last=True)


def test_put_makes_the_folders_above() -> None:
    root = Rootfs([folder("etc", 0o700)])
    added = root.put(file("etc/nginx/conf.d/x"), MTIME)
    assert [entry.image_path for entry in added] == [
        "etc/nginx",
        "etc/nginx/conf.d",
        "etc/nginx/conf.d/x",
    ]
    assert all(entry.mode == 0o755 for entry in added[:-1])
    assert root.get("etc") == folder("etc", 0o700)


@pytest.mark.parametrize("above", [file("etc"), link("etc", "usr")])
def test_put_below_what_is_no_folder(above: Entry) -> None:
    root = Rootfs([above])
    with pytest.raises(ComposeError, match=rf"rootfs: /etc/x: expected a folder .* {above.kind}"):
        root.put(file("etc/x"), MTIME, "rootfs: ")
    assert root.tree().entries == (above,)


def test_put_does_not_swap_folders_and_files() -> None:
    root = Rootfs([folder("a"), file("b"), link("c", "a")])
    for entry in (file("a"), link("a", "b"), folder("b"), folder("c")):
        with pytest.raises(ComposeError) as caught:
            root.put(entry, MTIME)
        assert "rootfs.remove" in caught.value.hint
    assert root.put(link("b", "a"), MTIME) == [link("b", "a")]
    assert root.put(folder("a", 0o700), MTIME) == [folder("a", 0o700)]


def test_remove_takes_everything_below() -> None:
    root = Rootfs([folder("a"), file("a/1"), folder("a/b"), file("a/b/2"), file("ab")])
    taken = {entry.image_path for entry in root.remove("a")}
    assert taken == {"a", "a/1", "a/b", "a/b/2"}
    assert [entry.image_path for entry in root.tree().entries] == ["ab"]
    assert root.remove("a") == []


NAMES = (file("bin/a", b"old"), hard("bin/b", "bin/a"), hard("bin/c", "bin/a"), file("z", b"z"))


def test_file_of_a_hard_link() -> None:
    root = Rootfs([*NAMES, folder("bin"), link("s", "bin/a")])
    assert root.file("bin/b") == file("bin/b", b"old")
    assert root.file("bin/a") == NAMES[0]
    assert root.file("bin") is root.file("s") is root.file("missing") is None


def test_a_replaced_file_leaves_its_bytes_to_its_other_names() -> None:
    root = Rootfs(NAMES)
    root.put(file("bin/a", b"new"), MTIME)
    assert shown(root.tree()) == {"bin/a": b"new", "bin/b": b"old", "bin/c": b"old", "z": b"z"}
    assert root.get("bin/c") == hard("bin/c", "bin/b")


def test_a_removed_file_leaves_its_bytes_to_its_other_names() -> None:
    root = Rootfs(NAMES)
    root.remove("bin/a")
    assert shown(root.tree()) == {"bin/b": b"old", "bin/c": b"old", "z": b"z"}
    root.remove("bin/b")
    assert shown(root.tree()) == {"bin/c": b"old", "z": b"z"}


def test_names_that_go_together_leave_nothing() -> None:
    root = Rootfs([folder("bin"), *NAMES, hard("kept", "bin/a")])
    root.remove("bin")
    assert shown(root.tree()) == {"kept": b"old", "z": b"z"}


def test_a_replaced_name_leaves_the_file_alone() -> None:
    root = Rootfs(NAMES)
    root.put(file("bin/b", b"new"), MTIME)
    assert shown(root.tree()) == {"bin/a": b"old", "bin/b": b"new", "bin/c": b"old", "z": b"z"}
    root.remove("bin/a")
    assert shown(root.tree()) == {"bin/b": b"new", "bin/c": b"old", "z": b"z"}


def test_links_never_precede_their_file() -> None:
    root = Rootfs(NAMES)
    root.put(file("bin/a", b"new"), MTIME)
    seen: set[str] = set()
    for entry in root.tree().entries:
        assert entry.kind != "hardlink" or entry.target in seen
        seen.add(entry.image_path)


def test_overlay_shows_the_upper_layer() -> None:
    lower = Tree((folder("etc"), file("etc/a", b"1"), file("etc/b", b"1")))
    upper = Tree((folder("etc", 0o700), file("etc/b", b"2"), file("etc/c", b"2")))
    assert shown(overlay_trees(lower, upper)) == {"etc/a": b"1", "etc/b": b"2", "etc/c": b"2"}
    assert overlay_trees(lower, upper).entries[0].mode == 0o700
    assert overlay_trees(lower) == lower
    assert overlay_trees() == Tree()


def test_overlay_does_not_change_other_names_of_a_covered_file() -> None:
    lower = Tree(NAMES)
    upper = Tree((file("bin/a", b"new"), hard("bin/c", "bin/a")))
    both = overlay_trees(lower, upper)
    assert shown(both) == {"bin/a": b"new", "bin/b": b"old", "bin/c": b"new", "z": b"z"}


def test_layer_names_the_folders_above_as_the_root_has_them() -> None:
    root = Rootfs([folder("a", 0o700), folder("a/b", 0o711), file("a/b/c")])
    layer = with_parents([file("a/b/c")], root)
    assert layer == (folder("a", 0o700), folder("a/b", 0o711), file("a/b/c"))
