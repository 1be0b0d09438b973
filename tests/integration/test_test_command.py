"""`minid test`: the smoke tests on a stored image, now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minid.errors import CheckError
from tests.support.line import GROUND_FILES, GROUND_TABLES, Line, line_folder
from tests.support.require import require

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    """A folder with one image, built."""
    require("bwrap", "gcc", "make", "runc")
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        line.add_recipe("ground", GROUND_FILES, GROUND_TABLES)
        line.build("ground")
        yield line


def test_what_the_program_answered_is_shown_and_nothing_recorded(line: Line):
    before = (line.state / "records.sqlite").read_bytes()
    done = line.run("test", "ground")
    assert done.status == 0, done.err
    assert "ground 1.0.0 in the sandbox: sha256:" in done.out
    assert "exec /bin/tool id: passed" in done.out
    assert "    | uid=0" in done.out
    assert (line.state / "records.sqlite").read_bytes() == before


def test_json_is_of_the_image_that_was_asked_for(line: Line):
    tags = line.tags()
    value = line.query("test", "ground:latest")
    assert (value["passed"], value["runner"]) == (True, "sandbox")
    assert value["manifest"] == tags["ground:latest"]
    assert [result["name"] for result in value["results"]] == ["exec /bin/tool id"]
    assert line.query("test", tags["ground:latest"])["manifest"] == tags["ground:latest"]


def test_the_audit_is_asked_for(line: Line):
    assert "files looked for in vain" not in line.run("test", "ground").out
    assert "files looked for in vain" in line.run("test", "--audit", "ground").out


def test_the_recipe_of_today_judges_the_image_that_is_stored(line: Line):
    """A check is changed after the build: nothing is built, and the image is asked anew."""
    tags = line.tags()
    line.edit("ground", 'contains = "uid=0"', 'contains = "uid=7"')
    try:
        done = line.run("test", "ground")
    finally:
        line.edit("ground", 'contains = "uid=7"', 'contains = "uid=0"')
    assert done.status == CheckError.exit_code
    assert "exec /bin/tool id: FAILED" in done.out
    assert "'uid=7'" in done.out
    assert line.tags() == tags


def test_a_lost_layer_is_told(line: Line):
    layers = line.query("inspect", "ground")["layers"]
    blob = line.store / "blobs" / "sha256" / layers[0]["diff_id"].removeprefix("sha256:")
    aside = blob.with_name("aside")
    blob.rename(aside)
    try:
        done = line.run("test", "ground")
    finally:
        aside.rename(blob)
    assert done.status == 26
    assert layers[0]["diff_id"] in done.err


def test_an_image_that_is_not_there(line: Line):
    done = line.run("test", "nothing")
    assert done.status == 2
    assert "expected an image" in done.err
