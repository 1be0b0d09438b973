"""What an edit writes into an image's history, where `docker history` shows it.

Engines refuse an image with more lines that have a layer than it has layers: what is added here is
without one (`empty_layer`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_CLASSIC = r"(?:/bin/sh -c #\(nop\)\s+)?"  # how docker build words it without BuildKit


@dataclass(frozen=True, slots=True)
class Instruction:
    """A line of a Dockerfile. `name` tells apart lines of one word that stand beside each other,
    such as those of ENV."""

    word: str
    rest: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.word} {self.rest}"

    def is_said_by(self, created_by: str) -> bool:
        """Whether a line of history sets the same."""
        named = re.escape(self.name) + "=" if self.name else ""
        return re.match(rf"{_CLASSIC}{self.word}\s+{named}", created_by) is not None


class Told(Protocol):
    """The part of a change that history tells besides its instructions."""

    @property
    def author(self) -> str | None:
        """Who made the image."""

    @property
    def comment(self) -> str | None:
        """What is to be said of it."""


def rewrite_history(
    history: list[dict[str, Any]],
    words: Sequence[Instruction],
    *,
    created: str,
    comment: str,
    change: Told,
) -> None:
    """Have the lines that the image itself added say the change; what no line said is added.

    Lines up to the last one with a layer tell how the root file system came to be, and the base's
    are its own: those stay. `comment` is the image's of before, which moves along with the end of
    the history.
    """
    filled = [n for n, line in enumerate(history) if not line.get("empty_layer")]
    first = filled[-1] + 1 if filled else 0
    if comment and history and history[-1].get("comment") == comment:
        del history[-1]["comment"]
    for word in words:
        said = [
            n
            for n in range(first, len(history))
            if word.is_said_by(str(history[n].get("created_by", "")))
        ]
        if said and word.rest:
            history[said[-1]]["created_by"] = str(word)
        elif said:
            del history[said[-1]]
        elif word.rest:
            history.append(_line(str(word), created))
    wanted = comment if change.comment is None else change.comment
    if history and wanted:
        history[-1]["comment"] = wanted
    if change.author is not None:
        for line in history[first:]:
            _set(line, "author", change.author)


def add_history(
    history: list[dict[str, Any]], words: Sequence[Instruction], *, created: str, change: Told
) -> None:
    """Add a line for each instruction, or one for what has none, as a Dockerfile would."""
    lines = [str(word).rstrip() for word in words] or ["minid set"]
    for text in lines:
        line = _line(text, created)
        if change.author:
            line["author"] = change.author
        history.append(line)
    if change.comment:
        history[-1]["comment"] = change.comment


def _line(created_by: str, created: str) -> dict[str, Any]:
    line: dict[str, Any] = {"created_by": created_by, "empty_layer": True}
    return {"created": created, **line} if created else line


def _set(line: dict[str, Any], key: str, value: str) -> None:
    if value:
        line[key] = value
    else:
        line.pop(key, None)
