"""What an answer means for a page and its host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minid.errors import FetchError
from minid.host.web import Answer
from minid.store.polls import PollState
from minid.upstream.hosts import host_of
from minid.upstream.poll_answer import read_answer, read_failure, validators

NOW, DAY = 1_800_000_000.0, 86400.0
URL = "https://mirror.example/app/"
KNOWN = PollState(etag='"1"', last_modified="yesterday", digest="d", whole_at=NOW, polled_at=NOW)


def answered(status: int, body: bytes = b"", state: PollState = KNOWN, **headers: str):
    words = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(URL, "index", state, Answer(status, words, body, URL), NOW + 60)


@pytest.mark.parametrize(("age_s", "sent"), [(0, 2), (7 * DAY - 1, 2), (7 * DAY, 0), (-1, 0)])
def test_validators_hold_for_a_week(age_s: float, sent: int) -> None:
    assert len(validators(KNOWN, NOW + age_s)) == sent
    assert validators(PollState(), NOW) == {}


def test_hosts_are_told_apart_by_name_and_port() -> None:
    assert host_of("https://Mirror.Example:443/x") == host_of("https://mirror.example/y")
    assert host_of("http://mirror.example:8080/") == "mirror.example:8080"
    assert host_of("http://[::1]:80/") == "[::1]"
    assert host_of("no address") == "no address"


def test_a_page_is_kept_with_its_validators() -> None:
    polled = answered(200, b"<a href=x>", ETag='W/"2"', Last_Modified="today")
    assert polled.result.outcome == "fresh"
    assert (polled.state.etag, polled.state.last_modified) == ('W/"2"', "today")
    assert polled.state.whole_at == polled.state.polled_at == polled.state.changed_at == NOW + 60
    again = answered(200, b"<a href=x>", replace(polled.state, changed_at=5.0))
    assert again.state.changed_at == 5.0


def test_not_modified_keeps_the_validators() -> None:
    polled = answered(304, ETag='"other"')
    assert (polled.state.etag, polled.state.whole_at) == ('"1"', NOW)
    assert polled.state.polled_at == NOW + 60


def test_503_without_a_word_is_a_failure_of_the_page_alone() -> None:
    polled = answered(503, b"<title>503 Service Temporarily Unavailable</title>")
    assert (polled.result.outcome, polled.wait, polled.state.failures) == ("failed", None, 1)
    assert answered(503, Retry_After="soon").wait is not None
    assert answered(429).result.until == NOW + 120


def test_403_blocks_the_host_of_the_page_and_not_where_it_led_to() -> None:
    answer = Answer(403, {}, b"", "https://victim.example/forbidden")
    polled = read_answer(URL, "index", KNOWN, answer, NOW)
    assert polled.wait is not None
    assert (polled.wait.host, polled.wait.until) == ("mirror.example", NOW + DAY)
    assert polled.state.etag == '"1"'


def test_404_counts_from_its_first_time_in_a_row() -> None:
    state = KNOWN
    for hours, outcome in ((0, "failed"), (23, "failed"), (24, "gone")):
        answer = Answer(404, {}, b"", URL)
        polled = read_answer(URL, "index", state, answer, NOW + hours * 3600)
        assert polled.result.outcome == outcome
        state = polled.state
    again = read_failure(URL, state, FetchError("no connection"), NOW)
    assert (again.state.absent, again.state.failures) == (0, 4)
    assert again.result.reason == f"{URL}: no connection"


def test_reasons_hide_what_may_be_secret() -> None:
    url = "https://mirror.example/x?token=abc"
    polled = read_answer(url, "index", PollState(), Answer(500, {}, b"", url), NOW)
    assert "abc" not in polled.result.reason
    assert "status 200, got 500" in polled.result.reason
