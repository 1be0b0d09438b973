"""The order of versions: libversion's published comparisons, and what minid asks of versions."""

from __future__ import annotations

import random
import re
from itertools import pairwise, zip_longest

import pytest

from minid.formats.version import compare, component, in_series, is_prerelease, version_key

# The comparisons that libversion publishes (tests/compare_test.c), but for those of bounds and of
# the flag that makes any word a patch. `A|B` are all pairs of one of each.
EQUAL = """
0 0;0a 0a;a a;a0 a0;0a1 0a1;0a1b2 0a1b2;1alpha1 1alpha1;foo foo;1.2.3 1.2.3
hello.world hello.world;1 1.0;1 1.0.0;1.0 1.0.0;1.0 1.0.0.0.0.0.0.0;00100.00100 100.100
0 00000000000000000;1.0a0 1.0.a0;1.0beta3 1.0.b3;a A;1alpha 1ALPHA;alpha1 ALPHA1;a alpha;b beta
p prerelease;1.0.alpha.2 1_0_alpha_2;1.0.alpha.2 1-0-alpha-2;1.0.alpha.2 1,0:alpha~2
..1....2....3.. 1.2.3;.-~1~-.-~2~-. 1.2;.,:;~+-_ 0;1.0p1 1.0p1;1.0a1 1.0a1;1.0p1 1.0pre1
"""
LESS = """
0.0.0 0.0.1;0.0.1 0.0.2;0.0.2 0.0.10;0.0.2 0.1.0;0.0.10 0.1.0;0.1.0 0.1.1;0.1.1 1.0.0
1.0.0 10.0.0;10.0.0 100.0.0;10.10000.10000 11.0.0;20160101 20160102
999999999999999999 1000000000000000000
99999999999999999999999999999999999998 99999999999999999999999999999999999999
1.0 1.0a;1.0a 1.0b;1.0b 1.1;a 0;1.a 1.0;1.0.a 1.0.b;1.0.b 1.0.c;1.0.c 1.0;1.0.c 1.0.0
1.0alpha1 1.0alpha2;1.0alpha2 1.0beta1;1.0beta1 1.0beta2;1.0beta2 1.0rc1;1.0beta2 1.0pre1
1.0rc1 1.0;1.0pre1 1.0
1.0.alpha1 1.0.alpha2;1.0.alpha2 1.0.beta1;1.0.beta1 1.0.beta2;1.0.beta2 1.0.rc1
1.0.beta2 1.0.pre1;1.0.rc1 1.0;1.0.pre1 1.0
1.0alpha.1 1.0alpha.2;1.0alpha.2 1.0beta.1;1.0beta.1 1.0beta.2;1.0beta.2 1.0rc.1
1.0beta.2 1.0pre.1;1.0rc.1 1.0;1.0pre.1 1.0
1.0.alpha.1 1.0.alpha.2;1.0.alpha.2 1.0.beta.1;1.0.beta.1 1.0.beta.2;1.0.beta.2 1.0.rc.1
1.0.beta.2 1.0.pre.1;1.0.rc.1 1.0;1.0.pre.1 1.0
0.9 1.0alpha-1;1.0alpha-1 1.0;1.0alpha-1 1.1;0.9 1.0beta-1;1.0beta-1 1.0;1.0beta-1 1.1
0.9 1.0pre-1;1.0pre-1 1.0;1.0pre-1 1.1;0.9 1.0prerelease-1;1.0prerelease-1 1.0
1.0prerelease-1 1.1;0.9 1.0rc-1;1.0rc-1 1.0;1.0rc-1 1.1
0.9 1.0patch1;1.0 1.0patch1;1.0patch1 1.1;0.9 1.0.patch1;1.0 1.0.patch1;1.0.patch1 1.1
0.9 1.0patch.1;1.0 1.0patch.1;1.0patch.1 1.1;0.9 1.0.patch.1;1.0 1.0.patch.1;1.0.patch.1 1.1
0.9 1.0post1;1.0 1.0post1;1.0post1 1.1;0.9 1.0postanythinggoeshere1
1.0 1.0postanythinggoeshere1;1.0postanythinggoeshere1 1.1;0.9 1.0pl1;1.0 1.0pl1;1.0pl1 1.1
0.9 1.0errata1;1.0 1.0errata1;1.0errata1 1.1
1.0p1 1.0;1.0.p1 1.0;1.0.p.1 1.0;1.0 1.0p.1;1.0a1 1.0;1.0.a1 1.0;1.0.a.1 1.0;1.0 1.0a.1
1.0p1 1.0patch1;1.0p1 1.0post1
1.0alpha 1.0;1.0.alpha 1.0;1.0beta 1.0;1.0.beta 1.0;1.0rc 1.0;1.0.rc 1.0;1.0pre 1.0;1.0.pre 1.0
1.0prerelese 1.0;1.0.prerelese 1.0;1.0 1.0patch;1.0 1.0.patch
0.99999 1.0;1.0alpha0 1.0;1.0 1.0patch0;1.0 1.0.1;1.0 1.1
"""
# With the flag that a lone p means patch.
P_EQUAL = "1.0p1 1.0p1;1.0p1 1.0patch1;1.0p1 1.0post1"
P_LESS = "1.0 1.0p1;1.0 1.0.p1;1.0 1.0.p.1;1.0 1.0p.1;1.0pre1 1.0p1"
# The column of examples in libversion's ALGORITHM.md.
ASCENDING = "1.0alpha1 1.0beta1 1.0 1.0patch1 1.0.1 1.0a 1.0b 1.1 1.2"


