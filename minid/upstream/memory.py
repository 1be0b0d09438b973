"""What is remembered of one upstream between two looks, as a value and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar

from minid.upstream.values import Event

State = Literal["seen", "settling", "waiting", "held", "accepted"]

_STATES = ("seen", "settling", "waiting", "held", "accepted")
# Lists of words that people and pages add to keep their newest.
KEPT = 200
# Hosts are left alone for a day at most; a look that is put off for longer may come earlier.
_FARTHEST_S = 2 * 24 * 3600.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release on its way to become the one that is built. Times in seconds since the epoch.

    `seen`: no look at its archive yet. `settling`: the archive had `digest` (hex, SHA-256) at
    `looked`, and a second look is due. `waiting`: a signature or digest is not there yet, since
    `waiting_since`. `held`: a person decides. `accepted`: verified, to be built.
    `sha256` is what the page states, `listed` when a page that is believed last had it,
    `next_look` the earliest time of the next try, `failures` how many in a row came to nothing.
    """

    version: str
    url: str
    sha256: str = ""
    state: State = "seen"
    seen: float = 0.0
    listed: float = 0.0
    digest: str = ""
    looked: float = 0.0
    waiting_since: float = 0.0
    next_look: float = 0.0
    failures: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TrackMemory:
    """All that is remembered of one upstream. `basis`, `proof` and `bounds` are of the rules that
    its page was judged by last.

    `high` is the high-water mark: the newest version that was built or accepted. `seen` are the
    newest versions of the last page that was believed, `matches` how many it had. `suspects` counts
    looks in a row that were not believed, for `suspect_reason`. `held` are versions that need
    approval and why, `refused` those whose archive was refused and why; `approved` and `rejected`
    are a person's words. `digests` are pairs of an accepted archive's digest and its version.
    `told` are facts that were made an event already.
    """

    basis: str = ""
    proof: str = ""
    bounds: str = ""
    high: str = ""
    seen: tuple[str, ...] = ()
    matches: int = 0
    suspects: int = 0
    suspect_since: float = 0.0
    suspect_reason: str = ""
    shrunk_since: float = 0.0
    stale: bool = False
    superseded: bool = False
    held: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    approved: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    digests: tuple[tuple[str, str], ...] = ()
    told: tuple[str, ...] = ()
    candidate: Candidate | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What a fact or a person's word came to. `action` is what the tracker does next: `verify` the
    archive that it just looked at, queue the build of the accepted candidate, `judge` the stored
    page again, or nothing."""

    memory: TrackMemory
    events: tuple[Event, ...] = ()
    action: Literal["none", "verify", "accept", "judge"] = "none"


def add(items: tuple[T, ...], *more: T) -> tuple[T, ...]:
    """`items` with `more` at the end, each once, the newest `KEPT` of them."""
    kept = tuple(item for item in items if item not in more)
    return (kept + tuple(dict.fromkeys(more)))[-KEPT:]


def set_right(memory: TrackMemory, now: float) -> TrackMemory:
    """The memory without times that are still to come: the clock was ahead when they were noted.
    A candidate that settles stands from now on, as nobody knows for how long it has."""
    candidate = memory.candidate
    if candidate is not None:
        candidate = replace(
            candidate,
            seen=min(candidate.seen, now),
            listed=min(candidate.listed, now),
            looked=min(candidate.looked, now),
            waiting_since=min(candidate.waiting_since, now),
            next_look=min(candidate.next_look, now + _FARTHEST_S),
        )
    return replace(
        memory,
        candidate=candidate,
        suspect_since=min(memory.suspect_since, now),
        shrunk_since=min(memory.shrunk_since, now),
    )


def without(pairs: tuple[tuple[str, str], ...], version: str) -> tuple[tuple[str, str], ...]:
    """The pairs whose first part is another version."""
    return tuple(pair for pair in pairs if pair[0] != version)


def dump_memory(memory: TrackMemory) -> dict[str, object]:
    """As JSON's types, without what is as in a new memory."""
    new = asdict(TrackMemory())
    return {key: value for key, value in asdict(memory).items() if value != new[key]}


def load_memory(stored: Mapping[str, object]) -> TrackMemory:
    """From what `dump_memory` gave and JSON kept. Takes any mapping: what is not as expected, such
    as from another version of minid, counts as not remembered."""
    memory = _load(TrackMemory(), stored)
    candidate = stored.get("candidate")
    if isinstance(candidate, Mapping):
        found = _load(Candidate("", ""), candidate)
        if found.version and found.url and found.state in _STATES:
            return replace(memory, candidate=found)
    return memory


def _load(new: T, stored: Mapping[Any, object]) -> T:
    values = {}
    for field in fields(new):  # type: ignore[arg-type]
        parse = _PARSERS.get(str(field.type))
        if parse is not None and field.name in stored:
            value = parse(stored[field.name])
            if value is not None:
                values[field.name] = value
    return replace(new, **values)  # type: ignore[type-var]


def _words(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)


def _pairs(value: object) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(value, (list, tuple)):
        return None
    found = [_words(item) for item in value]
    pairs = [(item[0], item[1]) for item in found if item is not None and len(item) == 2]
    return tuple(pairs) if len(pairs) == len(value) else None


def _of(*kinds: type) -> Callable[[object], object | None]:
    return lambda value: value if type(value) in kinds else None


_PARSERS: dict[str, Callable[[object], object | None]] = {
    "str": _of(str),
    "State": _of(str),
    "int": _of(int),
    "float": _of(float, int),
    "bool": _of(bool),
    "tuple[str, ...]": _words,
    "tuple[tuple[str, str], ...]": _pairs,
}
