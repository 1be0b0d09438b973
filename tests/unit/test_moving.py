"""Tags moved by hand: what a person learns when a target refuses what the store has."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.config import Config, Paths, Publishing
from minid.errors import PublishError
from minid.line.workshop import open_workshop
from minid.store.edits import EditRow
from minid.workbench.moving import move_tags
from minid.workbench.scratch import Design, make_image


def test_a_target_that_refuses_is_told_with_what_the_store_has(tmp_path: Path) -> None:
    blocked = tmp_path / "images"
    config = Config(
        file=None,
        paths=Paths(recipes=tmp_path / "recipes", state=tmp_path / "var"),
        publish=Publishing(docker="off", export=blocked),
    )
    with open_workshop(config, {}) as shop:
        old, new = (
            make_image(shop, Design("web", version, ("web:latest",))).manifest
            for version in ("1", "2")
        )
        blocked.write_text("no folder")
        row = EditRow("rollback", "web", new, old, "ann", 1.0)
        with pytest.raises(PublishError, match="images") as caught:
            move_tags(shop, row, shop.records.image(old) or {}, ["web:latest"])
        assert shop.records.tagged("web:latest") == old
    assert "edit 1 is in the store" in caught.value.hint
