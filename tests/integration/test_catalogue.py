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
from tests.support.bom_oracles import check_cyclonedx, check_spdx, components_of
from tests.support.require import require
from tests.support.shipped import minid, shipped_folder
from tests.support.users import ROOT

pytestmark = pytest.mark.integration

BARS = tomllib.loads((ROOT / "benchmarks" / "catalogue.toml").read_text())
QUICK = (
    "busybox",
    "busybox-musl",
    "nginx",
    "nginx-micro",
    "nginx-static",
    "memcached",
    "redis",
    "php-cli",
)
SLOW = ("redis-7", "php-fpm", "mariadb", "mariadb-11")
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


def test_what_is_told_of_nginx(folder: Path) -> None:
    minid(folder, "build", "nginx")
    assert "nothing has changed" in minid(folder, "build", "nginx")
    files = facts(folder, "why", "nginx", "/usr/local/nginx/sbin/nginx")
    assert files["chain"][0]["how"] == "installed"
    (layer, *_) = facts(folder, "inspect", "nginx")["layers"]
    assert layer == facts(folder, "inspect", "busybox")["layers"][0]


def test_bills_name_what_nginx_is_made_of(folder: Path) -> None:
    """Both are valid, with versions and licences."""
    minid(folder, "build", "nginx")
    bill = check_spdx(minid(folder, "sbom", "nginx").encode())
    packages = {item["name"]: item for item in bill["packages"]}
    versions = {name: item["versionInfo"] for name, item in packages.items()}
    wanted = {"nginx", "pcre2", "zlib", "openssl", "glibc", "busybox"}
    assert wanted <= versions.keys()
    assert (versions["nginx"], versions["busybox"]) == ("1.26.3", "1.37.0")
    assert packages["zlib"]["licenseDeclared"] == "Zlib"
    assert packages["nginx"]["downloadLocation"].endswith("/nginx-1.26.3.tar.gz")
    other = check_cyclonedx(minid(folder, "sbom", "nginx", "--format", "cyclonedx").encode())
    found = components_of(other["components"])
    assert {name: found[name] for name in wanted} == {name: versions[name] for name in wanted}


def test_every_image_is_built_here_or_said_not_to_be() -> None:
    """A recipe that no test builds is named in the README."""
    recipes, problems = load_recipes(ROOT / "recipes")
    assert not problems
    images = {name for name, recipe in recipes.items() if recipe.kind == "image"}
    missing = images - {*QUICK, *SLOW}
    readme = (ROOT / "README.md").read_text()
    assert not {name for name in missing if f"`{name}`" not in readme}
