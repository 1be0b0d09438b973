"""The values that pages, judging and verifying hand to one another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """One version that a page lists: where its archive is, if the page says so, and the archive's
    SHA-256 in hex where the same entry of the page states it."""

    version: str
    url: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person may want to know: `kind` is a word of docs/reference/events.md,
    `text` one line, `detail` further facts as pairs of strings."""

    kind: str
    text: str
    detail: tuple[tuple[str, str], ...] = ()
