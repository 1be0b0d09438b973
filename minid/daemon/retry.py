"""Whether a recipe is worth a run, and what follows from how one ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minid.daemon.job import Result
from minid.store.records import RunRow

FIRST_DELAY_S = 60.0
MAX_DELAY_S = 6 * 3600.0
MAX_LOST = 3
# So often a run is taken up at once after the service ended. Then it may be what ends the service,
# and this leaves a person the time to pause it.
MAX_INTERRUPTED = 5
INTERRUPTED_DELAY_S = 10.0
ENDLESS_S = 86_400.0


def delay_s(attempt: int) -> float:
    """How long to wait after that attempt: a minute, doubled each time, six hours at most."""
    return min(FIRST_DELAY_S * 2.0 ** min(attempt - 1, 20), MAX_DELAY_S)


def interrupted_delay_s(attempt: int) -> float:
    """How long to wait after an attempt that the service's end interrupted: at first not at all."""
    return 0.0 if attempt < MAX_INTERRUPTED else INTERRUPTED_DELAY_S


def retry_in_s(result: Result, attempt: int) -> float | None:
    """In how many seconds a run is to be repeated though nothing has changed; None for never."""
    if result.lost and attempt >= MAX_LOST:
        return None
    return delay_s(attempt) if result.status == "infra" or result.retryable else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a recipe that is not up to date is left alone. `kind` is the event that tells it once."""

    kind: str
    text: str


def judge_attempt(key: str, ended: Sequence[RunRow], now: float) -> Refusal | None:
    """Whether to leave alone what would attempt `key`, by the recipe's runs that ended, the newest
    first."""
    if ended and ended[0].status == "skipped" and ended[0].attempt > 1:
        return None  # it was to be repeated, and left the queue before its time had come
    past = [row for row in ended if row.status not in ("unchanged", "interrupted", "skipped")]
    if not past or past[0].key != key:
        return None
    last = past[0]
    if last.status == "failed":
        text = f"run {last.id} failed, and nothing has changed since: {_first_line(last.error)}"
        return Refusal("not-retried", text)
    if last.status == "infra":
        return Refusal("not-retried", f"run {last.id} was the last of {last.attempt} attempts")
    if last.status == "cancelled":
        return Refusal("not-retried", f"run {last.id} was cancelled, and nothing has changed")
    recent = [row for row in past[:2] if now - (row.finished or 0.0) < ENDLESS_S]
    if len(recent) == 2 and all(row.status == "ok" and row.key == key for row in recent):
        text = f"runs {recent[1].id} and {recent[0].id} built the same, and it is wanted again"
        return Refusal("endless", text)
    return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run ended as and what follows: in how many seconds it is repeated, None for never,
    and events as kind and text."""

    status: str
    retry_in_s: float | None
    events: tuple[tuple[str, str], ...]


def judge_end(row: RunRow, result: Result, *, ending: str, earlier: Sequence[RunRow]) -> Verdict:
    """What follows from a run's result. `ending` is what it was made to end as, if anything;
    `earlier` are the recipe's runs that ended before, the newest first."""
    status = result.status
    if ending and status not in ("ok", "unchanged"):
        status = ending
    cut_off = sum(old.status == "interrupted" for old in earlier[: row.attempt - 1])
    retry = None if ending else retry_in_s(result, max(row.attempt - cut_off, 1))
    if status == "cancelled" and not ending:  # somebody else ended the worker
        status, retry = "interrupted", interrupted_delay_s(row.attempt)
    if status in ("ok", "unchanged"):
        return Verdict(status, None, _good_news(row, result, earlier))
    text = _first_line(result.error)
    if status in ("cancelled", "interrupted"):
        how = "a person ended it" if status == "cancelled" else "the service ended; it is taken up"
        text = f"{how}, after {row.attempt} attempts" if row.attempt > 1 else how
    elif retry is not None:
        text += f"; again in {_duration(retry)}"
    elif result.lost:
        text += f"; given up after {row.attempt} attempts"
    kind = "failed-again" if status == "failed" and row.attempt > 1 else status
    return Verdict(status, retry, ((kind, text),))


def _good_news(
    row: RunRow, result: Result, earlier: Sequence[RunRow]
) -> tuple[tuple[str, str], ...]:
    kind = "built" if result.status == "ok" else "unchanged"
    text = ", ".join(result.moved) if result.moved else "no tag had to move"
    events = [(kind, f"{row.version}: {text}" if kind == "built" else "nothing had to be done")]
    last = next((old for old in earlier if old.status in ("ok", "unchanged", "failed")), None)
    if last is not None and last.status == "failed":
        events.append(("recovered", f"{row.version}, after run {last.id} failed"))
    return tuple(events)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no reason known"
