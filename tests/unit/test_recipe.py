"""Versions, placeholders and tag names."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.errors import RecipeError
from minid.formats.digest import Digest
from minid.recipe import Build, ImageTable, Recipe, Source, expand, tag_names, version_parts


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("1.26.3", ("1", "26", "3")),
        ("8.2", ("8", "2", "0")),
        ("7", ("7", "0", "0")),
        ("3.0.20.4", ("3", "0", "20")),
        ("v2.5-rc1", ("2", "5", "1")),
        ("10_46p2", ("10", "46", "2")),
        ("next", ("0", "0", "0")),
    ],
)
def test_parts_of_a_version(version: str, parts: tuple[str, str, str]) -> None:
    found = version_parts(version)
    assert (found["major"], found["minor"], found["patch"]) == parts
    assert found["version"] == version


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("nginx-{version}.tar.gz", "nginx-1.26.3.tar.gz"),
        ("{major}.{minor}/{patch}", "1.26/3"),
        ("{version}{version}", "1.26.31.26.3"),
        ("awk '{print $1}' ${HOME} {\"a\": {}}", "awk '{print $1}' ${HOME} {\"a\": {}}"),
        ("{{version}}", "{1.26.3}"),
        ("{Version} {version } {}", "{Version} {version } {}"),
        ("", ""),
    ],
)
def test_only_the_known_placeholders_are_filled_in(template: str, text: str) -> None:
    assert expand(template, "1.26.3") == text


def test_a_version_is_not_expanded_again() -> None:
    assert expand("{version}", "{major}") == "{major}"


def recipe(*tags: str, version: str = "1.26.3") -> Recipe:
    return Recipe(
        name="nginx",
        file=Path("recipes/nginx.toml"),
        folder=Path("recipes/nginx"),
        kind="image",
        source=Source(version, "https://upstream.test/x", Digest.of(b"")),
        build=Build(),
        image=ImageTable(tags=tags),
    )


def test_tags_are_under_the_name_unless_they_bring_one() -> None:
    made = recipe("{version}", "{major}.{minor}", "latest", "other:{major}")
    assert tag_names(made) == ("nginx:1.26.3", "nginx:1.26", "nginx:latest", "other:1")


def test_each_tag_once_in_the_order_of_the_file() -> None:
    made = recipe("latest", "{major}.{minor}", "{version}", "nginx:latest", version="1.26")
    assert tag_names(made) == ("nginx:latest", "nginx:1.26")


def test_without_tags() -> None:
    assert tag_names(recipe()) == ()
    assert ImageTable().tags == ("{version}", "latest")


@pytest.mark.parametrize(
    "tag", ["", "a b", "a/b", "-x", "UPPER:x", "a:b:c", ":x", "x\n", "é", "x" * 129, "x:"]
)
def test_what_no_engine_takes_is_refused(tag: str) -> None:
    with pytest.raises(RecipeError, match=r"recipes/nginx\.toml: image\.tags: expected a tag"):
        tag_names(recipe(tag))


def test_a_version_can_be_no_tag() -> None:
    with pytest.raises(RecipeError, match=r"1\.2\+dfsg"):
        tag_names(recipe("{version}", version="1.2+dfsg"))
