"""What is tried again, when, and what is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minid.daemon.job import Result
from minid.daemon.retry import (
    delay_s,
    interrupted_delay_s,
    judge_attempt,
    judge_end,
    retry_in_s,
)
from minid.store.records import RunRow

ROW = RunRow(7, "web", "1.0", "running", "changed", (), 1.0, 900.0, "", 0, "", "", key="k")
NOW = 1000.0


def ended(status: str, key: str = "k", number: int = 1, **values: object) -> RunRow:
    return replace(ROW, id=number, status=status, key=key, **values)  # type: ignore[arg-type]


def test_the_delay_doubles_up_to_six_hours():
    assert [delay_s(n) for n in (1, 2, 3, 9, 10, 10_000)] == [60, 120, 240, 15360, 21600, 21600]


def test_interrupted_runs_go_on_at_once_but_not_for_ever():
    assert [interrupted_delay_s(n) for n in (1, 4, 5, 50)] == [0, 0, 10, 10]


def test_interruptions_are_no_failed_attempts():
    """A service that was killed five times must not have the next lost worker be the last try."""
    row, cut = replace(ROW, attempt=6), [ended("interrupted")] * 5
    lost = Result("infra", error="got SIGKILL", lost=True, retryable=True)
    assert judge_end(row, lost, ending="", earlier=cut).retry_in_s == delay_s(1)
    unreachable = Result("failed", error="no route", retryable=True)
    earlier = [ended("failed"), *cut[:4]]
    assert judge_end(row, unreachable, ending="", earlier=earlier).retry_in_s == delay_s(2)


@pytest.mark.parametrize(
    ("result", "attempt", "seconds"),
    [
        (Result("failed"), 1, None),
        (Result("skipped"), 1, None),
        (Result("failed", retryable=True), 2, 120),
        (Result("infra", retryable=True), 12, 21600),
        (Result("infra", lost=True), 2, 120),
        (Result("infra", lost=True), 3, None),
    ],
)
def test_retry(result: Result, attempt: int, seconds: float | None):
    assert retry_in_s(result, attempt) == seconds


@pytest.mark.parametrize("status", ["failed", "infra", "cancelled"])
def test_the_same_is_not_attempted_again(status: str):
    refusal = judge_attempt("k", [ended(status)], NOW)
    assert refusal is not None
    assert refusal.kind == "not-retried"
    assert judge_attempt("other", [ended(status)], NOW) is None


def test_what_is_no_attempt_does_not_count():
    past = [ended("interrupted"), ended("skipped"), ended("unchanged"), ended("failed")]
    assert judge_attempt("k", past, NOW)
    assert judge_attempt("k", past[:3], NOW) is None


def test_a_fix_that_was_taken_back_is_attempted():
    assert judge_attempt("k", [ended("ok", "fixed"), ended("failed")], NOW) is None


def test_the_same_that_ended_well_twice_is_endless():
    twice = [ended("ok", number=2), ended("ok")]
    refusal = judge_attempt("k", twice, NOW)
    assert refusal is not None
    assert (refusal.kind, "runs 1 and 2" in refusal.text) == ("endless", True)
    assert judge_attempt("k", twice[:1], NOW) is None
    assert judge_attempt("k", [twice[0], ended("ok", "other")], NOW) is None
    assert judge_attempt("k", twice, NOW + 2 * 86400) is None, "days apart it has another reason"


def test_the_end_of_a_good_run():
    verdict = judge_end(ROW, Result("ok", moved=("store web:1",)), ending="", earlier=())
    assert (verdict.status, verdict.retry_in_s) == ("ok", None)
    assert verdict.events == (("built", "1.0: store web:1"),)


def test_ok_after_a_failure_has_recovered_whatever_came_between():
    earlier = [ended("infra"), ended("cancelled"), ended("failed", number=3)]
    verdict = judge_end(ROW, Result("ok"), ending="", earlier=earlier)
    assert [kind for kind, _ in verdict.events] == ["built", "recovered"]
    verdict = judge_end(ROW, Result("ok"), ending="", earlier=[ended("ok"), *earlier])
    assert [kind for kind, _ in verdict.events] == ["built"]


def test_a_failure_is_told_once_and_its_retries_as_such():
    result = Result("failed", error="no route\nmore", retryable=True)
    first = judge_end(ROW, result, ending="", earlier=())
    assert first.events == (("failed", "no route; again in 1 min"),)
    again = judge_end(replace(ROW, attempt=8), result, ending="", earlier=())
    assert again.events == (("failed-again", "no route; again in 2.1 h"),)


def test_what_was_made_to_end_is_not_repeated():
    result = Result("failed", error="cancelled", retryable=True)
    for ending in ("cancelled", "interrupted"):
        verdict = judge_end(ROW, result, ending=ending, earlier=())
        assert (verdict.status, verdict.retry_in_s) == (ending, None)


def test_what_ended_well_is_not_cancelled():
    assert judge_end(ROW, Result("ok"), ending="cancelled", earlier=()).status == "ok"


def test_somebody_elses_sigterm_is_an_interruption():
    verdict = judge_end(ROW, Result("cancelled"), ending="", earlier=())
    assert (verdict.status, verdict.retry_in_s) == ("interrupted", 0.0)


def test_lost_three_times_says_so():
    lost = Result("infra", error="got SIGKILL", lost=True, retryable=True)
    verdict = judge_end(replace(ROW, attempt=3), lost, ending="", earlier=())
    assert verdict.events == (("infra", "got SIGKILL; given up after 3 attempts"),)
