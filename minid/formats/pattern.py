"""Regular expressions of recipes, matched in linear time whatever the pattern and the text are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# What a compiled pattern may take; a longer program would also be a slower one.
_MAX_MEMORY = 1 << 20
MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; two are equal when their texts are."""

    text: str
    groups: frozenset[str] = frozenset()
    longest: int = MAX_TEXT
    _compiled: Any = field(default=None, repr=False, compare=False)

    def match(self, text: str) -> bool:
        """Whether the whole of `text` matches; never where it is longer than `longest`."""
        return self._full(text) is not None

    def group(self, name: str, text: str) -> str | None:
        """What the named group holds where the whole of `text` matches, else None."""
        found = self._full(text)
        return None if found is None else found.group(name)

    def fields(self, text: str) -> dict[str, str] | None:
        """What all named groups hold, "" for one that took no part, where the whole of `text`
        matches."""
        found = self._full(text)
        return None if found is None else {n: found.group(n) or "" for n in self.groups}

    def _full(self, text: str) -> Any:  # noqa: ANN401
        if len(text) > self.longest:
            return None
        try:
            return self._compiled.fullmatch(text)
        except UnicodeEncodeError:  # half of a surrogate pair, such as JSON may hold
            return None


def compile_pattern(text: str, longest: int = MAX_TEXT) -> Pattern:
    """`text` in RE2's syntax, for texts of at most so many characters; ValueError with RE2's reason
    where that refuses it."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        compiled = re2.compile(text, options)
    except re2.error as error:
        raise ValueError(error.args[0].decode("utf-8", "replace")) from error
    except UnicodeEncodeError as error:
        raise ValueError("no Unicode text") from error
    return Pattern(text, frozenset(compiled.groupindex), longest, compiled)
