"""An upstream for tests of judging: a recipe's rules, what a page lists, and the time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from minid.formats.pattern import compile_pattern
from minid.upstream.judge import Judgement, judge, judge_failure
from minid.upstream.memory import Candidate, Step, TrackMemory
from minid.upstream.rules import Rules, extension_of
from minid.upstream.values import Found

HOUR = 3600.0
START = 1_700_000_000.0
SITE = "https://example.org/foo"


def make_rules(match: str = r"foo-(?P<version>\d.*)\.tar\.gz", **values: Any) -> Rules:
    """Rules of a recipe foo 1.0 whose archive is a .tar.gz, found by an index."""
    url = f"{SITE}/foo-1.0.tar.gz"
    new = Rules("foo", "index", "1.0", url, extension_of(url), f"{SITE}/", compile_pattern(match))
    return replace(new, **{"every_s": 6 * HOUR, "settle_s": 6 * HOUR, **values})


class Upstream:
    """A recipe at `current` whose tracker looks at pages; `now` moves only when told to."""

    def __init__(self, current: str, rules: Rules | None = None) -> None:
        self.current = current
        self.rules = rules or make_rules()
        self.memory = TrackMemory()
        self.now = START
        self.kinds: list[str] = []
        self.texts: list[str] = []

    def wait(self, hours: float) -> None:
        self.now += hours * HOUR

    def page(self, versions: str | Iterable[str]) -> Judgement:
        """A look at a page with these versions, an archive each."""
        words = versions.split() if isinstance(versions, str) else versions
        return self.links(f"foo-{version}.tar.gz" for version in words)

    def links(self, names: Iterable[str]) -> Judgement:
        """A look at a page with these links, of which the recipe's pattern takes its own."""
        found = [
            Found(version, f"{SITE}/{name}")
            for name in names
            if (version := self.rules.version_in(name))
        ]
        return self._keep(judge(self.rules, self.current, self.memory, found, self.now))

    def no_page(self, reason: str) -> Judgement:
        """A look at something that is no page of releases."""
        return self._keep(judge_failure(self.rules, self.current, self.memory, reason, self.now))

    def take(self, step: Step) -> str:
        """Keep what a step came to; its action."""
        self.memory = step.memory
        self._tell(step)
        return step.action

    @property
    def candidate(self) -> Candidate:
        assert self.memory.candidate is not None
        return self.memory.candidate

    def _keep(self, judgement: Judgement) -> Judgement:
        self.memory = judgement.memory
        self._tell(judgement)
        return judgement

    def _tell(self, told: Step | Judgement) -> None:
        self.kinds += [event.kind for event in told.events]
        self.texts += [event.text for event in told.events]


def version_of(judgement: Judgement) -> str:
    """The candidate's version, or nothing."""
    return judgement.candidate.version if judgement.candidate else ""


def reasons(judgement: Judgement) -> dict[str, str]:
    """Why each version above the current one does not count."""
    return {item.version: item.reason for item in judgement.dropped}
