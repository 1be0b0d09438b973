"""The shipped recipes, each built from its source, weighed, checked in both places.

One working folder for all of them: bases and libraries are compiled once. What takes many minutes
is marked slow and left to scripts/nightly.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minid.recipe_reader import load_recipes
from tests.support.require import require
from tests.support.shipped import minid, shipped_folder
from tests.support.users import ROOT

pytestmark = pytest.mark.integration

BARS = tomllib.loads((ROOT / "benchmarks" / "catalogue.toml").read_text())
QUICK = ("busybox", "busybox-musl", "nginx-micro", "nginx-static", "memcached", "redis", "php-cli")
SLOW = ("redis-7", "php-fpm", "mariadb")
MB = 1_000_000


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    require("bwrap", "mmdebstrap", "runc", "docker")
    with shipped_folder("catalogue") as folder:
        yield folder


def facts(folder: Path, *words: str) -> Any:
    """What a command says as JSON."""
    return json.loads(minid(folder, *words, "--json"))


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_recipe(folder: Path, name: str) -> None:
    minid(folder, "build", name)
    sizes = facts(folder, "inspect", name)["sizes"]
    for what in ("unpacked", "archive"):
        assert sizes[what] <= BARS.get(name, {}).get(what, 1e9) * MB, (what, sizes)
    for runner in ("sandbox", "docker"):
        report = facts(folder, "test", name, "--runner", runner)
        assert report["passed"] and len(report["results"]) >= 2, report


def test_every_image_is_built_here_or_said_not_to_be() -> None:
    """A recipe that no test builds is named in the README."""
    recipes, problems = load_recipes(ROOT / "recipes")
    assert not problems
    images = {name for name, recipe in recipes.items() if recipe.kind == "image"}
    missing = images - {"nginx", *QUICK, *SLOW}
    readme = (ROOT / "README.md").read_text()
    assert not {name for name in missing if f"`{name}`" not in readme}
