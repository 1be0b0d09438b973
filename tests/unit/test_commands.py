"""Laying what commands changed: which layer gets what, and what is no change at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from minid.formats.rootfs import overlay_trees
from minid.model import Changes, Composed, Entry, Tree
from minid.steps.commands import apply_changes
from tests.support.tiny_image import file, folder, link

BASE = [folder("bin"), file("bin/sh", b"shell", 0o755), folder("etc"), file("etc/passwd", b"root")]
PAYLOAD = [folder("usr"), file("usr/a", b"program", 0o755), file("usr/data", b"data")]
OWN = [folder("etc"), file("etc/conf", b"conf")]


def name(path: str, target: str) -> Entry:
    """A hard link."""
    return replace(file(path, b""), kind="hardlink", target=target, content=None)


def compose(
    base: Iterable[Entry] = BASE, payload: Iterable[Entry] = PAYLOAD, own: Iterable[Entry] = OWN
) -> tuple[Composed, Tree]:
    below, lower, upper = (Tree(tuple(entries)) for entries in (base, payload, own))
    tree = overlay_trees(below, lower, upper)
    return Composed(tree, lower.entries, upper.entries, flatten=False), below


def apply(*entries: Entry, deleted: Iterable[str] = (), **layers: Iterable[Entry]) -> Composed:
    composed, base = compose(**layers)
    return apply_changes(composed, Changes(entries, tuple(deleted)), base)


def paths(entries: Iterable[Entry]) -> list[str]:
    return [entry.image_path for entry in entries]


def test_nothing_touched_is_nothing_changed() -> None:
    composed, _ = compose()
    assert apply() == composed


def test_touched_but_equal_is_no_change() -> None:
    composed, _ = compose()
    touched = [replace(entry, mtime=1) for entry in (*BASE, *PAYLOAD, *OWN)]
    assert apply(*touched) == composed


def test_new_and_changed_go_into_the_own_layer_with_their_folders() -> None:
    new = file("var/lib/x", b"x", 0o600, 100, 101)
    changed = file("usr/data", b"other")
    done = apply(changed, folder("var"), folder("var/lib", 0o700), new)
    composed, _ = compose()
    assert done.payload == composed.payload
    assert paths(done.own) == [
        "etc",
        "etc/conf",
        "usr",
        "usr/data",
        "var",
        "var/lib",
        "var/lib/x",
    ]
    assert changed in done.own and new in done.own
    assert changed in done.tree.entries and new in done.tree.entries
    assert not done.flatten


def test_mode_owner_target_and_capability_are_changes() -> None:
    for changed in (
        file("bin/sh", b"shell", 0o4755),
        file("bin/sh", b"shell", 0o755, uid=5),
        file("bin/sh", b"shell", 0o755, gid=5),
        replace(file("bin/sh", b"shell", 0o755), xattrs=(("security.capability", b"\1"),)),
        folder("bin", 0o700),
        link("bin/sh", "dash"),
    ):
        assert changed in apply(changed).own
    before = link("bin/sh", "ash")
    assert link("bin/sh", "dash") in apply(link("bin/sh", "dash"), base=[folder("bin"), before]).own
    assert before not in apply(before, base=[folder("bin"), before]).own


def test_deletion_leaves_the_layer_it_was_in() -> None:
    done = apply(deleted=["etc/conf", "usr", "usr/a", "usr/data"])
    assert (paths(done.payload), paths(done.own)) == ([], ["etc"])
    assert paths(done.tree.entries) == ["bin", "bin/sh", "etc", "etc/passwd"]
    assert not done.flatten


def test_deletion_in_the_base_flattens() -> None:
    done = apply(deleted=["etc/passwd"])
    assert done.flatten
    assert "etc/passwd" not in paths(done.tree.entries)
    covered = apply(deleted=["etc/passwd"], own=[folder("etc"), file("etc/passwd", b"mine")])
    assert covered.flatten
    assert "etc/passwd" not in paths((*covered.own, *covered.tree.entries))


def test_folder_that_is_none_any_more() -> None:
    turned = link("usr", "opt")
    done = apply(turned, deleted=["usr/a", "usr/data"])
    assert (done.payload, done.flatten) == ((), False)
    assert turned in done.own
    of_base = apply(link("empty", "etc"), base=[*BASE, folder("empty")])
    assert of_base.flatten
    assert link("empty", "etc") in of_base.tree.entries


def test_file_that_is_a_folder_now() -> None:
    done = apply(folder("usr/a"), file("usr/a/b", b"b"))
    assert "usr/a" not in paths(done.payload)
    assert folder("usr/a") in done.own and file("usr/a/b", b"b") in done.own
    assert apply(folder("bin/sh"), file("bin/sh/b", b"b")).flatten


def test_new_name_takes_its_file_along() -> None:
    data, extra = file("usr/data", b"data"), name("usr/extra", "usr/data")
    done = apply(data, extra)
    assert data in done.own and extra in done.own


def test_names_that_were_so_before_are_no_change() -> None:
    linked = [*PAYLOAD, name("usr/twin", "usr/data")]
    composed, _ = compose(payload=linked)
    assert (
        apply(file("usr/data", b"data"), name("usr/twin", "usr/data"), payload=linked) == composed
    )


def test_changed_name_leaves_the_others_as_they_were() -> None:
    linked = [*PAYLOAD, name("usr/twin", "usr/data")]
    changed = file("usr/data", b"other")
    done = apply(changed, payload=linked)
    assert changed in done.own
    assert file("usr/twin", b"data") in done.tree.entries
    assert tuple(linked) == done.payload  # as its own layer shows it, the twin is right


def test_deleted_name_leaves_its_bytes_to_the_others() -> None:
    linked = [*PAYLOAD, name("usr/twin", "usr/data")]
    done = apply(deleted=["usr/data"], payload=linked)
    assert file("usr/twin", b"data") in done.payload
    assert file("usr/twin", b"data") in done.tree.entries
