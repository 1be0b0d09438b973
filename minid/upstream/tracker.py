"""Follows the upstreams of all recipes: which pages are asked, what they mean, what is looked at.

The rules, the judging and the lives of candidates are pure and stand in modules of their own; this
fetches what they ask for, remembers what they say, and tells `on_event` and `on_move`. For one
event loop; time is `clock`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace

from minid.config import Tracking
from minid.errors import FetchError, MinidError, UsageError
from minid.formats.digest import Digest
from minid.recipe import Recipe
from minid.recipe_lock import Lock
from minid.store.releases import Releases
from minid.upstream import candidate as life
from minid.upstream.archives import Archives, Release
from minid.upstream.judge import Judgement, judge, judge_failure
from minid.upstream.looking import fetch_approved, look
from minid.upstream.memory import Step
from minid.upstream.page_bytes import PageError
from minid.upstream.pages import read_page
from minid.upstream.poll_answer import PollResult
from minid.upstream.poller import Poller, ResourceSpec
from minid.upstream.rewatch import archive_url, due_watch, fetch_held, watch_archive
from minid.upstream.rules import read_rules
from minid.upstream.tracking import Decision, Tracked, decide, describe, lock_of
from minid.upstream.values import Event, Found, Verdict

OnEvent = Callable[[str, Event], None]
OnMove = Callable[[str, Lock], None]

# Archives that are fetched side by side; pages are asked beside them.
_LOOKS = 4
_FEW = 50
_ATTENTION = ("held", "suspect")


class Tracker:
    """The upstreams of the recipes that `set_recipes` was last given.

    `on_event` gets a recipe's name and what a person may want to know; `on_move` a recipe and the
    release that it is to be built from now on, which it must make durable before it returns.
    """

    def __init__(
        self,
        poller: Poller,
        archives: Archives,
        releases: Releases,
        *,
        tracking: Tracking,
        clock: Callable[[], float],
        on_event: OnEvent,
        on_move: OnMove,
    ) -> None:
        self._poller = poller
        self._archives = archives
        self._releases = releases
        self._tracking = tracking
        self._clock = clock
        self._on_event = on_event
        self._on_move = on_move
        self._tracked: dict[str, Tracked] = {}
        self._readers: dict[str, list[str]] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_LOOKS)

    def set_recipes(self, recipes: Mapping[str, Recipe]) -> None:
        """Follow these recipes, each at the release that it is built from. One whose rules changed
        is judged by its stored page at once."""
        before, self._tracked = self._tracked, {}
        new = [name for name, recipe in recipes.items() if not _is_same(before.get(name), recipe)]
        # At the start all are new: one query for all of them.
        rows = self._releases.tracks() if len(new) > _FEW else None
        locks = self._releases.locks() if new else {}
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
            tracked.recall(rows.get(name) if rows is not None else self._releases.track(name))
            self._tracked[name] = tracked
        self._set_resources()
        for name in new:
            tracked_now = self._tracked.get(name)
            if tracked_now is not None and tracked_now.is_outdated:
                self._judge_stored(tracked_now)

    def _set_resources(self) -> None:
        specs: dict[str, ResourceSpec] = {}
        self._readers = {}
        for name, tracked in self._tracked.items():
            rules = tracked.rules
            if rules.source == "none":
                continue
            known = specs.get(rules.url)
            every_s = min(rules.every_s, known.every_s) if known else rules.every_s
            specs[rules.url] = ResourceSpec(rules.source, every_s)
            self._readers.setdefault(rules.url, []).append(name)
        self._poller.set_resources(specs)

    def next_due(self) -> float | None:
        """When `run_due` has something to do next, in seconds since the epoch; None for never."""
        times = [self._poller.next_due()]
        for name, tracked in self._tracked.items():
            if name not in self._looks:
                times += [_look_due(tracked), due_watch(tracked)]
        return min((time for time in times if time is not None), default=None)

    async def run_due(self) -> None:
        """Ask the pages that are due, and begin to look at the archives that are; `quiet` waits for
        these."""
        results = await self._poller.poll_due()
        with self._releases.batch():
            for result in results:
                self._take(result)
        now = self._clock()
        for name, tracked in self._tracked.items():
            due = [_look_due(tracked), due_watch(tracked)]
            if name not in self._looks and any(time is not None and time <= now for time in due):
                self._looks[name] = asyncio.create_task(self._visit(name), name=f"look {name}")

    async def quiet(self) -> None:
        """Wait until no archive is looked at."""
        while self._looks:
            await asyncio.wait(list(self._looks.values()))

    async def close(self) -> None:
        """End what is under way; it is due again at the next start."""
        for task in self._looks.values():
            task.cancel()
        await self.quiet()

    async def check(self, names: Iterable[str]) -> list[Decision]:
        """Ask the pages of these recipes now, and look at what is due; one decision each."""
        wanted = [self._need(name) for name in names]
        failures: dict[str, str] = {}
        for url in dict.fromkeys(tracked.rules.url for tracked in wanted if tracked.rules.url):
            result = await self._poller.poll(url, force=True)
            self._take(result)
            if result.outcome not in ("fresh", "not-modified", "suspect"):
                failures[url] = f"{result.outcome}: {result.reason}"
        decisions = []
        for tracked in wanted:
            name = tracked.recipe.name
            due = _look_due(tracked)
            if due is not None and due <= self._clock():
                await self._look_now(tracked)
            now = self._tracked.get(name, tracked)
            decisions.append(decide(now, failures.get(now.rules.url, ""), _look_due(now)))
        return decisions

    def summary(self) -> dict[str, object]:
        """Figures for `minid status`: how many upstreams are followed, which of them a person
        should look at and why, and which hosts are left alone until when."""
        decisions = self.decisions()
        waits = self._poller.waits().values()
        return {
            "followed": sum(item.decision != "untracked" for item in decisions),
            "attention": {
                item.recipe: item.note for item in decisions if item.decision in _ATTENTION
            },
            "hosts": [asdict(wait) for wait in waits],
        }

    def decisions(self) -> list[Decision]:
        """Where every upstream stands, without asking any."""
        return [decide(tracked, "", _look_due(tracked)) for tracked in self._tracked.values()]

    async def approve(self, name: str, version: str) -> Decision:
        """A person takes this release, though it is held, refused or below the high-water mark.

        UsageError where the page does not list it, FetchError where its archive has changed."""
        tracked = self._need(name)
        if version == tracked.current and tracked.watch.held:
            digest = await fetch_held(tracked, self._archives)
            tracked.watch = replace(tracked.watch, held="", told="")
            self._move(tracked, version, archive_url(tracked), digest)
            return self._decision(name)
        held = tracked.memory.candidate
        if held is not None and held.version == version and held.state == "held" and held.digest:
            digest = await fetch_approved(tracked, self._archives, held.url, held.digest)
            self._step(tracked, life.approve(tracked.memory, version))
            self._move(tracked, version, held.url, digest)
            return self._decision(name)
        self._step(tracked, life.approve(tracked.memory, version))
        self._judge_stored(tracked)
        candidate = tracked.memory.candidate
        if candidate is None or candidate.version != version:
            raise UsageError(
                f"{name}: expected a release that its page lists, got {version!r}",
                hint=f"`minid check {name}` shows what is there, `minid pin` takes any version",
            )
        await self._look_now(tracked)
        return self._decision(name)

    def reject(self, name: str, version: str) -> Decision:
        """A person does not want this release. What was built of it stays; the recipe does not
        move to it any more."""
        tracked = self._need(name)
        self._step(tracked, life.reject(tracked.memory, version))
        self._judge_stored(tracked)
        return self._decision(name)

    async def find_release(self, name: str, version: str) -> tuple[Lock, Verdict]:
        """The lock that pins a recipe to a version, and what verifying its archive came to; the
        archive is in the store then. FetchError where it cannot be fetched, UsageError where it is
        refused."""
        tracked = self._need(name)
        before = self._releases.locks().get(name)
        if version == tracked.current:
            digest, url = tracked.recipe.source.sha256, archive_url(tracked)
            lock = lock_of(tracked.recipe, before, version, url, digest)
            return replace(lock, pinned=True), Verdict("good", "pinned to the release it is at")
        listed = [found for found in self._listing(tracked) if found.version == version]
        url = tracked.rules.artifact_url(listed[0] if listed else Found(version))
        stated = listed[0].sha256 if listed else ""
        release = Release(tracked.recipe, version, url, tracked.rules.verify, stated)
        async with self._archives.receive(url) as arrival:
            refused = await arrival.refused(version, tracked.known_digests())
            verdict = refused or await arrival.verdict(release)
            if verdict.status == "bad":
                raise UsageError(f"{name} {version}: expected its archive, got: {verdict.reason}")
            await arrival.keep(self._archives.blobs)
            digest = arrival.digest
        return replace(lock_of(tracked.recipe, before, version, url, digest), pinned=True), verdict

    def set_pinned(self, name: str, *, pinned: bool) -> None:
        """Whether a person keeps a recipe where it is, from now on."""
        if name in self._tracked:
            self._tracked[name].pinned = pinned

    def _need(self, name: str) -> Tracked:
        if name not in self._tracked:
            raise UsageError(f"expected a recipe, got {name!r}")
        return self._tracked[name]

    def _decision(self, name: str) -> Decision:
        tracked = self._need(name)
        return decide(tracked, "", _look_due(tracked))

    def _take(self, result: PollResult) -> None:
        """What a page came to, for each recipe that reads it."""
        for name in self._readers.get(result.url, ()):
            tracked = self._tracked[name]
            if result.outcome == "fresh":
                self._judge(tracked, result)
            elif result.outcome == "suspect":
                self._conclude(tracked, self._doubt(tracked, result.reason))
            elif result.outcome == "not-modified" and tracked.wants_every_look:
                self._judge_stored(tracked)
            elif result.outcome in ("gone", "blocked"):
                self._note_source(tracked, result)

    def _judge(self, tracked: Tracked, page: PollResult) -> None:
        try:
            listing = read_page(page.body, page.content_type, page.final_url, tracked.rules)
        except PageError as error:
            self._conclude(tracked, self._doubt(tracked, error.message))
            return
        words = (tracked.rules, tracked.current, tracked.memory)
        self._conclude(tracked, judge(*words, listing, self._clock()))

    def _doubt(self, tracked: Tracked, reason: str) -> Judgement:
        words = (tracked.rules, tracked.current, tracked.memory)
        return judge_failure(*words, reason, self._clock())

    def _judge_stored(self, tracked: Tracked) -> None:
        """Judge by the page that was read last, if there is one."""
        page = self._poller.stored(tracked.rules.url) if tracked.rules.url else None
        if page is not None:
            self._judge(tracked, page)

    def _listing(self, tracked: Tracked) -> tuple[Found, ...]:
        page = self._poller.stored(tracked.rules.url) if tracked.rules.url else None
        try:
            if page is not None:
                return read_page(page.body, page.content_type, page.final_url, tracked.rules)
        except PageError:
            pass
        return ()

    def _note_source(self, tracked: Tracked, result: PollResult) -> None:
        note = f"{result.outcome}: {result.reason}"
        if tracked.note != note:
            tracked.note = note
            kind = f"source-{result.outcome}"
            self._remember(tracked, (Event(kind, result.reason, (("url", result.url),)),))

    def _conclude(self, tracked: Tracked, judged: Judgement) -> None:
        tracked.memory, tracked.newest = judged.memory, judged.newest
        tracked.note, tracked.dropped = judged.note, judged.dropped
        tracked.looked = self._clock()
        self._remember(tracked, judged.events)

    def _step(self, tracked: Tracked, step: Step) -> None:
        tracked.memory = step.memory
        candidate = step.memory.candidate
        tracked.note = describe(candidate) if candidate else tracked.note
        self._remember(tracked, step.events)

    def _remember(self, tracked: Tracked, events: Iterable[Event]) -> None:
        """On disk together, then told."""
        with self._releases.batch():
            self._releases.keep_track(tracked.row())
            for event in events:
                self._on_event(tracked.recipe.name, event)

    def _move(self, tracked: Tracked, version: str, url: str, digest: Digest) -> None:
        """The recipe is to be built from this release; its archive is in the store."""
        name = tracked.recipe.name
        lock = lock_of(tracked.recipe, self._releases.locks().get(name), version, url, digest)
        with self._releases.batch():
            self._releases.keep_track(tracked.row())
            self._on_move(name, lock)

    async def _visit(self, name: str) -> None:
        """Look at what is due of one recipe's archives."""
        tracked = self._tracked[name]
        try:
            async with self._slots:
                due = _look_due(tracked)
                if due is not None and due <= self._clock():
                    await self._look_now(tracked)
                watch = due_watch(tracked)
                if watch is not None and watch <= self._clock():
                    await self._watch_now(tracked)
        finally:
            self._looks.pop(name, None)

    async def _look_now(self, tracked: Tracked) -> None:
        if life.page_needed(tracked.memory, tracked.rules):
            result = await self._poller.poll(tracked.rules.url, force=True)
            self._take(result)
            if _look_due(tracked) is None or life.page_needed(tracked.memory, tracked.rules):
                candidate = tracked.memory.candidate
                if candidate is not None and result.outcome not in ("fresh", "not-modified"):
                    reason = f"the page could not be read again: {result.reason}"
                    now = max(self._clock(), result.until)
                    self._step(
                        tracked,
                        life.note_failure(tracked.memory, candidate.version, reason, now),
                    )
                return
        accepted = await look(
            tracked, self._archives, self._clock, lambda step: self._step(tracked, step)
        )
        candidate = tracked.memory.candidate
        if accepted and candidate is not None:
            version = candidate.version
            self._move(tracked, version, candidate.url, Digest(candidate.digest))

    async def _watch_now(self, tracked: Tracked) -> None:
        events: Iterable[Event] = ()
        with suppress(FetchError):
            events = await watch_archive(tracked, self._archives, self._clock())
        self._remember(tracked, events)


def _is_same(tracked: Tracked | None, recipe: Recipe) -> bool:
    return tracked is not None and (tracked.recipe is recipe or tracked.recipe == recipe)


def _look_due(tracked: Tracked) -> float | None:
    """When the candidate's archive is due; never for a recipe that a person pinned."""
    return None if tracked.pinned else life.look_due(tracked.memory, tracked.rules)
