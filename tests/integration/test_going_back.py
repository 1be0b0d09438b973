"""Collecting, proving, rolling back and building again, in a real working folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.line import GROUND_FILES, GROUND_TABLES, Line, give_to, line_folder
from tests.support.require import require

pytestmark = pytest.mark.integration
USERS = ["", "builder1"] if os.geteuid() == 0 else [""]


@pytest.fixture(params=USERS)
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """One program, built in two versions of its text, as root and as an ordinary user."""
    require("bwrap")
    require("gcc")
    with line_folder() as folder:
        made = Line(folder)
        made.write_config()
        made.add_recipe("ground", GROUND_FILES, GROUND_TABLES)
        text = (folder / "config.toml").read_text()
        (folder / "config.toml").write_text(f"{text}\n[keep]\nimages = 1\nage = 0\nlogs = 0\n")
        given = give_to(made, request.param)
        given.build()
        yield given


def blobs(line: Line) -> set[str]:
    return {path.name for path in (line.store / "blobs" / "sha256").iterdir()}


def test_gc_frees_what_is_dead_and_nothing_else(line: Line) -> None:
    assert line.query("gc")["blobs"] == 0
    first = line.tags()
    line.edit("ground", 'comment = "ground', 'comment = "other')
    line.build()
    assert line.tags() != first
    before = blobs(line)
    planned = line.query("gc", "--dry-run")
    assert blobs(line) == before
    done = line.query("gc")
    assert (done["blobs"], done["images"]) == (planned["blobs"], planned["images"])
    assert [image["manifest"] for image in done["images"]] == [first["ground:latest"]]
    assert len(before) - len(blobs(line)) == done["blobs"] == 3  # manifest, configuration, inputs
    again = line.query("gc")
    assert again["blobs"] == again["results"] == len(again["images"]) == 0
    assert line.query("verify", "--contents")["passed"]
    assert line.build()["ground"]["status"] == "unchanged"


def test_damage_is_told_and_mended(line: Line) -> None:
    detail = line.query("inspect", "ground")
    layer = line.store / "blobs" / "sha256" / detail["layers"][0]["digest"].removeprefix("sha256:")
    data = layer.read_bytes()
    layer.chmod(0o644)
    layer.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    layer.chmod(0o444)
    told = line.run("verify", "--contents", "--json")
    assert told.status == 26
    assert {item["invariant"] for item in told.json()["findings"]} == {"content"}
    assert line.run("verify", "--repair").status == 0
    assert layer.read_bytes() == data


def test_an_image_comes_back_from_the_export_folder(line: Line) -> None:
    config = line.folder / "config.toml"
    config.write_text(config.read_text().replace("[publish]", '[publish]\nexport = "images"'))
    line.build()
    detail = line.query("inspect", "ground")
    layer = detail["layers"][0]
    lost = [detail["manifest"], layer["digest"], layer["diff_id"]]
    before = [line.blob(digest) for digest in lost]
    for digest in lost:
        (line.store / "blobs" / "sha256" / digest.removeprefix("sha256:")).unlink()
    assert line.run("verify").status == 26
    done = line.query("verify", "--repair")
    assert len([text for text in done["mended"] if "found in" in text]) == 2
    assert [line.blob(digest) for digest in lost] == before
    assert line.build()["ground"]["status"] == "unchanged"


def test_selftest(line: Line) -> None:
    trials = line.query("verify", "--selftest")["trials"]
    assert [trial["passed"] for trial in trials] == [True] * 11


def test_rollback_and_the_build_after_it(line: Line) -> None:
    first = line.tags()["ground:latest"]
    line.edit("ground", 'comment = "ground', 'comment = "other')
    line.build()
    done = line.query("rollback", "ground")
    assert done["to"]["manifest"] == first
    assert set(line.tags().values()) == {first}
    assert line.build()["ground"]["status"] == "unchanged"
    assert set(line.tags().values()) == {first}
    assert line.query("verify")["passed"]


def test_the_same_inputs_give_the_same_image(line: Line) -> None:
    before = line.tags(), blobs(line)
    done = line.query("rebuild", "--check", "ground")
    assert done["equal"]
    assert done["difference"] is None
    assert (line.tags(), blobs(line)) == before
    assert list((line.state / "jobs").iterdir()) == []


def test_an_interruption_is_told_as_that(line: Line) -> None:
    files = GROUND_FILES | {"Makefile": GROUND_FILES["Makefile"] + "\tsleep 2\n"}
    line.add_recipe("ground", files, GROUND_TABLES, version="1.0.1")
    line.build()
    with line.start("rebuild", "--check", "ground") as child:
        assert child.stderr is not None
        assert any("compile ..." in text for text in iter(child.stderr.readline, ""))
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=60)[0] == ""
    assert child.returncode == 130
    assert list((line.state / "jobs").iterdir()) == []


def test_what_it_stands_on_is_taken_as_it_is(line: Line) -> None:
    tables = GROUND_TABLES.replace('base = "scratch"', 'base = "ground:latest"')
    tables = "\n".join(row for row in tables.splitlines() if not row.startswith("directories"))
    files = GROUND_FILES | {"Makefile": GROUND_FILES["Makefile"].replace("bin/tool\n", "bin/new\n")}
    line.add_recipe("upon", files, tables)
    line.build("upon")
    assert line.query("rebuild", "--check", "upon")["equal"]


def test_what_differs_is_named(line: Line) -> None:
    steps = "\tmkdir -p $(DESTDIR)/etc\n\tdate +%N > $(DESTDIR)/etc/stamp\n"
    files = GROUND_FILES | {"Makefile": GROUND_FILES["Makefile"] + steps}
    line.add_recipe("ground", files, GROUND_TABLES, version="1.0.1")
    line.build()
    done = line.run("rebuild", "--check", "ground", "--json")
    assert done.status == 20
    difference = done.json()["difference"]
    assert difference["stage"] == "install"
    assert difference["image_path"] == "etc/stamp"
    assert 0 <= difference["offset"] < 9
    assert "stamp" in line.run("rebuild", "--check", "ground").out
