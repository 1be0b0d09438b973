"""Lists of digests as upstreams publish them: which SHA-256 a list states for one file name.

Read are sha256sum's lines (`HEX  name`, `HEX *name`), the BSD ones (`SHA256 (name) = HEX`), those
of redis-hashes (`hash name sha256 HEX url`), and a file that holds one digest and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from minid.errors import RecipeError
from minid.formats.pattern import Pattern, compile_pattern

MAX_LIST_BYTES = 1 << 20
"""Longer lists are not read."""
_MAX_LINE = 4096

# A name and its digest, empty where the line has none.
_Stated = tuple[str, str]

_HEX = r"[0-9A-Fa-f]{64}"
_SUM = re.compile(rf"(?P<sha256>{_HEX})[ \t]+\*?(?P<name>\S.*)")
_BSD = re.compile(rf"SHA(?:2-)?256[ ]?\((?P<name>.+)\)[ ]?=[ ]?(?P<sha256>{_HEX})")
_BARE = re.compile(_HEX)
_BREAK = re.compile(r"[\s,;|<>\"'`()]+")


def find_digests(data: bytes, name: str, match: str = "") -> frozenset[str]:
    """The SHA-256 digests, 64 lower-case hex digits each, that a list states for the file `name`.

    The name must be the line's own as a whole; `./` in front of it is none of it. With `match`, a
    pattern for the linear-time engine, only lines that it matches from end to end count, and its
    groups `name` and `sha256`, if it has them, say where those are. None or several digests may
    come out: the caller decides. RecipeError where the engine refuses the pattern.
    """
    lines = [line.strip() for line in data.decode("utf-8", "replace").split("\n")]
    # A pattern's time grows with the line; no line that names a file is long.
    lines = [line for line in lines if 0 < len(line) <= _MAX_LINE]
    read = _reader(match, name, alone=len(lines) == 1)
    stated = (found for line in lines if (found := read(line)) is not None)
    return frozenset(
        digest.lower() for of, digest in stated if digest and of.removeprefix("./") == name
    )


def _reader(match: str, name: str, *, alone: bool) -> Callable[[str], _Stated | None]:
    """What makes a name and a digest of a line, or None."""
    if not match:
        return lambda line: _read_line(line, name, alone=alone)
    pattern = _compile(match)

    def read(line: str) -> _Stated | None:
        found = pattern.fields(line)
        if found is None:
            return None
        if "sha256" not in found:
            return _read_line(line, name, alone=True)
        digest = found["sha256"]
        return (found.get("name", name), digest) if _BARE.fullmatch(digest) else None

    return read


def _read_line(line: str, name: str, *, alone: bool) -> _Stated | None:
    """A line in one of the known forms; a bare digest only if it is `alone`."""
    if found := _SUM.fullmatch(line) or _BSD.fullmatch(line):
        return found["name"], found["sha256"]
    if alone and _BARE.fullmatch(line):
        return name, line
    words = _BREAK.split(line)
    digests = list(_labelled(words))
    return (name, digests[0]) if name in words and len(digests) == 1 else None


def _labelled(words: list[str]) -> Iterator[str]:
    """Digests behind the word sha256: other functions give 64 digits, too."""
    for label, word in pairwise(words):
        if label.lower().rstrip(":=") in ("sha256", "sha-256") and _BARE.fullmatch(word):
            yield word


def _compile(text: str) -> Pattern:
    try:
        return compile_pattern(text, _MAX_LINE)
    except ValueError as error:
        raise RecipeError(
            f"track.verify.sha256.match: expected a pattern of RE2's syntax, got {text!r}: {error}"
        ) from error
