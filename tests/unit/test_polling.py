"""When a page is asked for again."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from minid.upstream.polling import (
    asked_wait,
    backoff,
    base_interval,
    is_gone,
    is_too_far,
    jittered,
    spread_window,
)

HOUR, DAY = 3600.0, 86400.0
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("every_s", "age_s", "interval_s"),
    [
        (6 * HOUR, None, 6 * HOUR),
        (6 * HOUR, 1 * DAY, 6 * HOUR),
        (6 * HOUR, 20 * DAY, 0.02 * 20 * DAY),
        (6 * HOUR, 3000 * DAY, DAY),
        (10.0, 0.0, HOUR),
        (10.0, -5.0, HOUR),
        (10.0, 10 * DAY, 0.2 * DAY),
        (48 * HOUR, 3000 * DAY, 48 * HOUR),
    ],
)
def test_intervals_follow_the_age_of_the_newest_release(every_s, age_s, interval_s) -> None:
    assert base_interval(every_s, age_s) == pytest.approx(interval_s)


def test_no_page_is_put_off_for_years() -> None:
    assert is_too_far(NOW + 3650 * DAY, 6 * HOUR, NOW)
    assert not is_too_far(NOW + 1.2 * DAY, 6 * HOUR, NOW)
    assert not is_too_far(NOW + 36 * DAY, 30 * DAY, NOW)
    assert not is_too_far(NOW - 3650 * DAY, 6 * HOUR, NOW)


def test_inside_hosts_are_asked_as_the_recipe_says() -> None:
    assert base_interval(2.0, 3000 * DAY, inside=True) == 2.0


def test_jitter() -> None:
    assert jittered(100, 0.0) == pytest.approx(80)
    assert jittered(100, 0.5) == pytest.approx(100)
    assert jittered(100, 0.999999) == pytest.approx(120, abs=0.01)


def test_backoff_doubles_up_to_half_a_day() -> None:
    assert [backoff(n, 1.0) for n in (1, 2, 3, 8, 9, 10_000)] == [
        300, 600, 1200, 38400, 43200, 43200
    ]  # fmt: skip
    assert backoff(5, 0.0) == 60
    assert backoff(3, 0.5) == 600


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("3600", HOUR),
        (" 120 ", 120),
        ("0", 60),
        ("-5", 60),
        ("soon", 60),
        ("", 60),
        ("1e9", 60),
        ("٣٦٠٠", 60),
        ("9" * 5000, DAY),
        (formatdate(NOW + 7200, usegmt=True), 7200),
        (formatdate(NOW - 7200, usegmt=True), 60),
        (formatdate(NOW + 7 * DAY, usegmt=True), DAY),
        ("Fri, 99 Foo 2027 25:61:61 GMT", 60),
        ("Fri, 15 Jan 99999 08:00:00 GMT", 60),
        ("Fri, 15 Jan 2027 08:30:00", 1800),
        ("\x00" * 100, 60),
    ],
)
def test_situation_25_what_a_server_asks_for(value: str, wait_s: float) -> None:
    assert asked_wait(value, NOW) == pytest.approx(wait_s)


def test_gone_is_three_times_over_a_day() -> None:
    assert not is_gone(2, 0.0, 10 * DAY)
    assert not is_gone(9, 0.0, DAY - 1)
    assert is_gone(3, 0.0, DAY)


def test_overdue_pages_are_spread() -> None:
    assert spread_window(1) <= 5
    assert spread_window(10_000) == HOUR
