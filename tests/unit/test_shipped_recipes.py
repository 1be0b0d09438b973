"""The recipes that minid ships, as far as nothing needs to be built for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.recipe import Recipe, tag_names
from minid.recipe_graph import check_together
from minid.recipe_reader import load_recipe
from minid.steps.plan import Plan, load_own_files, make_plan
from minid.upstream.openpgp import load_pinned
from minid.upstream.rules import read_rules

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = {path.stem: load_recipe(path) for path in sorted(FOLDER.glob("*.toml"))}
SCRIPTS = sorted(FOLDER.glob("*/*.sh"))
# What a recipe without them would be shipped with: nobody knows what it is.
WORDS = ("summary", "license", "homepage")


def test_they_fit_together() -> None:
    assert check_together(RECIPES) == ()


@pytest.mark.parametrize("made", RECIPES.values(), ids=RECIPES)
def test_each_says_what_it_is_and_where_releases_come_from(made: Recipe) -> None:
    assert all(getattr(made, word) for word in WORDS)
    assert made.track is not None
    assert made.kind == "library" or made.checks


@pytest.mark.parametrize("made", RECIPES.values(), ids=RECIPES)
def test_each_can_be_planned(made: Recipe) -> None:
    plan = make_plan(
        made,
        archive=made.source.sha256,
        environment=Digest.of(b"environment"),
        needs=dict.fromkeys(made.build.needs, "a" * 64),
        base=Plan("bc", "bp", "base compose", "base image"),
        files=load_own_files(made),
        architecture="x86_64",
    )
    assert plan.compile
    assert bool(plan.image) == (made.kind == "image")


def test_mariadb_and_mysql_share_a_name_and_no_tag() -> None:
    shared = [tag for tag in tag_names(RECIPES["mariadb"]) if tag.startswith("mysql:")]
    assert "mysql:10.11" in shared
    assert not set(shared) & set(tag_names(RECIPES["mysql"]))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_entry_scripts_are_shell(script: Path) -> None:
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.read_text().startswith("#!/bin/sh\n")


# A recipe reads only files of its own folder: what several need lies in each of theirs.
TWINS = {
    ("redis", "redis-7"): ("docker-entrypoint.sh",),
    ("mariadb", "mariadb-11"): ("docker-entrypoint.sh", "my.cnf", "release-key.asc"),
    ("nginx", "nginx-static", "nginx-micro"): ("release-keys.asc",),
    ("openssl", "openssl-musl"): ("release-keys.asc",),
    ("busybox", "busybox-musl"): ("release-key.asc",),
    ("php-cli", "php-fpm"): ("php-8.2.asc",),
}


@pytest.mark.parametrize("names", TWINS, ids="=".join)
def test_twins_share_their_files(names: tuple[str, ...]) -> None:
    for file in TWINS[names]:
        assert len({(FOLDER / name / file).read_bytes() for name in names}) == 1, file


@pytest.mark.parametrize("made", RECIPES.values(), ids=RECIPES)
def test_pinned_keys_are_there(made: Recipe) -> None:
    """A missing or damaged key would hold the first release, months later."""
    openpgp = read_rules(made).verify.openpgp
    if openpgp:
        assert load_pinned(openpgp.keys, FOLDER / made.name).pins
