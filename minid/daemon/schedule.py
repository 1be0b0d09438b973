"""Which queued runs start now, and why each of the others waits. Pure: rows and facts in, words
out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from minid.store.records import RunRow

# No back-off is longer: what is further ahead was written before the clock was set back.
_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What besides the rows decides. `now` in seconds since the epoch, sizes in bytes.

    `mode` is empty, `paused` or `draining`; `stands_on` has the names that a recipe directly stands
    on.
    """

    now: float
    slots: int
    mode: str = ""
    free_bytes: int = 1 << 62
    min_free_bytes: int = 0
    stands_on: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`starts` are runs in the order in which they start; `waits` says by run why it waits;
    `wake_at` is when a back-off is over, seconds since the epoch, None where there is none."""

    starts: tuple[int, ...] = ()
    waits: Mapping[int, str] = field(default_factory=dict)
    wake_at: float | None = None


def make_schedule(queued: Iterable[RunRow], running: Iterable[RunRow], facts: Facts) -> Schedule:
    """The runs that start now and why the others wait.

    The highest priority first, then those that others wait for, then the oldest. What a recipe
    stands on inherits its priority. Runs of one recipe follow each other, and wait for the open
    runs of all that it stands on.
    """
    rows, active = list(queued), {row.recipe: row for row in running}
    open_runs = {**{row.recipe: row for row in rows}, **active}
    below = {
        row.id: [open_runs[n] for n in all_below(row.recipe, facts.stands_on) if n in open_runs]
        for row in rows
    }
    waits: dict[int, str] = {}
    starts: list[int] = []
    free_slots = facts.slots - len(active)
    for row in _in_order(rows, below):
        reason = _own_reason(row, active, below[row.id], facts) or _shared_reason(facts)
        if not reason and free_slots <= 0:
            reason = f"no slot ({facts.slots} of {facts.slots} busy)"
        if reason:
            waits[row.id] = reason
        else:
            starts.append(row.id)
            free_slots -= 1
    later = [row.not_before for row in rows if _backs_off(row, facts.now)]
    return Schedule(tuple(starts), waits, min(later, default=None))


def _in_order(rows: list[RunRow], below: Mapping[int, Sequence[RunRow]]) -> list[RunRow]:
    priorities = {row.id: row.priority for row in rows}
    wanted = dict.fromkeys(priorities, 0)
    for row in rows:
        for other in below[row.id]:
            if other.id in priorities:
                priorities[other.id] = max(priorities[other.id], row.priority)
                wanted[other.id] += 1
    return sorted(rows, key=lambda row: (-priorities[row.id], -wanted[row.id], row.id))


def all_below(recipe: str, stands_on: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of all that a recipe stands on, the nearest first."""
    direct = stands_on.get(recipe, ())
    if not any(stands_on.get(name) for name in direct):  # nearly always, of ten thousand
        return [name for name in direct if name != recipe]
    found: dict[str, None] = dict.fromkeys(direct)
    waiting = list(found)
    for name in waiting:
        for other in stands_on.get(name, ()):
            if other not in found:
                found[other] = None
                waiting.append(other)
    found.pop(recipe, None)
    return list(found)


def _own_reason(
    row: RunRow, active: Mapping[str, RunRow], below: Sequence[RunRow], facts: Facts
) -> str:
    """Why this run cannot start whatever the others do."""
    if facts.mode:
        return facts.mode
    if row.recipe in active:
        return f"run {active[row.recipe].id} of it is running"
    if below:
        return f"waits for {below[0].recipe} (run {below[0].id})"
    if _backs_off(row, facts.now):
        return time.strftime("back-off until %H:%M", time.localtime(row.not_before))
    return ""


def _backs_off(row: RunRow, now: float) -> bool:
    return 0 < row.not_before - now <= _LONGEST_S


def _shared_reason(facts: Facts) -> str:
    if facts.free_bytes < facts.min_free_bytes:
        free, needed = facts.free_bytes / 1e9, facts.min_free_bytes / 1e9
        return f"free space: {free:.1f} GB of {needed:.1f} GB"
    return ""
