"""Lints on the line: what ends a run, what is told and recorded, and what a release changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.line import HELLO_FILES, HELLO_TABLES, Line, new_line
from tests.support.require import require
from tests.support.tiny_image import file, folder, layer_bytes

pytestmark = pytest.mark.integration

FAULT = '[{ path = "/srv/x", content = "a", mode = "4757" }, '
SILENCES = """
[lint]
ignore = [
  { rule = "setuid", paths = ["/srv/*"], reason = "for a test" },
  { rule = "world-writable", reason = "for a test" },
]
"""


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    require("bwrap", "gcc")
    with new_line() as made:
        made.build()
        yield made


def rules(outcome: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in outcome["lint"]]


def test_an_error_ends_the_run_and_a_reason_lets_it_be(line: Line) -> None:
    before = line.tags()
    plain = line.recipe("hello").read_text()
    line.edit("hello", "files = [", f"files = {FAULT}")
    done = line.run("build", "hello")
    assert done.status == 27
    assert "recipes/hello.toml: lint: setuid: /srv/x: has mode 4757" in done.err
    assert "lint: world-writable: /srv/x" in done.err
    assert line.tags() == before

    line.recipe("hello").write_text(line.recipe("hello").read_text() + SILENCES)
    built = line.build("hello")["hello"]
    assert [(each["rule"], each["silenced"]) for each in built["lint"]] == [
        ("setuid", "for a test"),
        ("world-writable", "for a test"),
    ]
    assert built["stages"]["compile"] == built["stages"]["pack"] == built["stages"]["image"] == 0
    assert line.query("inspect", "hello", "--field", "lint") == built["lint"]
    assert line.query("lint", "--image", "hello")["findings"] == built["lint"]

    line.recipe("hello").write_text(plain + SILENCES)  # they silence nothing now
    assert rules(line.build("hello")["hello"]) == ["unused-ignore", "unused-ignore"]
    line.recipe("hello").write_text(plain)
    assert rules(line.build("hello")["hello"]) == []


def test_an_image_that_is_there_is_looked_over(line: Line) -> None:
    assert line.run("lint", "--image", "ground").out == "ground: nothing found\n"
    assert line.run("lint", "--image", "nobody").status == 2
    entries = [folder("bin"), file("bin/ping", b"ping", 0o4755), folder("tmp", 0o1777)]
    (line.folder / "root.tar").write_bytes(layer_bytes(entries))
    done = line.run("import", "root.tar", "foreign:1")
    assert done.status == 0, done.err
    done = line.run("lint", "--image", "foreign:1")
    assert (done.status, done.out) == (27, "error: setuid: /bin/ping: has mode 4755\n")


def test_a_release_is_compared_with_the_one_before(line: Line) -> None:
    files = {**HELLO_FILES, "COPYING": "Copyright (c) 2024 them\nDo as you like.\n"}
    head = 'needs = ["words"]\n'
    for version in ("2.0.0", "2.0.1"):  # the second differs by its year
        line.add_recipe("hello", files, HELLO_TABLES, version=version, build=head)
        assert rules(line.build("hello")["hello"]) == []
        files["COPYING"] = files["COPYING"].replace("2024", "2025")
    files["COPYING"] = "Ask us first.\n"
    files["hello.conf"] += "# more\n" * 50_000
    line.add_recipe("hello", files, HELLO_TABLES, version="2.0.2", build=head)
    done = line.run("build", "hello")
    assert done.status == 0, done.err
    assert "note: lint: warning: license-changed: the source's COPYING has another" in done.err
    assert "note: lint: warning: size-grown: " in done.err

    (line.folder / "config.toml").write_text(
        (line.folder / "config.toml").read_text() + "\n[lint]\nstrict = true\n"
    )
    files["COPYING"] = "Never.\n"
    line.add_recipe("hello", files, HELLO_TABLES, version="2.0.3", build=head)
    done = line.run("build", "hello")
    assert done.status == 27
    assert "license-changed" in done.err and "size-grown" not in done.err
