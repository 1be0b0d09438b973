"""Versions: their order, their components, which of them are pre-releases.

The order is libversion's (its ALGORITHM.md), without its bounds: a version is a row of components,
all digits or all letters, and whatever else stands in it separates them. Ranks decide first:
pre-release word < zero < post-release word < other number < letter behind a number. Words are
compared by their first letter, and a row that ends goes on with zeros.
"""

from __future__ import annotations

import re

# Compares as the version does; its characters mean nothing else. Text sorts faster than tuples.
VersionKey = str

# A row's end stands between what is less than zero and what is more.
_LESS, _END, _MORE = "0", "1", "2"
_POST, _NUMBER, _SUFFIX = "2", "3", "4"
_MOST = 0x10FFFF
# A number with one letter right behind it and nothing behind that (1.1.1w), or a word.
_COMPONENT = re.compile(r"([0-9]+)(?:([A-Za-z])(?![A-Za-z0-9]))?|([A-Za-z]+)")
_POST_WORD = re.compile(r"pl|errata|post[a-z]*|patch[a-z]*")
_PRE_WORD = re.compile(
    r"(?<![a-z])(?:alpha|beta|rc|dev|devel|snapshot|nightly|pre[a-z]*)(?![a-z])|[0-9][ab][0-9]",
    re.IGNORECASE,
)
_RUN = re.compile(r"[0-9]+|[A-Za-z]+")
_NUMBERS = re.compile(r"[0-9]+")
# Longer numbers are no component that anything is computed with.
_MAX_DIGITS = 100


def version_key(version: str, *, p_is_patch: bool = False) -> VersionKey:
    """A sort key: two keys compare as the versions do, equal ones for versions that are equal.

    Takes any text. `p_is_patch` is libversion's flag: a lone letter p means patch, not pre.
    """
    key = ""
    # Rows go on with zeros, so zeros count only by how many stand before something else: they put
    # off what is more than zero, and what is less.
    zeros = 0
    for digits, suffix, word in _COMPONENT.findall(version):
        if digits:
            number = digits.lstrip("0")
            if number:
                length = chr(min(len(number), _MOST))
                key += f"{_MORE}{chr(_MOST - zeros)}{_NUMBER}{length}{number}"
                zeros = 0
            elif zeros < _MOST:
                zeros += 1
            if suffix:
                key += f"{_MORE}{chr(_MOST - zeros)}{_SUFFIX}{suffix.lower()}"
                zeros = 0
        else:
            key += _word_key(word.lower(), zeros, p_is_patch)
            zeros = 0
    return key + _END


def release_key(version: str) -> VersionKey:
    """The order that minid puts releases in: a lone p means patch, as in sudo's 1.9.16p2 and in
    OpenSSH's 9.9p1, since upstreams that mean pre-releases say so."""
    return version_key(version, p_is_patch=True)


def _word_key(word: str, zeros: int, p_is_patch: bool) -> str:
    if _POST_WORD.fullmatch(word) or (p_is_patch and word == "p"):
        return f"{_MORE}{chr(_MOST - zeros)}{_POST}{word[0]}"
    return f"{_LESS}{chr(zeros)}{word[0]}"


def compare(left: str, right: str, *, p_is_patch: bool = False) -> int:
    """-1, 0 or 1 as `left` is older than, as new as, or newer than `right`."""
    first = version_key(left, p_is_patch=p_is_patch)
    second = version_key(right, p_is_patch=p_is_patch)
    return (first > second) - (first < second)


def is_prerelease(version: str) -> bool:
    """Whether it says so: alpha, beta, rc, pre…, dev, snapshot, nightly as words of their own, or
    a or b between two digits (3.12.0b2). 1.1.1w and 9.9p1 are none."""
    return _PRE_WORD.search(version) is not None


def in_series(version: str, prefix: str) -> bool:
    """Whether the components of `version` begin with those of `prefix`: "1.2" holds 1.2 and 1.2.9,
    never 1.20. A version that ends early goes on with zeros: "1.0" holds 1."""
    wanted = _runs(prefix)
    found = _runs(version)[: len(wanted)]
    return found + ["0"] * (len(wanted) - len(found)) == wanted


def component(version: str, place: int) -> int | None:
    """The number at `place`, counted from 1, letters left out; None where there is none."""
    for count, number in enumerate(_NUMBERS.finditer(version), 1):
        if count == place:
            return int(number[0]) if len(number[0]) <= _MAX_DIGITS else None
    return None


def _runs(version: str) -> list[str]:
    return [run.lower().lstrip("0") or "0" for run in _RUN.findall(version)]
