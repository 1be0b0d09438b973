"""What differs between a tree and a root that was worked in."""

from __future__ import annotations

from dataclasses import replace

from minid.formats.changes import Seen, files_to_read, find_changes
from minid.formats.digest import Digest
from minid.model import Entry, Tree
from tests.support.tiny_image import file, folder, link

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def twin(path: str, target: str) -> Entry:
    return replace(file(path, b""), kind="hardlink", target=target, content=None)


TREE = Tree((folder("etc"), file("etc/a", b"one"), twin("etc/b", "etc/a"), link("etc/l", "a")))


def seen(entry: Entry, **other: object) -> Seen:
    content = entry.content
    made = Seen(
        entry.image_path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        target=entry.target,
        size=content.size if content else 0,
        own=False,
    )
    return replace(made, **other)  # type: ignore[arg-type]


def all_seen() -> dict[str, Seen]:
    found = {entry.image_path: seen(entry) for entry in TREE.entries}
    return found | {"etc/b": Seen("etc/b", "file", 0o644, 0, 0, size=3, own=False)}


def lines(now: dict[str, Seen], digests: dict[str, Digest] | None = None) -> list[str]:
    changes = find_changes(TREE, now.values(), digests or {})
    return [" ".join([c.letter, c.image_path, *c.what]) for c in changes]


def test_the_same_root_has_no_changes() -> None:
    assert lines(all_seen()) == []


def test_added_modified_deleted() -> None:
    now = all_seen()
    del now["etc/b"]
    now["etc/a"] = replace(now["etc/a"], mode=0o600, uid=5)
    now["etc/l"] = replace(now["etc/l"], target="b", mode=0o700)
    now["new"] = Seen("new", "fifo", 0o644, 0, 0)
    assert lines(now) == ["M etc/a mode owner", "D etc/b", "M etc/l target", "A new"]


def test_a_link_has_no_mode() -> None:
    now = all_seen()
    now["etc/l"] = replace(now["etc/l"], mode=0o644)
    assert lines(now) == []


def test_another_kind_is_one_change() -> None:
    now = all_seen()
    now["etc/a"] = Seen("etc/a", "directory", 0o700, 1, 1)
    assert lines(now) == ["M etc/a kind"]


def test_bytes_are_compared_where_sizes_are_equal() -> None:
    now = all_seen()
    now["etc/a"] = replace(now["etc/a"], own=True)
    now["etc/b"] = replace(now["etc/b"], own=True, size=4)
    assert files_to_read(TREE, now.values()) == ["etc/a"]
    same, other = {"etc/a": Digest.of(b"one")}, {"etc/a": Digest.of(b"two")}
    assert lines(now, same) == ["M etc/b bytes"]
    assert lines(now, other) == ["M etc/a bytes", "M etc/b bytes"]
    assert lines(now) == ["M etc/a bytes", "M etc/b bytes"]  # it vanished while it was read


def test_capabilities_count() -> None:
    now = all_seen()
    now["etc/a"] = replace(now["etc/a"], capability=CAPABILITY)
    assert lines(now) == ["M etc/a capabilities"]


def test_mount_points_are_nobodys_work() -> None:
    now = all_seen()
    for name in ("dev", "proc", "sys"):
        now[name] = Seen(name, "directory", 0o755, 0, 0)
    now["etc/hosts"] = Seen("etc/hosts", "file", 0o755, 0, 0)
    assert lines(now) == []
    now["etc/hosts"] = replace(now["etc/hosts"], size=1)
    now["dev/x"] = Seen("dev/x", "file", 0o644, 0, 0)
    assert lines(now) == ["A dev", "A dev/x", "A etc/hosts"]
