"""From an upstream's page to moved tags: nothing changes but the page, the service does it all."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RunningDaemon, daemon_of, open_records, store_faults
from tests.support.line import GROUND_FILES, Line, line_folder
from tests.support.require import demand_or_skip, require
from tests.support.tool_site import BROKEN, CONFIG, PAGE, put_release, put_tool
from tests.support.upstream_site import Page, UpstreamSite, index_page

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]
RELEASES = REPOSITORY.parent / "shared" / "upstream"
NGINX_SIGNATURE = REPOSITORY / "tests" / "data" / "nginx-1.26.3.tar.gz.asc"


@pytest.fixture
def site() -> Iterator[UpstreamSite]:
    with UpstreamSite() as site:
        yield site


@pytest.fixture
def line(site: UpstreamSite) -> Iterator[Line]:
    with line_folder() as folder:
        (folder / "recipes").mkdir()
        (folder / "config.toml").write_text(CONFIG)
        yield Line(folder)


def wait(what: Callable[[], object], daemon: RunningDaemon, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert daemon.alive, daemon.log.read_text()[-5000:]
        assert time.monotonic() < end, daemon.log.read_text()[-5000:]
        time.sleep(0.1)


def tags(line: Line) -> dict[str, str]:
    with open_records(line) as records:
        return {tag.name: tag.manifest for tag in records.tags()}


def status(line: Line) -> Any:
    """What `minid status` says, whatever its status is."""
    return line.run("status", "--json").json()


def compiled(line: Line, recipe: str) -> int:
    """How often it was compiled."""
    with open_records(line) as records:
        stages = [stage for run in records.runs(recipe, 1000) for stage in records.stages(run.id)]
    return sum(stage.name == "compile" and not stage.cached for stage in stages)


# The shipped recipes over real releases.


def put_recipe(line: Line, site: UpstreamSite, name: str, version: str, archive: str) -> None:
    """A shipped recipe at another version, whose upstream is the site."""
    text = (REPOSITORY / "recipes" / f"{name}.toml").read_text()
    digest = hashlib.sha256((RELEASES / archive).read_bytes()).hexdigest()
    for key, value in (("version", version), ("sha256", digest)):
        text = re.sub(rf'^{key} = ".*"$', f'{key} = "{value}"', text, count=1, flags=re.MULTILINE)
    text = re.sub(r"https?://[a-z.]+/downloads?/", site.url(PAGE), text)
    text = re.sub(r"^(series|distro) = .*\n", "", text, flags=re.MULTILINE)
    keys = REPOSITORY / "recipes" / name
    shutil.copytree(keys, line.recipe(name).with_suffix(""))
    line.recipe(name).write_text(text)


def test_new_releases_of_nginx_and_busybox(line: Line, site: UpstreamSite) -> None:
    require("bwrap", "mmdebstrap", "runc")
    old = ("nginx-1.22.1.tar.gz", "busybox-1.35.0.tar.bz2")
    new = ("nginx-1.26.3.tar.gz", "busybox-1.37.0.tar.bz2")
    for name in (*old, *new):
        if not (RELEASES / name).is_file():
            demand_or_skip("releases", f"no {name} in {RELEASES}")
        site.put(PAGE + name, Page((RELEASES / name).read_bytes(), "application/octet-stream"))
    site.put(PAGE, index_page(*old))
    site.put(f"{PAGE}{NGINX_SIGNATURE.name}", Page(NGINX_SIGNATURE.read_bytes(), "text/plain"))
    put_recipe(line, site, "nginx", "1.22.1", old[0])
    put_recipe(line, site, "busybox", "1.35.0", old[1])
    line.edit("busybox", "openpgp = ", "unsigned = true # ")  # no signature of it is here
    with daemon_of(line) as daemon:
        wait(lambda: "nginx:1.22.1" in tags(line) and daemon.over(), daemon, 600)
        first = tags(line)
        assert first["busybox:1.35.0"] == first["busybox:latest"]
        site.put(PAGE, index_page(*old, *new))
        wait(lambda: {"nginx:1.26.3", "busybox:1.37.0"} <= tags(line).keys(), daemon, 600)
        wait(daemon.over, daemon, 300)
        now = tags(line)
        for tag in ("1.26.3", "1.26"):
            assert now[f"nginx:{tag}"] == now["nginx:latest"]
        assert now["busybox:1.37.0"] == now["busybox:latest"]
        assert (now["nginx:1.22.1"], now["busybox:1.35.0"]) == (
            first["nginx:1.22.1"],
            first["busybox:1.35.0"],
        )
        assert [compiled(line, name) for name in ("nginx", "busybox")] == [2, 2]
        layers = {name: line.query("inspect", name)["layers"] for name in ("nginx", "busybox")}
        assert layers["nginx"][0] == layers["busybox"][0], "nginx lies on the new busybox"
        assert not store_faults(line)
        # The files are as they were: minid keeps where it moved to.
        assert 'version = "1.22.1"' in line.recipe("nginx").read_text()
        assert line.query("check", "nginx")[0]["decision"] == "up-to-date"


# A small recipe, whose releases go wrong.


def test_a_release_that_does_not_build_leaves_the_tags(line: Line, site: UpstreamSite) -> None:
    require("bwrap", "gcc", "make", "runc")
    put_tool(line, site)
    with daemon_of(line) as daemon:
        wait(lambda: "tool:1.0.0" in tags(line) and daemon.over(), daemon, 60)
        before = tags(line)
        put_release(site, "1.1.0", BROKEN)
        site.put(PAGE, index_page("tool-1.0.0.tar.gz", "tool-1.1.0.tar.gz"))
        wait(lambda: daemon.events("failed"), daemon, 60)
        assert tags(line) == before
        (row,) = status(line)["recipes"]
        assert (row["version"], row["state"]) == ("1.1.0", "failed")
        # Time alone brings no second attempt, a change of the recipe does.
        seen = len(site.requests(PAGE))
        wait(lambda: len(site.requests(PAGE)) > seen + 2, daemon, 30)
        assert len(daemon.events("failed")) == 1
        assert tags(line) == before
        line.edit("tool", '"make", ', '"sed -i /broken/d tool.c", "make", ')
        wait(lambda: "tool:1.1.0" in tags(line) and daemon.over(), daemon, 60)
        wait(lambda: daemon.events("recovered"), daemon, 60)
        assert tags(line)["tool:latest"] == tags(line)["tool:1.1.0"] != before["tool:latest"]


def test_a_release_that_fails_is_rejected_and_the_next_one_taken(
    line: Line, site: UpstreamSite
) -> None:
    require("bwrap", "gcc", "make", "runc")
    put_tool(line, site)
    with daemon_of(line) as daemon:
        wait(lambda: "tool:1.0.0" in tags(line) and daemon.over(), daemon, 60)
        put_release(site, "1.1.0", BROKEN)
        site.put(PAGE, index_page("tool-1.0.0.tar.gz", "tool-1.1.0.tar.gz"))
        wait(lambda: daemon.events("failed"), daemon, 60)
        line.query("reject", "tool", "1.1.0")
        wait(daemon.over, daemon, 60)
        (row,) = status(line)["recipes"]
        assert (row["version"], row["state"]) == ("1.0.0", "up to date")
        put_release(site, "1.1.1", {**GROUND_FILES, "NEWS": "mended\n"})
        names = [f"tool-1.{number}.tar.gz" for number in ("0.0", "1.0", "1.1")]
        site.put(PAGE, index_page(*names))
        wait(lambda: "tool:1.1.1" in tags(line) and daemon.over(), daemon, 60)
        assert "tool:1.1.0" not in tags(line)


def test_garbage_where_the_page_was_builds_nothing(line: Line, site: UpstreamSite) -> None:
    require("bwrap", "gcc", "make", "runc")
    put_tool(line, site)
    put_release(site, "2.0.0", GROUND_FILES)
    with daemon_of(line) as daemon:
        wait(lambda: "tool:1.0.0" in tags(line) and daemon.over(), daemon, 60)
        runs = len(daemon.rows())
        site.put(PAGE, Page(b"\x00\xffgarbage tool-9.9.9.tar.gz", "text/html"))
        wait(lambda: daemon.events("suspect"), daemon, 60)
        assert status(line)["daemon"]["upstreams"]["attention"].keys() == {"tool"}
        assert len(daemon.rows()) == runs
        assert tags(line).keys() == {"tool:1.0.0", "tool:latest"}
