"""`minid check`, `approve`, `reject` and `pin`, by themselves and through the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from tests.support.daemon import daemon_of
from tests.support.line import GROUND_FILES, Line, line_folder, wait_for
from tests.support.require import require
from tests.support.tool_site import CONFIG, PAGE, put_release, put_tool
from tests.support.upstream_site import UpstreamSite, index_page

pytestmark = pytest.mark.integration


@pytest.fixture
def site() -> Iterator[UpstreamSite]:
    with UpstreamSite() as site:
        yield site


@pytest.fixture(params=["alone", "service"])
def line(site: UpstreamSite, request: pytest.FixtureRequest) -> Iterator[Line]:
    """A recipe `tool` at 1.0.0, which the service or the command line alone has built."""
    require("bwrap", "gcc", "make", "runc")
    with line_folder() as folder:
        (folder / "recipes").mkdir()
        # The service asks by itself only once an hour: what happens, a command does.
        (folder / "config.toml").write_text(CONFIG.replace('every = "1 s"', 'every = "1 h"'))
        line = Line(folder)
        put_tool(line, site)
        served = daemon_of(line) if request.param == "service" else nullcontext()
        with served as daemon:
            if daemon is not None:
                wait_for(lambda: daemon.rows() and daemon.over())
            line.build("tool")
            line.query("check", "tool")
            yield line


def release(site: UpstreamSite, *versions: str) -> None:
    """Put these beside 1.0.0."""
    for version in versions:
        put_release(site, version, {**GROUND_FILES, "NEWS": f"{version}\n"})
    site.put(PAGE, index_page(*(f"tool-{version}.tar.gz" for version in ("1.0.0", *versions))))


def check(line: Line) -> Any:
    """What `minid check` says of the recipe; its status tells whether a person is needed."""
    done = line.run("check", "tool", "--json")
    (answer,) = done.json()
    needed = answer["decision"] in ("held", "suspect", "failed")
    assert done.status == (3 if needed else 0), done.err
    return answer


def built(line: Line) -> set[str]:
    """The tags once all is built."""
    line.build("tool")
    return {tag.partition(":")[2] for tag in line.tags()}


def test_a_check_moves_the_recipe_and_says_why_not_further(line: Line, site: UpstreamSite) -> None:
    release(site, "1.1.0", "1.2.0-rc1")
    site.put(PAGE, index_page("tool-1.0.0.tar.gz", "tool-1.1.0.tar.gz", "tool-3.0.0.tar.gz"))
    answer = check(line)
    assert answer["version"] == "1.1.0"
    assert answer["decision"] in ("accepted", "held", "up-to-date")
    assert {item["version"]: item["reason"] for item in answer["reasons"]}["3.0.0"].startswith(
        "needs approval: its first number goes up by 2"
    )
    assert built(line) == {"1.0.0", "1.1.0", "latest"}
    text = line.run("check", "tool").out
    assert text.count("3.0.0 needs approval") == 1, "the note is no reason once more"
    assert "minid approve tool 3.0.0" in text


def test_a_held_release_is_approved(line: Line, site: UpstreamSite) -> None:
    release(site, "5.0.0")
    assert check(line)["decision"] == "held"
    assert built(line) == {"1.0.0", "latest"}
    assert line.query("approve", "tool", "5.0.0")["version"] == "5.0.0"
    assert built(line) == {"1.0.0", "5.0.0", "latest"}


def test_a_rejected_release_never_comes(line: Line, site: UpstreamSite) -> None:
    release(site, "1.1.0")
    line.query("reject", "tool", "1.1.0")
    answer = check(line)
    assert answer["decision"] == "up-to-date"
    assert answer["reasons"] == [{"version": "1.1.0", "reason": "rejected by a person"}]
    assert built(line) == {"1.0.0", "latest"}


def test_a_rejected_release_that_was_taken_goes_back(line: Line, site: UpstreamSite) -> None:
    release(site, "1.1.0")
    check(line)
    assert built(line) == {"1.0.0", "1.1.0", "latest"}
    newest = line.tags()["tool:latest"]
    line.query("reject", "tool", "1.1.0")
    built(line)
    assert line.tags()["tool:latest"] == line.tags()["tool:1.0.0"] != newest


def test_a_pinned_recipe_stays_until_it_is_released(line: Line, site: UpstreamSite) -> None:
    release(site, "1.1.0")
    assert line.query("pin", "tool", "1.1.0")["version"] == "1.1.0"
    assert built(line) == {"1.0.0", "1.1.0", "latest"}
    release(site, "1.1.0", "1.2.0")
    assert check(line)["decision"] == "pinned"
    assert "1.2.0" not in built(line)
    line.query("pin", "tool", "--release")
    check(line)
    assert "1.2.0" in built(line)


def test_a_pin_is_written_into_the_file(line: Line, site: UpstreamSite) -> None:
    release(site, "1.1.0")
    file = line.recipe("tool")
    file.write_text(file.read_text().replace("[build]", "# mine\n[build] # too"))
    before = file.read_text()
    answer = line.query("pin", "tool", "1.1.0", "--write")
    assert answer["file"] == str(file)
    after = file.read_text()
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert [old.partition(" ")[0] for old, _ in changed] == ["version", "sha256"]
    assert 'version = "1.1.0"' in after
    assert built(line) == {"1.0.0", "1.1.0", "latest"}


def test_what_is_not_there_is_an_error(line: Line) -> None:
    done = line.run("approve", "tool", "7.7.7")
    assert done.status == 2
    assert "expected a release that its page lists, got '7.7.7'" in done.err
    assert line.run("pin", "tool", "7.7.7").status == 12
    for command in ("approve", "reject", "pin"):
        assert line.run(command, "nobody", "1.0").status == 2
    assert line.run("check", "nobody").status == 2
