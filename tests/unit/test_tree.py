"""Trees as JSON and the small operations on them."""

from __future__ import annotations

import pytest

from minid.formats.digest import Digest
from minid.formats.tree import dump_tree, parents, parse_tree, path_key, sort_entries, unpacked_size
from minid.model import Content, Entry, Tree

BLOB = Digest.of(b"blob")


def stored(data: bytes, offset: int = 512) -> Content:
    return Content(Digest.of(data), len(data), BLOB, offset)


TREE = Tree(
    (
        Entry("bin", "directory", 0o755, 1),
        Entry("bin/sh", "symlink", 0o777, 2, target="größe"),
        Entry("bin/tool", "file", 0o4755, 3, uid=7, gid=8, content=stored(b"elf"),
              xattrs=(("security.capability", b"\x00\xff"),)),
        Entry("bin/too", "hardlink", 0o4755, 3, target="bin/tool"),
    )
)  # fmt: skip


def test_a_tree_survives_the_store() -> None:
    assert parse_tree(dump_tree(TREE)) == TREE
    assert parse_tree(dump_tree(Tree())) == Tree()


def test_equal_trees_give_equal_bytes_and_others_do_not() -> None:
    assert dump_tree(TREE) == dump_tree(parse_tree(dump_tree(TREE)))
    assert dump_tree(TREE) != dump_tree(Tree(TREE.entries[:-1]))


def test_inline_content_is_not_written() -> None:
    tree = Tree((Entry("a", "file", 0o644, 0, content=Content.inline(b"x")),))
    with pytest.raises(ValueError, match="inline content"):
        dump_tree(tree)


@pytest.mark.parametrize("data", [b"", b"{", b'[["a"]]', b"null", b"7"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_tree(data)


def test_order_is_bytewise_with_parents_first() -> None:
    paths = ["é", "a.b", "a/b", "a", "a-b", "z", "a/b/c", "Z", "\udc80"]
    entries = sort_entries(Entry(path, "directory", 0o755, 0) for path in paths)
    found = [entry.image_path for entry in entries]
    assert found == ["Z", "a", "a-b", "a.b", "a/b", "a/b/c", "z", "\udc80", "é"]
    assert path_key("\udc80") == b"\x80"


def test_parents_from_the_top_down() -> None:
    assert parents("a/b/c") == ["a", "a/b"]
    assert parents("a") == []


def test_size_counts_hard_links_once() -> None:
    assert unpacked_size(TREE) == 3
