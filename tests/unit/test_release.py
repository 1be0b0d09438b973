"""What a release is called, and where its archive is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.formats.release import archive_url, program_name, settle_source
from minid.recipe import Alternative, Build, Distro, Recipe, Source

OWN, OTHER, DEBIAN = (Digest.of(name.encode()) for name in ("own", "other", "debian"))


def recipe(url: str, distro: str = "") -> Recipe:
    source = Source(
        "1.2.3",
        url,
        OWN,
        distro=Distro(distro, "1.2.3", DEBIAN) if distro else None,
        alternatives=(Alternative("https://other.example/w-{version}.tar.gz", OTHER),),
    )
    return Recipe(
        "web-static", Path("web-static.toml"), Path("web-static"), "image", source, Build()
    )


@pytest.mark.parametrize(
    ("url", "distro", "name"),
    [
        ("https://a.example/web-{version}.tar.gz", "", "web"),
        ("https://a.example/web-{version}.tar.gz", "webd", "web"),
        ("https://a.example/acme/web/archive/refs/tags/v{version}.tar.gz", "", "web"),
        ("https://a.example/latest", "webd", "webd"),
        ("https://a.example/latest", "", "web-static"),
    ],
)
def test_recipes_of_one_program_name_it(url: str, distro: str, name: str) -> None:
    assert program_name(recipe(url, distro)) == name


def test_the_archive_that_was_used_is_the_one_that_is_told() -> None:
    made = recipe("https://a.example/web-{version}.tar.gz", "webd")
    assert archive_url(made.source, OTHER) == "https://other.example/w-1.2.3.tar.gz"
    assert archive_url(made.source, DEBIAN) == ""
    settled = settle_source(made, OTHER).source
    assert (settled.url, settled.sha256) == ("https://other.example/w-1.2.3.tar.gz", OTHER)
    settled = settle_source(made, DEBIAN).source
    assert (settled.url, settled.sha256) == ("https://a.example/web-1.2.3.tar.gz", DEBIAN)
    assert replace(made, source=settled) == settle_source(made, DEBIAN)
