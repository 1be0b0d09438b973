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
    _compiled: Any = field(default=None, repr=False, compare=False)

    def match(self, text: str) -> bool:
        """Whether the whole of `text` matches; never where it is longer than `MAX_TEXT`."""
        return self._full(text) is not None

    def group(self, name: str, text: str) -> str | None:
        """What the named group holds where the whole of `text` matches, else None."""
        found = self._full(text)
        return None if found is None else found.group(name)

    def _full(self, text: str) -> Any:  # noqa: ANN401
        if len(text) > MAX_TEXT:
            return None
        try:
            return self._compiled.fullmatch(text)
        except UnicodeEncodeError:  # half of a surrogate pair, such as JSON may hold
            return None


def compile_pattern(text: str) -> Pattern:
    """`text` in RE2's syntax; ValueError with RE2's reason where that refuses it."""
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
    return Pattern(text, frozenset(compiled.groupindex), compiled)
