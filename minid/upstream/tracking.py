"""What the tracker knows of one recipe: its rules, its memory, and what it tells of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from minid.formats.digest import Digest
from minid.recipe import Recipe, expand
from minid.recipe_lock import Lock
from minid.store.releases import TrackRow
from minid.upstream.judge import Dropped
from minid.upstream.memory import Candidate, TrackMemory, dump_memory, load_memory
from minid.upstream.rules import Rules


@dataclass(frozen=True, slots=True)
class ArchiveWatch:
    """The watch on the archive that a recipe is built from, which may change under its name.

    `etag`, `last_modified` and `length` are the server's words of it, `checked` when it was last
    asked, `told` the other digest (hex) that was last made an event, or "gone", `held` that digest
    if a person may approve it, and `note` what a person should know of it.
    """

    url: str = ""
    etag: str = ""
    last_modified: str = ""
    length: str = ""
    checked: float = 0.0
    told: str = ""
    held: str = ""
    note: str = ""


@dataclass(slots=True)
class Tracked:
    """One recipe's upstream. `recipe` is at the release that it is built from."""

    recipe: Recipe
    rules: Rules
    memory: TrackMemory = TrackMemory()
    watch: ArchiveWatch = ArchiveWatch()
    pinned: bool = False
    newest: str = ""
    note: str = ""
    looked: float = 0.0
    dropped: tuple[Dropped, ...] = field(default=())

    @property
    def current(self) -> str:
        """The version that the recipe is at."""
        return self.recipe.source.version

    @property
    def archive_url(self) -> str:
        """Where the archive that the recipe is built from was published."""
        return expand(self.recipe.source.url, self.current)

    @property
    def is_outdated(self) -> bool:
        """Whether what is remembered was judged by other rules."""
        memory, rules = self.memory, self.rules
        judged_by = (memory.basis, memory.proof, memory.bounds)
        return judged_by != (rules.basis, rules.proof, rules.bounds)

    @property
    def wants_every_look(self) -> bool:
        """Whether a page that has not changed is to be judged again: time alone may change what
        it means."""
        memory = self.memory
        return bool(memory.candidate or memory.suspects or memory.shrunk_since or not memory.seen)

    def row(self) -> TrackRow:
        """As the store keeps it."""
        memory = dump_memory(self.memory)
        if self.watch != ArchiveWatch():
            memory["watch"] = {
                key: getattr(self.watch, key)
                for key in ArchiveWatch.__dataclass_fields__
                if getattr(self.watch, key)
            }
        return TrackRow(self.recipe.name, memory, self.newest, self.note, self.looked)

    def recall(self, row: TrackRow | None) -> None:
        """Take over what the store has kept."""
        if row is not None:
            self.memory = load_memory(row.memory)
            watch = _load_watch(row.memory.get("watch"))
            # Of the release that it was moved from, if it was.
            self.watch = watch if watch.url == self.archive_url else ArchiveWatch()
            self.newest, self.note, self.looked = row.newest, row.note, row.looked

    def known_digests(self) -> dict[Digest, str]:
        """Digests of archives whose version is known."""
        known = {
            Digest(digest): version for digest, version in self.memory.digests if len(digest) == 64
        }
        known[self.recipe.source.sha256] = self.current
        return known


def _load_watch(value: Any) -> ArchiveWatch:  # noqa: ANN401
    if not isinstance(value, Mapping):
        return ArchiveWatch()
    kinds = {key: type(getattr(ArchiveWatch(), key)) for key in ArchiveWatch.__dataclass_fields__}
    fit: dict[str, Any] = {
        key: item for key, item in value.items() if isinstance(item, kinds.get(key, ()))
    }
    return replace(ArchiveWatch(), **fit)


def lock_of(recipe: Recipe, before: Lock | None, version: str, url: str, sha256: Digest) -> Lock:
    """The lock that moves a recipe; `before` is the one that may have moved it already."""
    source = recipe.source
    if before is not None and (before.version, before.sha256) == (source.version, source.sha256):
        return Lock(version, url, sha256, before.of_version, before.of_sha256)
    return Lock(version, url, sha256, source.version, source.sha256)


@dataclass(frozen=True, slots=True)
class Decision:
    """What `minid check` prints: where a recipe's upstream stands and why.

    `decision` is one of up-to-date, settling, waiting, held, accepted, suspect, failed, pinned,
    untracked, unknown. `version` is the newest release that counts; `next_look` the time of what is
    due next, in seconds since the epoch, None where nothing is; `reasons` are (version, why not).
    `held` is the version that waits for a person, empty where none does.
    """

    recipe: str
    current: str
    decision: str
    version: str
    note: str
    reasons: tuple[tuple[str, str], ...] = ()
    next_look: float | None = None
    held: str = ""

    def as_json(self) -> dict[str, object]:
        """As JSON values."""
        reasons = [{"version": version, "reason": reason} for version, reason in self.reasons]
        return {**asdict(self), "reasons": reasons}


def describe(candidate: Candidate) -> str:
    """A candidate in one line."""
    words = f"{candidate.version}: {candidate.state}"
    return f"{words} ({candidate.reason})" if candidate.reason else words


def decide(tracked: Tracked, failure: str, next_look: float | None) -> Decision:
    """Where a recipe's upstream stands; `failure` is why its page could not be asked just now."""
    word, note = _stand(tracked, failure)
    reasons = tuple((item.version, item.reason) for item in tracked.dropped)
    newest = tracked.newest or tracked.current
    name, held = tracked.recipe.name, _held(tracked) if word == "held" else ""
    return Decision(name, tracked.current, word, newest, note, reasons, next_look, held)


def _held(tracked: Tracked) -> str:
    memory = tracked.memory
    if tracked.watch.held:
        return tracked.current
    return memory.candidate.version if memory.candidate else memory.held[0][0]


def _stand(tracked: Tracked, failure: str) -> tuple[str, str]:
    """The decision and a line for a person."""
    memory, watch = tracked.memory, tracked.watch
    if tracked.rules.source == "none":
        return "untracked", "the recipe names no page to watch"
    if failure:
        return "failed", failure
    if memory.suspects:
        return "suspect", f"its page is not believed: {memory.suspect_reason}"
    if tracked.pinned:
        return "pinned", f"a person keeps it at {tracked.current}"
    if watch.held:
        return "held", watch.note
    if memory.candidate is not None:
        return _stand_of(memory.candidate, tracked.rules.settle_s)
    if memory.held:
        version, reason = memory.held[0]
        return "held", f"{version} needs approval: {reason}"
    if watch.note and watch.told != "gone":
        return "suspect", watch.note
    if not tracked.looked:
        return "unknown", tracked.note or "its page was not asked yet"
    return "up-to-date", tracked.note or watch.note


def _stand_of(candidate: Candidate, settle_s: float) -> tuple[str, str]:
    version, reason = candidate.version, candidate.reason
    if candidate.state == "seen":
        trouble = (
            f"cannot be had yet: {reason}" if reason else "is out, its archive is fetched next"
        )
        return "settling", f"{version} {trouble}"
    if candidate.state == "settling":
        trouble = f" ({reason})" if reason else ""
        return "settling", f"{version} counts once it has stood for {_hours(settle_s)}{trouble}"
    words = {"waiting": "waits", "held": "needs approval", "accepted": "is to be built"}
    return candidate.state, f"{version} {words[candidate.state]}: {reason}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"
