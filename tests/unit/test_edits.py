"""The ledger of edits: what is recorded comes back, alone or together with the tags it moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.store.edits import EditRow, Edits
from minid.store.records import PublicationRow, Records

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ROW = EditRow("set", "web", ONE, TWO, "ann", 5.0, "why", kept=True, detail={"cmd": ["a"]})


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    found = Records(tmp_path / "records.sqlite", writable=True)
    yield found
    found.close()


def test_an_edit_comes_back_as_it_was(records: Records) -> None:
    edits = Edits(records.database)
    number = edits.add(ROW)
    found = edits.edit(number)
    assert found is not None
    assert found.id == number
    assert (found.kind, found.kept, found.detail, found.who) == ("set", True, {"cmd": ["a"]}, "ann")
    assert edits.made(TWO) == found
    assert edits.made(ONE) is None
    assert edits.of_recipe("web") == edits.all() == [found]
    assert edits.edit(99) is None


def test_an_edit_moves_tags_without_a_run(records: Records) -> None:
    edits = Edits(records.database)
    image = {"manifest": TWO, "recipe": "web", "version": "1"}
    with edits.together():
        number = edits.add(ROW)
        moved = records.publish(0, image, ["web:1"], 5.0, edit=number)
    assert moved == [PublicationRow(0, "store", "web:1", "", TWO, 5.0, number)]
    assert records.publications("web:1") == moved


def test_an_error_leaves_neither_the_edit_nor_its_tags(records: Records) -> None:
    edits = Edits(records.database)
    image = {"manifest": TWO, "recipe": "web", "version": "1"}

    def fail() -> None:
        with edits.together():
            number = edits.add(ROW)
            records.publish(0, image, ["web:1"], 5.0, edit=number)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert edits.all() == []
    assert records.tags() == []
