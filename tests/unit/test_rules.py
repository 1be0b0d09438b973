"""The [track] table as rules: defaults, addresses of archives, what does not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.config import Tracking
from minid.errors import RecipeError
from minid.formats.digest import Digest
from minid.recipe import Build, Recipe, Source, Track
from minid.upstream.rules import Rules, extension_of, read_rules
from minid.upstream.shape import jump_reason, shape_reason
from minid.upstream.values import DigestList, Found, Verify

URL = "https://example.org/{major}/foo-{version}.tgz"


def rules_of(source: str = "index", url: str = URL, **options: object) -> Rules:
    return read_rules(recipe_of(source, url, **options))


def recipe_of(source: str = "index", url: str = URL, **options: object) -> Recipe:
    return Recipe(
        name="foo",
        file=Path("recipes/foo.toml"),
        folder=Path("recipes/foo"),
        kind="library",
        source=Source("1.2.3", url, Digest("1" * 64)),
        build=Build(),
        track=Track(source, tuple(sorted(options.items()))),  # type: ignore[arg-type]
    )


def test_defaults() -> None:
    rules = read_rules(recipe_of(), Tracking(every_s=5.0, settle_s=7.0))
    assert (rules.every_s, rules.settle_s, rules.max_jump) == (5.0, 7.0, 1)
    assert (rules.parity, rules.parity_of, rules.series, rules.pre) == ("", 2, "", False)
    assert (rules.extension, rules.version, rules.source_url) == (".tar.gz", "1.2.3", URL)
    assert rules.version_in("foo-1.2.3.tar.gz") is None
    assert rules.verify == Verify()


def test_every_key() -> None:
    rules = rules_of(
        "json",
        url="https://example.org/foo.tar.xz",
        items="releases",
        version="@key",
        where=(("stable", True),),
        artifact="https://example.org/a-{version}",
        match="v(?P<version>.*)",
        series="1.2",
        parity="odd",
        parity_of=3,
        pre=True,
        reject=("1.2.5", r"1\.2\.7.*", "1.2.9+x"),
        every=60,
        settle=0,
        max_jump=4,
        verify=(("sha256", "https://example.org/SHA256SUMS"),),
    )
    assert (rules.items, rules.version_field, rules.where) == (
        "releases",
        "@key",
        (("stable", True),),
    )
    assert (rules.every_s, rules.settle_s, rules.max_jump, rules.extension) == (60.0, 0.0, 4, "")
    assert rules.version_in("v1.2.3") == "1.2.3"
    assert rules.verify == Verify(DigestList("https://example.org/SHA256SUMS"))
    assert rules.drop_reason("1.2.11") == rules.drop_reason("1.2.3rc1") == ""
    assert rules.drop_reason("1.2.5") == rules.drop_reason("1.2.9+x") == "rejected by the recipe"
    assert rules.drop_reason("1.2.71") == r"rejected by the recipe: 1\.2\.7.*"
    assert rules.drop_reason("1.2.4") == "component 3 is not odd"
    assert rules.drop_reason("1.3.3") == rules.outside == "not in series 1.2"


def test_a_rejected_version_is_no_pattern() -> None:
    assert rules_of(reject=("1.2.5",)).drop_reason("1.295") == ""


def test_a_missing_component_is_even() -> None:
    assert rules_of(parity="even").drop_reason("2") == ""
    assert rules_of(parity="odd").drop_reason("2") != ""


def test_where_an_archive_is() -> None:
    page = Found("2.0", "https://example.org/files/foo-2.0.tgz")
    assert rules_of().artifact_url(page) == page.url
    assert rules_of().artifact_url(Found("2.0")) == "https://example.org/2/foo-2.0.tgz"
    template = rules_of(artifact="https://example.org/v{version}/x.zip")
    assert template.artifact_url(page) == "https://example.org/v2.0/x.zip"
    fixed = rules_of("text", "https://example.org/foo-1.2.3.tar.gz")
    assert fixed.artifact_url(Found("2.0")) == "https://example.org/foo-2.0.tar.gz"
    in_folders = "https://1.2.example.org/v1/1.2/1.2.3/1/12/foo-1.2.3.tar.gz"
    assert rules_of("text", in_folders).artifact_url(Found("2.10.1")) == (
        "https://1.2.example.org/v2/2.10/2.10.1/2/12/foo-2.10.1.tar.gz"
    )
    without = rules_of("text", "https://example.org/latest")
    assert without.artifact_url(Found("2.0")) == "https://example.org/latest"


@pytest.mark.parametrize(
    ("url", "extension"),
    [
        ("https://x.org/a-1.0.tar.gz", ".tar.gz"),
        ("https://x.org/a-1.0.TGZ?x=1.zip#y", ".tar.gz"),
        ("https://x.org/a-1.0.tbz", ".tar.bz2"),
        ("https://x.org/a-1.0.tar", ".tar"),
        ("https://x.org/a-1.0.tar.zst", ".tar.zst"),
        ("https://x.org/a-1.0.zip", ".zip"),
        ("https://x.org/a-1.0", ""),
        ("https://x.org/a-1.0.tar.gz.asc", ""),
    ],
)
def test_extensions(url: str, extension: str) -> None:
    assert extension_of(url) == extension


def test_basis_and_proof_follow_what_they_are_of() -> None:
    plain = rules_of(series="1.2")
    assert plain.basis == rules_of(series="1.2", every=5, settle=3, max_jump=7).basis
    assert plain.basis != rules_of(series="1.3").basis
    assert plain.basis != rules_of("text", series="1.2").basis
    signed = rules_of(series="1.2", verify=(("unsigned", True),))
    assert (signed.basis, signed.proof == plain.proof) == (plain.basis, False)


def test_a_pattern_that_the_engine_refuses() -> None:
    with pytest.raises(RecipeError, match=r"recipes/foo\.toml: track\.match: expected a pattern"):
        rules_of(match="(?P<version>a)(?=b)")
    with pytest.raises(RecipeError, match=r"track\.reject: expected a pattern of RE2's syntax"):
        rules_of(reject=("(",))


@pytest.mark.parametrize(
    ("version", "current", "words"),
    [
        ("20160708", "2.0.0", "looks like a date"),
        ("2024.1", "1.9", "looks like a date"),
        ("20150213.1", "1.10.0", "looks like a date"),
        ("21.03.21", "6.26", "looks like a date"),
        ("1.0-2016-07-08", "1.0", "leading zero"),
        ("662", "6.61", "has one number"),
        ("1.04", "1.3.12", "leading zero"),
        ("1.0.0-linux-x86-64", "1.0.0", "more than 12 characters longer"),
    ],
)
def test_shapes_that_need_approval(version: str, current: str, words: str) -> None:
    assert words in shape_reason(version, current)
    assert not shape_reason(version, version)


@pytest.mark.parametrize(
    ("version", "current"),
    [
        ("20240705", "20240203"),
        ("2025.1", "2024.12"),
        ("668", "661"),
        ("1.05", "1.04"),
        ("1.10.0", "1.9.3"),
        ("1.1.1w", "1.1.1"),
        ("10.0p1", "9.9p2"),
        ("2.0", "1"),
        ("8.4.10", "8.4.9"),
        ("2019.1.1", "1999.1"),
    ],
)
def test_shapes_that_do_not(version: str, current: str) -> None:
    assert shape_reason(version, current) == ""


def test_jumps() -> None:
    assert jump_reason("3.0", "1.9", 1).startswith("its first number goes up by 2, from 1 to 3")
    assert jump_reason("2.0", "1.9", 1) == jump_reason("3.0", "1.9", 2) == ""
    assert jump_reason("x", "1", 0) == jump_reason("9" * 200, "1", 0) == ""
