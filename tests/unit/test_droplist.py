"""The drop list: what patterns match, what is counted, what becomes of links and folders."""

from __future__ import annotations

import pytest

from minid.formats.digest import Digest
from minid.formats.droplist import apply_drop, match_paths
from minid.formats.globs import compile_globs, fixed_prefix
from minid.model import Content, DropCount, Entry, Tree
from minid.recipe import DEFAULT_DROP


def tree(*paths: str, links: tuple[tuple[str, str], ...] = ()) -> Tree:
    """Files of 10 bytes with the folders above them; `a/` is an empty folder."""
    entries: dict[str, Entry] = {}
    content = Content(Digest.of(b"x" * 10), 10, data=b"x" * 10)
    for path in paths:
        parts = path.strip("/").split("/")
        folders = parts if path.endswith("/") else parts[:-1]
        for depth in range(len(folders)):
            above = "/".join(folders[: depth + 1])
            entries[above] = Entry(above, "directory", 0o755, 0)
        if not path.endswith("/"):
            entries[path] = Entry(path, "file", 0o644, 0, content=content)
    for path, target in links:
        entries[path] = Entry(path, "hardlink", 0o644, 0, target=target)
    return Tree(tuple(entries[path] for path in sorted(entries)))


def names(result: Tree) -> list[str]:
    return [entry.image_path for entry in result.entries]


@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        ("**/*.a", ["x.a", "usr/lib/x.a"], ["usr/lib/x.an", "usr/a"]),
        ("**/include/**", ["include/x.h", "usr/include/a/b.h"], ["usr/include", "usr/includes/x"]),
        ("/usr/*/x", ["usr/lib/x"], ["usr/lib/y/x", "usr/x"]),
        ("/usr/**/x", ["usr/x", "usr/a/b/x"], ["usr/ax"]),
        ("**/man/man[0-9]*/**", ["usr/man/man3p/f"], ["usr/man/manx/f", "usr/man/man3"]),
        ("/a/[!b]?", ["a/cd"], ["a/bd", "a/c", "a//d"]),
        ("/a/[x", ["a/[x"], ["a/x"]),
        ("/a.b+(c)", ["a.b+(c)"], ["aXb+(c)"]),
        ("usr/x/", ["usr/x"], ["usr"]),
        ("**/**/**/**/**/**/**/**/x", ["x", "/".join("a" * 60) + "/x"], ["/".join("a" * 400)]),
    ],
)
def test_patterns(pattern: str, matched: list[str], not_matched: list[str]) -> None:
    assert match_paths(pattern, matched + not_matched) == matched


def test_a_pattern_that_is_none_is_refused() -> None:
    for pattern in ("", "/", "x" * 5000):
        with pytest.raises(ValueError, match="expected a pattern"):
            compile_globs((pattern,))


def test_fixed_prefix() -> None:
    assert fixed_prefix("/usr/lib/*/gconv/*.so") == "usr/lib"
    assert fixed_prefix("/etc/ssl/openssl.cnf") == "etc/ssl"
    assert fixed_prefix("**/x") == ""


def test_drops_and_counts_by_the_first_rule() -> None:
    before = tree("usr/include/a.h", "usr/include/b.h", "usr/lib/x.a", "usr/lib/x.so")
    after, counts = apply_drop(before, ("**/include/**", "**/*.h", "**/*.a"))
    assert names(after) == ["usr", "usr/lib", "usr/lib/x.so"]
    assert counts == (
        DropCount("**/include/**", 2, 20),
        DropCount("**/*.h", 0, 0),
        DropCount("**/*.a", 1, 10),
    )


def test_a_folder_takes_everything_below() -> None:
    after, counts = apply_drop(tree("opt/html/a", "opt/html/b/c", "opt/html2"), ("/opt/html",))
    assert names(after) == ["opt", "opt/html2"]
    assert counts[0].files == 2


def test_keep_wins_and_keeps_its_folders() -> None:
    before = tree("usr/share/doc/a/copying", "usr/share/doc/a/readme", "usr/share/doc/b/x")
    after, counts = apply_drop(before, ("/usr/share/doc",), ("**/copying",))
    assert names(after) == [
        "usr",
        "usr/share",
        "usr/share/doc",
        "usr/share/doc/a",
        "usr/share/doc/a/copying",
    ]
    assert counts[0].files == 2


def test_folders_that_were_empty_before_stay() -> None:
    after, _ = apply_drop(tree("var/log/", "srv/a/b/x.a"), ("**/*.a",))
    assert names(after) == ["var", "var/log"]


def test_a_hard_link_inherits_the_bytes() -> None:
    before = tree("a/x", "b/q", links=(("b/y", "a/x"), ("b/z", "a/x")))
    after, counts = apply_drop(before, ("/a/**",))
    entries = {entry.image_path: entry for entry in after.entries}
    assert entries["b/y"].kind == "file"
    assert entries["b/y"].content is not None
    assert (entries["b/z"].kind, entries["b/z"].target) == ("hardlink", "b/y")
    assert counts == (DropCount("/a/**", 1, 0),)


def test_the_default_list_keeps_a_program_and_drops_its_manual() -> None:
    before = tree("usr/sbin/nginx", "usr/share/man/man8/nginx.8", "usr/lib/pkgconfig/x.pc")
    after, _ = apply_drop(before, DEFAULT_DROP)
    assert names(after) == ["usr", "usr/sbin", "usr/sbin/nginx"]


def test_twenty_thousand_paths_take_no_time() -> None:
    import time

    before = tree(*(f"usr/share/{n % 97}/deep/er/f{n}.txt" for n in range(20_000)))
    began = time.process_time()
    after, _ = apply_drop(before, DEFAULT_DROP)
    assert len(after.entries) == len(before.entries)
    assert time.process_time() - began < 2