def pairs(text: str) -> list[tuple[str, str]]:
    # A separator of the list is itself a character of one of its versions.
    kept = text.strip().replace(".,:;~", ".,:\0~")
    return [
        (left.replace("\0", ";"), right)
        for left, right in (pair.split() for pair in re.split(r"[;\n]", kept))
    ]


@pytest.mark.parametrize(("left", "right"), pairs(EQUAL))
def test_published_equalities(left: str, right: str) -> None:
    assert compare(left, right) == compare(right, left) == 0
    assert version_key(left) == version_key(right)


@pytest.mark.parametrize(("left", "right"), pairs(LESS))
def test_published_order(left: str, right: str) -> None:
    assert compare(left, right) == -1
    assert compare(right, left) == 1


def test_published_order_where_p_is_patch() -> None:
    assert {compare(*pair, p_is_patch=True) for pair in pairs(P_EQUAL)} == {0}
    assert {compare(*pair, p_is_patch=True) for pair in pairs(P_LESS)} == {-1}
    assert version_key("1.0p1", p_is_patch=True) > version_key("1.0p1")


def test_published_empty_versions() -> None:
    assert compare("", "") == compare("", "0") == 0
    assert compare("", "1") == -1


def test_published_table_of_the_algorithm() -> None:
    assert [compare(left, right) for left, right in pairwise(ASCENDING.split())] == [-1] * 8


def naive_compare(left: str, right: str) -> int:
    """Component by component with zeros behind the shorter one, as the algorithm is written."""

    def components(version: str) -> list[tuple[int, int, str]]:
        found = []
        for run in re.finditer(r"[0-9]+|[a-z]+", version):
            text = run[0]
            before, behind = version[: run.start()][-1:], version[run.end() :][:1]
            if text.isdigit():
                found.append((3, int(text), "") if int(text) else (1, 0, ""))
            elif len(text) == 1 and before.isdigit() and not behind.isdigit():
                found.append((4, 0, text))
            elif text in ("pl", "errata") or text.startswith(("post", "patch")):
                found.append((2, 0, text[0]))
            else:
                found.append((0, 0, text[0]))
        return found

    for one, other in zip_longest(components(left), components(right), fillvalue=(1, 0, "")):
        if one != other:
            return -1 if one < other else 1
    return 0


def test_keys_order_as_components_do() -> None:
    chance = random.Random(7)
    words = ["0", "0", "0", "1", "2", "10", "a", "alpha", "p", "rc", "patch", ".", ".", "-"]
    versions = ["".join(chance.choices(words, k=chance.randint(0, 7))) for _ in range(300)]
    wrong = [
        (left, right)
        for left in versions
        for right in chance.sample(versions, 40)
        if compare(left, right) != naive_compare(left, right)
    ]
    assert wrong == []


def test_any_text_has_a_key() -> None:
    texts = ["9" * 100_000, "1." * 50_000, "\udc80\0é１", "1.0é", "a" * 100_000]
    assert sorted(texts, key=version_key)[0] == "a" * 100_000
    assert compare("1.0é", "1.0") == 0


@pytest.mark.parametrize(
    "version",
    [
        "1.0alpha",
        "1.0-alpha.1",
        "2.0BETA2",
        "8.10-rc1",
        "1.0pre3",
        "1.0-preview",
        "1.0_prerelease",
        "3.12.0a1",
        "3.12.0b2",
        "1.0.dev5",
        "2.0-snapshot",
        "2.0-SNAPSHOT",
        "1.0-nightly20240101",
        "1.0rc",
        "4.0-devel",
        "1.2B3",
    ],
)
def test_prereleases(version: str) -> None:
    assert is_prerelease(version)


@pytest.mark.parametrize(
    "version",
    [
        "1.1.1w",
        "9.9p1",
        "1.0",
        "1.0b",
        "2.4a",
        "1.0-patch2",
        "1.0.post1",
        "8u292-b10",
        "1.0pl3",
        "2.0errata1",
    ],
)
def test_releases(version: str) -> None:
    assert not is_prerelease(version)


def test_a_series_is_a_row_of_components() -> None:
    assert in_series("1.2", "1.2")
    assert in_series("1.2.9", "1.2")
    assert in_series("1.2rc1", "1.2")
    assert in_series("1", "1.0")
    assert in_series("1.1.1w", "1.1.1")
    assert in_series("1_02_3", "1.2")
    assert not in_series("1.20.1", "1.2")
    assert not in_series("1.20", "1.2")
    assert not in_series("1", "1.2")
    assert not in_series("11.2", "1.2")


def test_components_are_counted_from_one() -> None:
    assert [component("v1.030-9.9p2", place) for place in range(7)] == [None, 1, 30, 9, 9, 2, None]
    assert component("9" * 200, 1) is None
