"""Finding the image that a person means."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.cli.store_reader import find_image
from minid.errors import UsageError
from minid.store.records import Records


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
