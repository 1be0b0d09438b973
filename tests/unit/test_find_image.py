"""Finding the image that a person means."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.cli.store_reader import find_image
from minid.errors import UsageError
from minid.store.meaning import find_tag
from minid.store.records import Records, TagRow


def test_of_many_tags_a_few_are_named(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.sqlite", writable=True)
    image = {"manifest": f"sha256:{'a' * 64}", "recipe": "web", "version": "1"}
    run = records.start_run("web", "1", "asked", [], 1.0)
    records.publish(run, image, [f"web:{number}" for number in range(50)], 2.0)
    assert find_image(records, "web:49") == image
    with pytest.raises(UsageError, match="40 more, got 'nope'") as caught:
        find_image(records, "nope")
    assert len(str(caught.value)) < 200
    records.close()


def publish(
    records: Records, recipe: str, digit: str, moved: float, *tags: str
) -> dict[str, object]:
    """An image of a recipe ("": from elsewhere) under these tags."""
    image = {"manifest": f"sha256:{digit * 64}", "recipe": recipe, "version": "1"}
    run = records.start_run(recipe or "load", "1", "asked", [], moved)
    records.publish(run, image, tags, moved)
    return image


def test_latest_of_another_recipe_is_not_what_the_recipe_means(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.sqlite", writable=True)
    old = publish(records, "db", "a", 1.0, "db:10", "db:10.11")
    assert find_image(records, "db") == old
    new = publish(records, "db-11", "b", 2.0, "db:11", "db:latest")
    assert find_image(records, "db") == old
    assert find_image(records, "db-11") == new
    assert find_image(records, "db:latest") == new
    assert find_tag(records, "db") == TagRow("db:10", str(old["manifest"]), 1.0)
    older = publish(records, "db", "c", 3.0, "db:9")
    assert find_image(records, "db") == older  # what moved last
    records.close()


def test_latest_is_meant_otherwise(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.sqlite", writable=True)
    publish(records, "web", "a", 1.0, "web:1")
    pulled = publish(records, "", "b", 2.0, "web:latest")
    assert find_image(records, "web") == pulled
    other = publish(records, "hello", "c", 3.0, "greeter:latest")
    assert find_image(records, "greeter") == other
    assert find_tag(records, "hello") is None
    assert find_image(records, "hello") == other
    records.close()
