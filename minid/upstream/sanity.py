"""Whether a page is to be believed. One that is not changes nothing that was known before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from minid.upstream.memory import Step, TrackMemory
from minid.upstream.values import Event

DAY_S = 24 * 3600.0
ALERT_AT = 3


def weigh_page(memory: TrackMemory, current: str, listed: Collection[str], now: float) -> Step:
    """Weigh a page that lists these versions, each once, against what is remembered.

    Where the memory of the step has `suspects`, the page is not believed, for `suspect_reason`.
    """
    if not listed:
        return doubt(memory, "it lists no version", now)
    known = _known(memory, current)
    if memory.seen and known.isdisjoint(listed) and not _lists_one(memory, listed):
        return doubt(memory, f"it lists neither {current} nor any version seen before", now)
    if 2 * len(listed) < memory.matches:
        # Half of a page that is cut or of a mirror in the making; what stays so is no accident.
        since = memory.shrunk_since or now
        if now - since < DAY_S:
            shrunk = replace(memory, shrunk_since=since)
            return doubt(shrunk, f"it listed {memory.matches} versions, now {len(listed)}", now)
    believed = replace(
        memory,
        matches=len(listed),
        suspects=0,
        suspect_since=0.0,
        suspect_reason="",
        shrunk_since=0.0,
    )
    if memory.suspects < ALERT_AT:
        return Step(believed)
    return Step(believed, (Event("believed", "the page is believed again"),))


def doubt(memory: TrackMemory, reason: str, now: float) -> Step:
    """Count a look whose page is not believed; the third in a row is an alert."""
    count = memory.suspects + 1
    since = memory.suspect_since or now
    doubted = replace(memory, suspects=count, suspect_since=since, suspect_reason=reason)
    if count != ALERT_AT:
        return Step(doubted)
    text = f"the page is not believed, {count} times in a row: {reason}"
    return Step(doubted, (Event("suspect", text, (("reason", reason),)),))


def _known(memory: TrackMemory, current: str) -> set[str]:
    known = {current, memory.high, *memory.seen, *memory.approved}
    if memory.candidate is not None:
        known.add(memory.candidate.version)
    return known


def _lists_one(memory: TrackMemory, listed: Collection[str]) -> bool:
    """Whether this is a page that names nothing but the newest release, and always has."""
    return memory.matches == 1 and len(listed) == 1
