"""Taking lines out of a recipe."""

from __future__ import annotations

from minid.formats.recipe_drop import drop_paths

TEXT = """\
# head
[rootfs]
base = "busybox"  # why
directories = [
  { path = "/a" },  # of a
  { path = "/b" },
]
links = { "/l" = "/x", "/m" = "/y" }
files = [{ path = "/f", content = "x" }]

[[rootfs.edits]]
path = "/e"
append = "1"

[[rootfs.edits]]
path = "/f"
append = "2"

[image]
cmd = ["x"]  # kept
"""


def test_lines_go_and_the_rest_stays() -> None:
    after = drop_paths(TEXT, lambda path: path in ("/a", "/l", "/f"))
    for gone in ('"/a"', '"/l"', '"/f"', "files"):
        assert gone not in after
    for stays in ("# head", "# why", '{ path = "/b" }', '"/m" = "/y"', 'path = "/e"', "# kept"):
        assert stays in after


def test_only_the_tables_that_are_named() -> None:
    after = drop_paths(TEXT, lambda path: path == "/f", ("edits",))
    assert 'append = "2"' not in after and "files" in after


def test_nothing_to_take_out() -> None:
    assert drop_paths(TEXT, lambda _path: False) == TEXT
    assert drop_paths("[source]\n", lambda _path: True) == "[source]\n"
