"""The lock record: a moved recipe, and when its file speaks again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from minid.formats.digest import Digest
from minid.recipe import Alternative, Build, Distro, Recipe, Source, tag_names
from minid.recipe_lock import Lock, apply_lock
from minid.store.records import Records
from minid.store.releases import Releases, stored_locks

OLD, NEW = Digest.of(b"1.2.3"), Digest.of(b"1.2.4")
SOURCE = Source(
    version="1.2.3",
    url="https://web.example/web-{version}.tar.gz",
    sha256=OLD,
    distro=Distro("web", "{version}", OLD),
    alternatives=(Alternative("https://web.example/web-{version}.tar.xz", NEW),),
    patches=("fix.patch",),
    released=7,
)
WEB = Recipe("web", Path("web.toml"), Path("web"), "image", SOURCE, Build())
LOCK = Lock("1.2.4", "https://web.example/web-1.2.4.tar.gz", NEW, "1.2.3", OLD)


def test_a_moved_recipe_is_the_new_release_with_the_old_patches() -> None:
    moved = apply_lock(WEB, LOCK)
    assert moved.source == Source(
        "1.2.4", LOCK.url, NEW, patches=("fix.patch",), moved_from=("1.2.3", SOURCE.url)
    )
    assert tag_names(moved) == ("web:1.2.4", "web:latest")
    assert replace(moved, source=SOURCE) == WEB


def test_without_a_lock_nothing_changes() -> None:
    assert apply_lock(WEB, None) is WEB


def test_the_file_speaks_again_once_its_source_is_edited() -> None:
    for change in ({"version": "1.2.5"}, {"sha256": NEW}):
        edited = replace(WEB, source=replace(SOURCE, **change))
        assert apply_lock(edited, LOCK) is edited


def test_a_lock_on_what_the_file_says_keeps_the_other_places() -> None:
    same = replace(LOCK, version="1.2.3", sha256=OLD)
    assert apply_lock(WEB, same) is WEB


def test_locks_are_read_without_the_writers_lock(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    assert stored_locks(path) == {}
    records = Records(path, writable=True)
    Releases(records.database).set_lock("web", LOCK, 1.0)
    assert stored_locks(path) == {"web": LOCK}
    records.close()
