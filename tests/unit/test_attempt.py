"""The key of an attempt, and the words for what changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.line.attempt import attempt_key, describe_changes, reason_of
from minid.line.planning import Standing
from minid.recipe import Build, Recipe, Source, Track
from minid.steps.plan import OwnFiles, Plan

RECIPE = Recipe(
    name="web",
    file=Path("web.toml"),
    folder=Path("web"),
    kind="image",
    source=Source("1.2", "https://upstream.test/web.tar.gz", Digest.of(b"")),
    build=Build(steps=("make",)),
)
STANDING = Standing(RECIPE, OwnFiles(), None, Digest.of(b""), None, (), None, (), False)


def of(recipe: Recipe, **values: object) -> str:
    return attempt_key(replace(STANDING, recipe=recipe, **values))  # type: ignore[arg-type]


def test_without_a_plan_the_recipe_counts_and_not_where_it_lies():
    key = of(RECIPE)
    assert key.startswith("recipe:")
    moved = replace(RECIPE, file=Path("/b/web.toml"), folder=Path("/b/web"))
    assert of(moved) == of(replace(RECIPE, track=Track("none"))) == key


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, source=replace(RECIPE.source, version="1.3")),
        replace(RECIPE, source=replace(RECIPE.source, sha256=Digest.of(b"x"))),
        replace(RECIPE, build=replace(RECIPE.build, packages=("zlib1g-dev",))),
        replace(RECIPE, summary="a web server"),
    ],
)
def test_what_means_something_else_has_another_key(other: Recipe):
    assert of(other) != of(RECIPE)


def test_own_files_count():
    patched = of(RECIPE, files=OwnFiles((("a.patch", b"1"),)))
    assert len({patched, of(RECIPE), of(RECIPE, files=OwnFiles((("a.patch", b"2"),)))}) == 3


def test_what_it_stands_on_counts():
    lib = replace(STANDING, recipe=replace(RECIPE, name="lib"))
    web = replace(STANDING, recipe=replace(RECIPE, build=Build(needs=("lib",))))
    other = replace(lib, recipe=replace(lib.recipe, summary="another"))
    keys = {attempt_key(web, {"lib": item}) for item in (lib, other)}
    assert len(keys) == 2


def test_with_a_plan_its_inputs_count_and_nothing_else():
    plan = Plan("c", inputs={"a": "1"})
    key = of(RECIPE, plan=plan)
    assert key.startswith("plan:")
    assert of(replace(RECIPE, summary="x"), plan=plan) == key
    assert of(RECIPE, plan=Plan("c", inputs={"a": "2"})) != key


def test_changes_are_told_in_a_short_line_each():
    before = {"a": "1", "long": "x y" * 100, "old": "gone", "archive": str(Digest.of(b"1"))}
    now = {"a": "2", "long": "z", "new": "", "archive": str(Digest.of(b"2"))}
    standing = replace(
        STANDING, plan=Plan("c", inputs=now), changes=("a", "archive", "long", "new", "old")
    )
    lines = describe_changes(standing, before)
    assert lines[0] == "a: 1 → 2"
    assert lines[1] == f"archive: {Digest.of(b'1').hex[:12]} → {Digest.of(b'2').hex[:12]}"
    assert all(len(line) < 140 for line in lines)
    assert lines[3:] == ("new: nothing → empty", "old: gone → nothing")


def test_reasons():
    assert reason_of(STANDING, {}) == "first build"
    assert reason_of(replace(STANDING, changes=("a", "b")), {"a": "1"}) == "changed: a, b"
    assert reason_of(replace(STANDING, pending=("docker",)), {"a": "1"}) == "missing at docker"
    assert reason_of(STANDING, {"a": "1"}) == "asked"


def test_a_ladder_of_recipes_has_its_key_soon():
    """Each stands on the two before it: every way down would be more than can be counted."""
    ladder: dict[str, Standing] = {}
    for number in range(60):
        needs = tuple(f"lib{below}" for below in (number - 1, number - 2) if below >= 0)
        recipe = replace(RECIPE, name=f"lib{number}", build=replace(RECIPE.build, needs=needs))
        ladder[recipe.name] = replace(STANDING, recipe=recipe, plan=None)
    assert attempt_key(ladder["lib59"], ladder) != attempt_key(ladder["lib58"], ladder)
