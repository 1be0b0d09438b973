"""What a page says of a recipe: a newer release or none, and why each version does not count.

Pure. Nothing goes down: what counts is above the high-water mark, the newest version that was built
or accepted. Versions that need approval, or were refused, hide none below them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from minid.formats.version import VersionKey, release_key
from minid.upstream.memory import Candidate, TrackMemory, add, set_right
from minid.upstream.rules import Rules, extension_of
from minid.upstream.sanity import doubt, weigh_page
from minid.upstream.shape import jump_reason, shape_reason
from minid.upstream.values import Event, Found

_SEEN = 32
# The newest ones that something is to be told of; told again when they are forgotten.
_FACTS = 20
# The newest versions that do not count, with reasons: a page may list tens of thousands.
_DROPPED = 100
_OTHERS = 3
Ranked = Sequence[tuple[VersionKey, str]]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A version above the current one that is not the candidate, and why."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a look came to.

    `candidate` is the release to look at, hold or build, None where there is none or the page is
    not believed. `newest` is the newest release known that counts. `note` is one line for a person,
    and begins with "suspect: " where the page is not believed; empty where all is well. `dropped`
    goes from the newest down, and has the 100 newest.
    """

    memory: TrackMemory
    candidate: Candidate | None
    newest: str
    note: str
    events: tuple[Event, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    @property
    def believed(self) -> bool:
        """Whether the page was believed."""
        return self.memory.suspects == 0


def judge(
    rules: Rules, current: str, memory: TrackMemory, listing: Sequence[Found], now: float
) -> Judgement:
    """Judge all that a page lists. `current` is the version that the recipe is at now."""
    memory = set_right(_rebase(rules, current, memory), now)
    ranked = sorted({(release_key(item.version), item.version) for item in listing}, reverse=True)
    weighed = weigh_page(memory, current, {version for _, version in ranked}, now)
    if weighed.memory.suspects:
        return _suspect(weighed.memory, weighed.events)
    walk = _Walk(rules, current, memory, listing, ranked)
    stale = walk.stale_reason()
    if stale:
        doubted = doubt(memory, stale, now)
        event = Event("stale-source", stale, (("high", memory.high),))
        events = () if memory.stale else (event,)
        return _suspect(replace(doubted.memory, stale=True), events + doubted.events)
    seen = tuple(version for _, version in ranked[:_SEEN])
    memory = replace(weighed.memory, seen=seen, stale=False)
    return _conclude(walk, memory, weighed.events, now)


def judge_failure(
    rules: Rules, current: str, memory: TrackMemory, reason: str, now: float
) -> Judgement:
    """Judge a page that is no page of releases at all, for `reason`."""
    memory = set_right(_rebase(rules, current, memory), now)
    doubted = doubt(memory, reason, now)
    return _suspect(doubted.memory, doubted.events)


def _rebase(rules: Rules, current: str, memory: TrackMemory) -> TrackMemory:
    """The memory under today's rules and today's current version."""
    if memory.basis != rules.basis:
        kept = replace(memory, high="", seen=(), matches=0, suspects=0, suspect_since=0.0)
        memory = replace(kept, basis=rules.basis, shrunk_since=0.0, stale=False, superseded=False)
        memory = replace(memory, suspect_reason="", refused=(), told=())
    candidate = memory.candidate
    if memory.proof != rules.proof:
        if candidate is not None and candidate.state in ("waiting", "held"):
            candidate = replace(
                candidate, state="seen", digest="", waiting_since=0.0, next_look=0.0
            )
        memory = replace(memory, proof=rules.proof, refused=())
    memory = replace(memory, bounds=rules.bounds)
    if candidate is not None and release_key(candidate.version) <= release_key(current):
        candidate = None
    high = max(memory.high or current, current, key=release_key)
    return replace(memory, high=high, candidate=candidate)


def _suspect(memory: TrackMemory, events: tuple[Event, ...]) -> Judgement:
    note = f"suspect: {memory.suspect_reason}"
    return Judgement(memory, None, memory.high, note, events)


class _Walk:
    """One way down a listing, from the newest version."""

    def __init__(
        self,
        rules: Rules,
        current: str,
        memory: TrackMemory,
        listing: Sequence[Found],
        ranked: Ranked,
    ) -> None:
        self.rules = rules
        self.current = current
        self.memory = memory
        self.ranked = ranked
        self.picked: Found | None = None
        self.dropped: list[Dropped] = []
        self.held: list[tuple[str, str]] = []
        self.unpacked: list[tuple[str, str]] = []
        self.beyond = ""
        self._older = ""  # one text for all of them: ten thousand recipes keep theirs in memory
        self._high = release_key(memory.high)
        self._refused = dict(memory.refused)
        self._offers = _by_version(listing, self._above(release_key(current)))
        for key, version in self._above(release_key(current)):
            reason = self._reason(key, version)
            if reason and len(self.dropped) < _DROPPED:
                self.dropped.append(Dropped(version, reason))

    def stale_reason(self) -> str:
        """Why the page is one of the past, where nothing on it that counts is as new as the
        high-water mark, which would count itself."""
        high = self.memory.high
        if self.picked is not None or self.rules.drop_reason(high) or high in self.memory.rejected:
            return ""
        newest = next((item for item in self.ranked if self._counts(*item)), None)
        if newest is None or newest[0] >= self._high:
            return ""
        return f"it lists {newest[1]} at most, and {high} was there before"

    def _above(self, floor: VersionKey) -> Iterable[tuple[VersionKey, str]]:
        for key, version in self.ranked:
            if key <= floor:
                return
            yield key, version

    def _counts(self, key: VersionKey, version: str) -> bool:
        dropped = self.rules.drop_reason(version) or version in self.memory.rejected
        return not dropped and not (key > self._high and self._hold_reason(version))

    def _reason(self, key: VersionKey, version: str) -> str:
        """Why not this version; nothing where it is the one."""
        if self.picked is not None:
            return self._older
        if version in self.memory.rejected:
            return "rejected by a person"
        reason = self.rules.drop_reason(version)
        if reason:
            if reason == self.rules.outside and not shape_reason(version, self.current):
                self.beyond = self.beyond or version
            return reason
        if version in self._refused:
            return f"refused: {self._refused[version]}"
        if version not in self.memory.approved:
            if key <= self._high:
                return f"not above {self.memory.high}, which was accepted before"
            reason = self._hold_reason(version)
            if reason:
                self.held.append((version, reason))
                return f"needs approval: {reason}"
        return self._pick(self._offers[version])

    def _hold_reason(self, version: str) -> str:
        reason = shape_reason(version, self.current)
        return reason or jump_reason(version, self.current, self.rules.max_jump)

    def _pick(self, offers: Sequence[Found]) -> str:
        for offer in offers:
            if self.rules.fits(offer):
                self.picked = offer
                self._older = f"older than {offer.version}"
                return ""
        kinds = sorted({extension_of(offer.url) or offer.url for offer in offers})
        others = ", ".join(kinds[:_OTHERS]) + (", …" if len(kinds) > _OTHERS else "")
        reason = f"there is no {self.rules.extension} of it, only {others}"
        self.unpacked.append((offers[0].version, reason))
        return reason


def _by_version(
    listing: Iterable[Found], wanted: Iterable[tuple[VersionKey, str]]
) -> dict[str, list[Found]]:
    offers: dict[str, list[Found]] = {version: [] for _, version in wanted}
    for item in listing:
        if item.version in offers:
            offers[item.version].append(item)
    return offers


def _conclude(walk: _Walk, memory: TrackMemory, events: tuple[Event, ...], now: float) -> Judgement:
    """The judgement on a page that is believed."""
    old, told = memory.candidate, [*events]
    candidate = _next_candidate(walk, old, now)
    if old is not None and _is_withdrawn(walk, old, candidate):
        text = f"{old.version} was taken back before it was built"
        told.append(Event("withdrawn", text, (("version", old.version), ("url", old.url))))
    if candidate is not None and (old is None or old.version != candidate.version):
        detail = (("version", candidate.version), ("url", candidate.url))
        told.append(Event("release", f"{candidate.version} is out", detail))
    if walk.beyond and not memory.superseded:
        text = f"{walk.beyond} is out, and the recipe stays in series {walk.rules.series}"
        told.append(Event("series-superseded", text, (("version", walk.beyond),)))
    held, unpacked = walk.held[:_FACTS], walk.unpacked[:_FACTS]
    told += _new_facts("held", "needs approval: {}", held, memory)
    told += _new_facts("extension-missing", "is out, but {}", unpacked, memory)
    # Of a version, not of its reason, which speaks of the current version and changes with it.
    facts = [f"held {version}" for version, _ in held]
    facts += [f"extension-missing {version}" for version, _ in unpacked]
    memory = replace(
        memory,
        candidate=candidate,
        held=tuple(held),
        superseded=memory.superseded or bool(walk.beyond),
        told=add(memory.told, *reversed(facts)),
    )
    newest = memory.high if candidate is None else candidate.version
    note = _note(walk, memory)
    return Judgement(memory, candidate, newest, note, tuple(told), tuple(walk.dropped))


def _is_withdrawn(walk: _Walk, old: Candidate, new: Candidate | None) -> bool:
    """Whether the page no longer lists the old candidate, and nothing newer took its place."""
    if old.state == "accepted" or any(version == old.version for _, version in walk.ranked):
        return False
    return new is None or release_key(new.version) < release_key(old.version)


def _next_candidate(walk: _Walk, old: Candidate | None, now: float) -> Candidate | None:
    picked = walk.picked
    if picked is None:
        # What was accepted stays until it is built: the page may have moved on.
        if old is None or old.state != "accepted" or old.version in walk.memory.rejected:
            return None
        return old
    url = walk.rules.artifact_url(picked)
    if old is None or old.version != picked.version:
        return Candidate(picked.version, url, picked.sha256, seen=now, listed=now)
    if old.state == "accepted":
        return replace(old, listed=now)
    return replace(old, url=url, sha256=picked.sha256, listed=now)


def _new_facts(
    kind: str, words: str, facts: Sequence[tuple[str, str]], memory: TrackMemory
) -> list[Event]:
    """One event for all facts that are new, which speaks of the newest version."""
    new = [fact for fact in facts if f"{kind} {fact[0]}" not in memory.told]
    if not new:
        return []
    (version, reason), others = new[0], len(new) - 1
    text = f"{version} {words.format(reason)}" + (f" (and {others} more)" if others else "")
    return [Event(kind, text, (("version", version), ("reason", reason)))]


def _note(walk: _Walk, memory: TrackMemory) -> str:
    candidate = memory.candidate
    if candidate is not None:
        words = f"{candidate.version}: {candidate.state}"
        return f"{words} ({candidate.reason})" if candidate.reason else words
    if walk.held:
        version, reason = walk.held[0]
        return f"held: {version} needs approval: {reason}"
    if walk.unpacked:
        version, reason = walk.unpacked[0]
        return f"{version}: {reason}"
    return ""
