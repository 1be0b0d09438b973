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


def test_both_series_of_redis_start_alike() -> None:
    """A recipe lays only files of its own folder: the script is there twice."""
    one, other = (FOLDER / name / "docker-entrypoint.sh" for name in ("redis", "redis-7"))
    assert one.read_bytes() == other.read_bytes()
