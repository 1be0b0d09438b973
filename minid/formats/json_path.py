"""Dotted paths into JSON values: `config.Env[0]`, `Labels.org.minid.recipe`, `layers[-1]`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_INDEX = re.compile(r"\[(-?\d{1,9})\]")
_LONGEST = 2000


class NoFieldError(ValueError):
    """Nothing is at a path. `known` are the names at the last place that there is, `reached`."""

    def __init__(self, reached: str, known: tuple[str, ...]) -> None:
        super().__init__(f"nothing at {reached!r}" if reached else "no such field")
        self.reached = reached
        self.known = known


def look_up(value: object, path: str) -> Any:  # noqa: ANN401 (a JSON value)
    """The value at a path. A name may itself have dots: the longest that fits is tried first.

    NoFieldError where there is none.
    """
    if len(path) > _LONGEST:
        raise NoFieldError("", _names(value))
    deepest = (path, value)
    waiting = [(path, value)]
    tried: set[tuple[int, int]] = set()  # how much was left of the path, and where
    while waiting:
        rest, here = waiting.pop()
        if (len(rest), id(here)) in tried:
            continue
        tried.add((len(rest), id(here)))
        if not rest:
            return here
        if len(rest) < len(deepest[0]):
            deepest = (rest, here)
        waiting += list(_steps(here, rest))
    reached = path[: len(path) - len(deepest[0])].rstrip(".")
    raise NoFieldError(reached, _names(deepest[1]))


def _steps(here: object, rest: str) -> Iterator[tuple[str, object]]:
    """What is left of the path behind each name or index that fits, the longest last."""
    if found := _INDEX.match(rest):
        number = int(found[1])
        if isinstance(here, list) and -len(here) <= number < len(here):
            yield rest[found.end() :].removeprefix("."), here[number]
    elif isinstance(here, Mapping):
        for name in sorted((str(key) for key in here), key=len):
            tail = rest.removeprefix(name)
            if name and rest.startswith(name) and (not tail or tail[0] in ".["):
                yield tail.removeprefix("."), here[name]


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        return tuple(str(key) for key in value)
    if isinstance(value, list) and value:
        return (f"[0] to [{len(value) - 1}]",)
    return ()
