"""What the line tells whoever watches it. The command line draws it; the tests collect it."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives progress. Calls come from several threads at once and must return quickly."""

    def stage_started(self, recipe: str, stage: str) -> None:
        """A stage of a recipe begins to work (it was not in the store)."""

    def stage_finished(self, recipe: str, stage: str, seconds: float, *, cached: bool) -> None:
        """A stage of a recipe has its result."""

    def log_line(self, recipe: str, line: str) -> None:
        """A line of a build's log. The text comes from a program: hostile."""

    def fetched(self, recipe: str, file_name: str, done: int, total: int | None) -> None:
        """So many bytes of an archive have come."""

    def note(self, recipe: str, text: str) -> None:
        """Something a person should read."""


class Silence:
    """A reporter that drops everything."""

    def stage_started(self, recipe: str, stage: str) -> None:
        """Drop it."""

    def stage_finished(self, recipe: str, stage: str, seconds: float, *, cached: bool) -> None:
        """Drop it."""

    def log_line(self, recipe: str, line: str) -> None:
        """Drop it."""

    def fetched(self, recipe: str, file_name: str, done: int, total: int | None) -> None:
        """Drop it."""

    def note(self, recipe: str, text: str) -> None:
        """Drop it."""
