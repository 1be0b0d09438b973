"""The recipes that are followed: what is known of each, on disk before anybody is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from minid.config import Tracking
from minid.errors import MinidError, UsageError
from minid.formats.digest import Digest
from minid.recipe import Recipe
from minid.recipe_lock import Lock
from minid.store.releases import Releases
from minid.upstream.judge import Judgement, judge, judge_failure
from minid.upstream.memory import Step
from minid.upstream.page_bytes import PageError
from minid.upstream.pages import read_page
from minid.upstream.poll_answer import PollResult
from minid.upstream.rules import read_rules
from minid.upstream.tracking import Tracked, describe, lock_of
from minid.upstream.values import Event, Found

OnEvent = Callable[[str, Event], None]
OnMove = Callable[[str, Lock | None], None]
Stored = Callable[[str], PollResult | None]

_FEW = 50
_GONE = ("gone", "blocked")


class Ledger:
    """What is known of the recipes that `set_recipes` was last given. `stored` gives the last whole
    page of a URL; `on_event` and `on_move` are as the tracker has them."""

    def __init__(
        self,
        releases: Releases,
        stored: Stored,
        *,
        tracking: Tracking,
        clock: Callable[[], float],
        on_event: OnEvent,
        on_move: OnMove,
    ) -> None:
        self.releases = releases
        self._stored = stored
        self._tracking = tracking
        self._clock = clock
        self._on_event = on_event
        self._on_move = on_move
        self._tracked: dict[str, Tracked] = {}
        self._readers: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[Tracked]:
        return iter(self._tracked.values())

    def set_recipes(self, recipes: Mapping[str, Recipe]) -> list[Tracked]:
        """Follow these recipes; those of them whose rules have changed, which `judge_stored` is
        for."""
        before, self._tracked = self._tracked, {}
        new = [name for name, recipe in recipes.items() if not _is_same(before.get(name), recipe)]
        # At the start all are new: one query for all of them.
        rows = self.releases.tracks() if len(new) > _FEW else None
        locks = self.releases.locks() if new else {}
        for name, recipe in recipes.items():
            old = before.get(name)
            if old is not None and _is_same(old, recipe):
                self._tracked[name] = old
                continue
            try:
                rules = read_rules(recipe, self._tracking)
            except MinidError as error:
                self._on_event(name, Event("untracked", str(error)))
                continue
            lock = locks.get(name)
            tracked = Tracked(recipe, rules, pinned=lock is not None and lock.pinned)
            tracked.recall(rows.get(name) if rows is not None else self.releases.track(name))
            self._tracked[name] = tracked
        self._readers = {}
        for name, tracked in self._tracked.items():
            if tracked.rules.source != "none":
                self._readers.setdefault(tracked.rules.url, []).append(name)
        known = [self._tracked[name] for name in new if name in self._tracked]
        return [tracked for tracked in known if tracked.is_outdated]

    def find(self, name: str) -> Tracked | None:
        """What is known of a recipe."""
        return self._tracked.get(name)

    def need(self, name: str) -> Tracked:
        """The same; UsageError where it is not followed."""
        if name not in self._tracked:
            raise UsageError(f"expected a recipe, got {name!r}")
        return self._tracked[name]

    def lock(self, name: str) -> Lock | None:
        """Where the recipe was moved to."""
        return self.releases.lock(name)

    # what pages say

    def take(self, result: PollResult, *, anew: bool = False) -> None:
        """What asking a page came to, for each recipe that reads it; `anew` judges one that has not
        changed too, for the reasons."""
        for name in self._readers.get(result.url, ()):
            tracked = self._tracked[name]
            if result.outcome == "fresh":
                self._judge(tracked, result)
            elif result.outcome == "suspect":
                self._conclude(tracked, self._doubt(tracked, result.reason))
            elif result.outcome == "not-modified":
                # A service that ended between keeping a page and judging it has not judged it yet.
                unread = tracked.looked < result.changed_at
                if anew or unread or tracked.wants_every_look:
                    self.judge_stored(tracked)
            elif result.outcome in _GONE:
                self._note_source(tracked, result)

    def judge_stored(self, tracked: Tracked) -> None:
        """Judge by the page that was read last, if there is one."""
        page = self._stored(tracked.rules.url) if tracked.rules.url else None
        if page is not None:
            self._judge(tracked, page)

    def listing(self, tracked: Tracked) -> tuple[Found, ...]:
        """What the page that was read last lists; nothing where it cannot be read."""
        page = self._stored(tracked.rules.url) if tracked.rules.url else None
        try:
            return _read(tracked, page) if page is not None else ()
        except PageError:
            return ()

    def _judge(self, tracked: Tracked, page: PollResult) -> None:
        try:
            listing = _read(tracked, page)
        except PageError as error:
            self._conclude(tracked, self._doubt(tracked, error.message))
            return
        words = (tracked.rules, tracked.current, tracked.memory)
        self._conclude(tracked, judge(*words, listing, self._clock()))

    def _doubt(self, tracked: Tracked, reason: str) -> Judgement:
        words = (tracked.rules, tracked.current, tracked.memory)
        return judge_failure(*words, reason, self._clock())

    def _note_source(self, tracked: Tracked, result: PollResult) -> None:
        note = f"{result.outcome}: {result.reason}"
        if tracked.note != note:
            tracked.note = note
            kind = f"source-{result.outcome}"
            self.remember(tracked, (Event(kind, result.reason, (("url", result.url),)),))

    def _conclude(self, tracked: Tracked, judged: Judgement) -> None:
        tracked.memory, tracked.newest = judged.memory, judged.newest
        tracked.note, tracked.dropped = judged.note, judged.dropped
        now = tracked.looked = self._clock()
        if tracked.watch.checked > now:  # the clock was ahead then
            tracked.watch = replace(tracked.watch, checked=now)
        self.remember(tracked, judged.events)

    # what becomes of it

    def step(self, tracked: Tracked, step: Step) -> None:
        """Take a step of a candidate's life; an accepted release moves its recipe in the same turn
        of the disk, and its archive must be in the store."""
        if not self._is_followed(tracked):
            return
        before = tracked.memory, tracked.note
        tracked.memory = step.memory
        candidate = step.memory.candidate
        tracked.note = describe(candidate) if candidate else tracked.note
        try:
            with self.releases.together():
                self.remember(tracked, step.events)
                if step.action == "accept" and candidate is not None:
                    digest = Digest(candidate.digest)
                    self.move(tracked, candidate.version, candidate.url, digest)
        except BaseException:
            tracked.memory, tracked.note = before
            raise
        if step.action == "judge":
            # The recipe may have been moved, and be known anew.
            self.judge_stored(self.need(tracked.recipe.name))

    def remember(self, tracked: Tracked, events: Iterable[Event]) -> None:
        """On disk together, then told."""
        if not self._is_followed(tracked):
            return
        with self.releases.batch():
            self.releases.keep_track(tracked.row())
            for event in events:
                self._on_event(tracked.recipe.name, event)

    def move(self, tracked: Tracked, version: str, url: str, digest: Digest) -> None:
        """The recipe is to be built from this release; its archive is in the store."""
        name = tracked.recipe.name
        self.set_lock(tracked, lock_of(tracked.recipe, self.lock(name), version, url, digest))

    def set_lock(self, tracked: Tracked, lock: Lock | None) -> None:
        """Move the recipe, or give the word back to its file."""
        with self.releases.together():
            self.releases.keep_track(tracked.row())
            self._on_move(tracked.recipe.name, lock)

    def _is_followed(self, tracked: Tracked) -> bool:
        """False where the recipe has changed meanwhile: whatever was found is found again."""
        return self._tracked.get(tracked.recipe.name) is tracked

    def end_hold(self, tracked: Tracked) -> None:
        """The archive that changed under its name is taken as it is."""
        tracked.watch = replace(tracked.watch, held="", told="", note="")


def _read(tracked: Tracked, page: PollResult) -> tuple[Found, ...]:
    return read_page(page.body, page.content_type, page.final_url, tracked.rules)


def _is_same(tracked: Tracked | None, recipe: Recipe) -> bool:
    return tracked is not None and (tracked.recipe is recipe or tracked.recipe == recipe)
