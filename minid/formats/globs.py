"""Glob patterns over absolute image paths, as regular expressions.

`**` crosses folders, `*` and `?` do not, `[0-9]` and `[!a]` are sets. A pattern that matches a
folder also covers everything below it.
"""

from __future__ import annotations

import re

_MAX_PATTERN = 4096
_PLAIN = re.compile(r"[^*?\[]+")


def is_glob(text: str) -> bool:
    """Whether the text holds a wildcard."""
    return any(letter in text for letter in "*?[")


def fixed_prefix(pattern: str) -> str:
    """The folder below which every match lies, as an image path (`usr/lib` of `/usr/lib/*/x`)."""
    parts = []
    for part in pattern.strip("/").split("/")[:-1]:
        if is_glob(part):
            break
        parts.append(part)
    return "/".join(parts)


def _translate_set(pattern: str, start: int) -> tuple[str, int]:
    """The set that opens at `start`, and the position behind it; a lone `[` stands for itself."""
    negated = pattern[start + 1 : start + 2] in ("!", "^")
    first = start + 1 + negated
    end = pattern.find("]", first + 1)
    body = pattern[first:end]
    if end < 0 or "/" in body:
        return re.escape("["), start + 1
    escaped = re.sub(r"([\\\]\[&~|^])", r"\\\1", body)
    return f"(?!/)[{'^' if negated else ''}{escaped}]", end + 1


def _translate_stars(pattern: str, start: int) -> tuple[str, int]:
    if not pattern.startswith("**", start):
        return "[^/]*", start + 1
    at_start = start == 0 or pattern[start - 1] == "/"
    if at_start and pattern.startswith("**/", start):
        return "(?:[^/]+/)*", start + 3
    return (".+" if at_start and start + 2 == len(pattern) else ".*"), start + 2


def translate_glob(pattern: str) -> str:
    """The regular expression of one pattern, for a full match of an image path without its slash.

    ValueError for an empty pattern, one that is absurdly long, or one that cannot be compiled.
    """
    bare = re.sub(r"(?<![^/])(?:\*\*/){2,}", "**/", pattern.strip("/"))
    if not bare or len(pattern) > _MAX_PATTERN:
        raise ValueError(f"expected a pattern of 1 to {_MAX_PATTERN} letters, got {pattern!r}")
    out, position = [], 0
    while position < len(bare):
        letter = bare[position]
        if letter == "*":
            piece, position = _translate_stars(bare, position)
        elif letter == "[":
            piece, position = _translate_set(bare, position)
        elif letter == "?":
            piece, position = "[^/]", position + 1
        else:
            plain = _PLAIN.match(bare, position)
            assert plain is not None
            piece, position = re.escape(plain[0]), plain.end()
        out.append(piece)
    text = "".join(out)
    if "[" not in bare:
        return text  # nothing in it can be wrong, and compiling takes its time
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"expected a pattern, got {pattern!r}: {error}") from None
    return text


def compile_globs(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """All patterns as one expression: `fullmatch(path).lastindex - 1` is the one that matched."""
    if not patterns:
        return re.compile(r"(?!)")
    # An empty group behind each alternative tells which one it was.
    alternatives = (f"{translate_glob(pattern)}(?:/.*)?()" for pattern in patterns)
    return re.compile("|".join(alternatives), re.DOTALL)
