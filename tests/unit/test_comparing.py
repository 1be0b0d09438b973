"""Comparing two sides: what counts as a difference and what does not."""

from __future__ import annotations

from dataclasses import replace

from minid.formats.tree import sort_entries
from minid.model import Content, Entry, Tree
from minid.workbench.comparing import Side, compare_sides


def file(path: str, data: bytes = b"x", mode: int = 0o644, mtime: int = 1) -> Entry:
    return Entry(path, "file", mode, mtime, content=Content.inline(data))


def side(*entries: Entry, manifest: str = "sha256:1", **config: object) -> Side:
    packages = {"zlib": "1.2"} if manifest else None
    return Side("web", Tree(sort_entries(entries)), {"config": config}, packages, manifest)


BASE = (Entry("etc", "directory", 0o755, 1), file("etc/a"), file("usr/lib/libz.so.1.2", b"one"))


def letters(left: Side, right: Side) -> dict[str, str]:
    found = compare_sides(left, right)
    return {change.image_path: change.letter for change in found.files}


def test_times_and_names_of_one_file_are_no_difference() -> None:
    link = Entry("etc/b", "hardlink", 0o644, 1, target="etc/a")
    left = side(*BASE, link)
    right = side(*(replace(entry, mtime=9) for entry in BASE), file("etc/b", mtime=9))
    assert not compare_sides(left, right)


def test_what_differs_of_a_file_is_named() -> None:
    after = replace(file("etc/a", b"y", 0o600), uid=7)
    left, right = side(*BASE), side(BASE[0], after, BASE[2], file("etc/new"))
    found = compare_sides(left, right)
    assert letters(left, right) == {"etc/a": "M", "etc/new": "A"}
    assert found.files[0].what == ("bytes", "mode", "owner")
    assert letters(right, left) == {"etc/a": "M", "etc/new": "D"}


def test_another_kind_is_told_as_that() -> None:
    found = compare_sides(side(*BASE), side(*BASE[1:], Entry("etc", "symlink", 0o777, 1)))
    assert [(change.image_path, change.what) for change in found.files] == [("etc", ("kind",))]


def test_libraries_are_followed_over_their_versions() -> None:
    newer = side(BASE[0], BASE[1], file("usr/lib/libz.so.1.3", b"one"))
    (pair,) = compare_sides(side(*BASE), newer).libraries
    assert (pair.name, pair.before, pair.after) == ("libz", "libz.so.1.2", "libz.so.1.3")
    patched = side(BASE[0], BASE[1], file("usr/lib/libz.so.1.2", b"two"))
    (pair,) = compare_sides(side(*BASE), patched).libraries
    assert (pair.before, pair.after) == ("libz.so.1.2", "libz.so.1.2")


def test_packages_and_configuration() -> None:
    left = side(*BASE, Cmd=["a"], Env=["A=1", "B=2"])
    right = replace(side(*BASE, Cmd=["b"], Env=["A=1"]), packages={"zlib": "1.3", "new": "1"})
    found = compare_sides(left, right)
    assert {item.field for item in found.config} == {"Cmd", "Env.B"}
    assert [(pair.name, pair.before, pair.after) for pair in found.packages or ()] == [
        ("new", "", "1"),
        ("zlib", "1.2", "1.3"),
    ]


def test_what_an_engine_lays_into_a_container_is_passed_over() -> None:
    laid = [
        file(".dockerenv", b""),
        Entry("dev", "directory", 0o755, 1),
        file("dev/console", b""),
        file("etc/hosts", b""),
        Entry("proc", "directory", 0o755, 1),
        Entry("etc/mtab", "symlink", 0o777, 1, target="/proc/mounts"),
    ]
    image = side(*BASE)
    assert letters(image, side(*BASE, *laid, manifest="")) == {}
    assert letters(side(*BASE, *laid, manifest=""), image) == {}
    assert letters(image, side(*BASE, file("etc/hosts", b"1 a"), manifest="")) == {"etc/hosts": "A"}
    assert len(letters(image, side(*BASE, *laid))) == len(laid)
    assert compare_sides(image, side(*BASE, manifest="")).packages is None
