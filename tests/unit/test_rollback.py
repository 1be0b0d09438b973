"""Going back: which image is the one before, which tags go, and nothing goes to a damaged one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from minid.config import Config, Paths, Publishing
from minid.errors import StoreError, UsageError
from minid.formats.digest import Digest
from minid.line.workshop import Workshop, open_workshop
from minid.store.edits import EditRow, Edits
from minid.workbench.rollback import find_way, roll_back
from minid.workbench.scratch import Design, make_image


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    ticks = count(1000)
    config = Config(
        file=None,
        paths=Paths(recipes=tmp_path / "recipes", state=tmp_path / "var"),
        publish=Publishing(docker="off"),
    )
    with open_workshop(config, {}, clock=lambda: float(next(ticks))) as opened:
        yield opened


def store_image(
    shop: Workshop, recipe: str, version: str, *, tags: tuple[str, ...], text: str = ""
) -> str:
    """An image that a run made; the manifest's digest."""
    return make_image(shop, Design(recipe, version, tags, comment=text)).manifest


def tagged(shop: Workshop) -> dict[str, str]:
    return {row.name: row.manifest for row in shop.records.tags()}


def test_floating_tags_go_back_and_versions_stay(shop: Workshop) -> None:
    old = store_image(shop, "web", "1.2", tags=("web:1.2", "web:latest"))
    new = store_image(shop, "web", "1.3", tags=("web:1.3", "web:1", "web:latest", "web:stable"))
    way = find_way(shop.records, "web")
    assert (way.now["manifest"], way.then["manifest"]) == (new, old)
    moved = roll_back(shop, way, "ann", "broken")
    assert tagged(shop) == {
        "web:1": new,
        "web:1.2": old,
        "web:1.3": new,
        "web:latest": old,
        "web:stable": old,
    }
    row = Edits(shop.records.database).edit(moved.edit)
    assert row is not None
    assert (row.kind, row.from_manifest, row.to_manifest) == ("rollback", new, old)
    assert (row.who, row.message) == ("ann", "broken")
    index = (shop.blobs.root / "index.json").read_text()
    assert index.count(old) == 3


def test_twice_goes_back_twice_and_a_digest_forward(shop: Workshop) -> None:
    first, second, third = (
        store_image(shop, "web", "1.2", tags=("web:latest",), text=str(number))
        for number in range(3)
    )
    for expected in (second, first):
        roll_back(shop, find_way(shop.records, "web"), "ann")
        assert tagged(shop) == {"web:latest": expected}
    with pytest.raises(UsageError, match="expected an earlier image, got none"):
        find_way(shop.records, "web")
    roll_back(shop, find_way(shop.records, "web", third[7:19]), "ann")
    assert tagged(shop) == {"web:latest": third}


def test_what_was_undone_is_passed_over(shop: Workshop) -> None:
    first = store_image(shop, "web", "1.2", tags=("web:latest",))
    edited = store_image(shop, "web", "1.2", tags=(), text="edited")
    edits = Edits(shop.records.database)
    edits.add(EditRow("set", "web", first, edited, "ann", 1.0))
    edits.add(EditRow("undo", "web", edited, first, "ann", 2.0))
    store_image(shop, "web", "1.3", tags=("web:latest",))
    assert find_way(shop.records, "web").then["manifest"] == first
    assert find_way(shop.records, "web:latest").names == ("web:latest",)


def test_a_tag_that_moved_meanwhile_stays(shop: Workshop) -> None:
    store_image(shop, "web", "1.2", tags=("web:latest",))
    store_image(shop, "web", "1.3", tags=("web:latest",))
    way = find_way(shop.records, "web")
    newer = store_image(shop, "web", "1.4", tags=("web:latest",))
    with pytest.raises(StoreError, match="got another meanwhile"):
        roll_back(shop, way, "ann")
    assert tagged(shop) == {"web:latest": newer}


def test_what_was_rolled_back_from_is_passed_over(shop: Workshop) -> None:
    good = store_image(shop, "web", "1.2", tags=("web:latest",))
    bad = store_image(shop, "web", "1.3", tags=("web:latest",))
    roll_back(shop, find_way(shop.records, "web"), "ann")
    store_image(shop, "web", "1.4", tags=("web:latest",))
    assert find_way(shop.records, "web").then["manifest"] == good != bad


def test_an_image_that_was_made_again_has_what_was_before_it(shop: Workshop) -> None:
    store_image(shop, "web", "1.2", tags=("web:latest",))
    second = store_image(shop, "web", "1.3", tags=("web:latest",))
    store_image(shop, "web", "1.2", tags=("web:latest",))
    assert find_way(shop.records, "web").then["manifest"] == second


def test_a_version_is_asked_for(shop: Workshop) -> None:
    wanted = store_image(shop, "web", "1.1", tags=("web:latest",))
    store_image(shop, "web", "1.2", tags=("web:latest",))
    store_image(shop, "web", "1.3", tags=("web:latest",))
    assert find_way(shop.records, "web", "1.1").then["manifest"] == wanted
    with pytest.raises(UsageError, match=r"another image of 1.3, got none; the store has 1.3"):
        find_way(shop.records, "web", "1.3")
    store_image(shop, "", "1", tags=("loaded:latest",))
    for name in ("other", ""):
        with pytest.raises(UsageError, match=f"got '{name}'"):
            find_way(shop.records, name)
    with pytest.raises(UsageError, match="got one from elsewhere"):
        find_way(shop.records, "loaded:latest")


def test_nothing_goes_to_a_damaged_image(shop: Workshop) -> None:
    old = store_image(shop, "web", "1.2", tags=("web:latest",))
    new = store_image(shop, "web", "1.3", tags=("web:latest",))
    detail = shop.records.image(old)
    assert detail is not None
    path = shop.blobs.path(Digest.parse(str(detail["config"])))
    path.chmod(0o600)
    path.write_bytes(b"{}")
    with pytest.raises(StoreError, match=r"web 1.2: expected a whole image"):
        roll_back(shop, find_way(shop.records, "web"), "ann")
    path.unlink()
    with pytest.raises(StoreError, match="got nothing"):
        roll_back(shop, find_way(shop.records, "web"), "ann")
    assert tagged(shop) == {"web:latest": new}
    assert Edits(shop.records.database).all() == []
