"""What recipes stand on, told from their names."""

from __future__ import annotations

from pathlib import Path

from minid.formats.digest import Digest
from minid.recipe import Build, Recipe, Source
from minid.recipe_graph import libraries_below


def library(name: str, *needs: str) -> Recipe:
    source = Source(version="1", url=f"https://example.org/{name}-1.tar.gz", sha256=Digest.of(b""))
    file = Path(f"{name}.toml")
    return Recipe(name, file, Path(name), "library", source, Build(steps=("make",), needs=needs))


def test_libraries_below_come_once_the_nearest_first() -> None:
    made = [library("tls", "zlib", "libc"), library("zlib", "libc"), library("libc")]
    recipes = {one.name: one for one in made}
    server = library("server", "tls", "zlib", "unknown")
    assert list(libraries_below(server, recipes)) == [
        ("tls", "server"),
        ("zlib", "server"),
        ("libc", "tls"),
    ]


def test_a_ring_ends() -> None:
    recipes = {one.name: one for one in (library("a", "b"), library("b", "a"))}
    assert list(libraries_below(recipes["a"], recipes)) == [("b", "a"), ("a", "b")]
