"""When a page is asked for again: intervals, back-off, what a server asks for. Pure.

`chance` is a number from 0 to below 1; all times are in seconds.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

MIN_INTERVAL_S = 3600.0
MAX_INTERVAL_S = 24 * 3600.0
AGE_SHARE = 0.02
JITTER = 0.2

BACKOFF_S = 300.0
MAX_BACKOFF_S = 12 * 3600.0

MIN_WAIT_S = 60.0
MAX_WAIT_S = 24 * 3600.0
BREAKER_S = 24 * 3600.0

UNCONDITIONAL_S = 7 * 24 * 3600.0
GONE_AFTER = 3
GONE_AFTER_S = 24 * 3600.0

_SPREAD_EACH_S = 3.0
MAX_SPREAD_S = 3600.0


def base_interval(every_s: float, age_s: float | None, *, inside: bool = False) -> float:
    """The time between two looks: 2 % of the newest release's age, where that is known, within
    `every_s` (an hour at least) and 24 h. An inside host is asked each `every_s`, as it says."""
    if inside:
        return max(every_s, 0.0)
    least = max(every_s, MIN_INTERVAL_S)
    wanted = AGE_SHARE * max(age_s or 0.0, 0.0)
    return max(least, min(wanted, MAX_INTERVAL_S))


def jittered(interval_s: float, chance: float) -> float:
    """The interval times 0.8 to 1.2."""
    return interval_s * (1 - JITTER + 2 * JITTER * chance)


def is_too_far(due_at: float, every_s: float, now: float) -> bool:
    """Whether a page cannot be due only then: the clock was ahead when that was written."""
    return due_at - now > 2 * max(every_s, MAX_INTERVAL_S)


def backoff(failures: int, chance: float) -> float:
    """The pause after that many failures in a row (1 or more): full jitter over 5 min · 2^n, 12 h
    at most, and never under the shortest wait."""
    longest = min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** min(failures - 1, 20))
    return max(MIN_WAIT_S, longest * chance)


def asked_wait(retry_after: str, now: float) -> float:
    """How long to leave a host alone by its Retry-After header (RFC 9110, 10.2.3), seconds or a
    date: a minute to a day. What is neither, and what is past, is a minute."""
    value = retry_after.strip()
    whole = value.isascii() and value.isdigit()
    return kept_wait(float(value[:9]) if whole else _until_date(value, now))


def kept_wait(wanted_s: float) -> float:
    """How long a host is left alone that asked for so long: a minute to a day."""
    return min(MAX_WAIT_S, max(MIN_WAIT_S, wanted_s))


def is_gone(absent: int, since: float, now: float) -> bool:
    """Whether 404, that often since then, means that the page is gone and not just away."""
    return absent >= GONE_AFTER and now - since >= GONE_AFTER_S


def spread_window(overdue: int) -> float:
    """Over what time that many overdue pages are spread after a time in which nobody asked."""
    return min(MAX_SPREAD_S, _SPREAD_EACH_S * overdue)


def _until_date(value: str, now: float) -> float:
    try:
        date = parsedate_to_datetime(value)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
