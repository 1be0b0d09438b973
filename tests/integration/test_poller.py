"""The poller against sites that behave as the situations 16 to 25 say, with a clock of its own."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from minid.config import Fetching
from minid.formats.pattern import compile_pattern
from minid.store.polls import Polls
from minid.upstream.pages import read_page
from minid.upstream.rules import Rules
from tests.support.polling import DAY, HOUR, Bench, run_bench
from tests.support.upstream_site import (
    CAPTCHA,
    Page,
    UpstreamSite,
    drip,
    endless,
    gzip_bomb,
    hang,
    index_page,
    redirect,
    say,
)

pytestmark = pytest.mark.integration

LISTING = index_page("app-1.0.tar.gz", "app-1.1.tar.gz")
Test = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def site() -> Iterator[UpstreamSite]:
    with UpstreamSite() as running:
        yield running


@pytest.fixture
def other() -> Iterator[UpstreamSite]:
    with UpstreamSite("127.0.0.2") as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path):
    """Runs a coroutine function with a bench."""
    return functools.partial(run_bench, tmp_path)


def conditional(site: UpstreamSite, path: str) -> list[tuple[str, str]]:
    """The validators of each request for the path."""
    return [
        (one.headers.get("if-none-match", ""), one.headers.get("if-modified-since", ""))
        for one in site.requests(path)
    ]


def test_a_page_is_whole_once_and_then_not_modified(site, bench) -> None:
    site.put("/", LISTING)
    url = site.url("/")

    async def test(b: Bench) -> None:
        b.track(url)
        (first,) = await b.poller.poll_due()
        assert (first.outcome, first.body, first.final_url) == ("fresh", LISTING, url)
        assert first.content_type == "text/html"
        results = await b.go(DAY)
        assert {one.outcome for one in results} == {"not-modified"}
        assert 3 <= len(results) <= 5  # every 6 h, times 0.8 to 1.2
        site.put("/", LISTING + b"<!-- new -->")
        assert [one.outcome for one in await b.go(8 * HOUR)] == ["fresh"]

    bench(test)


def test_forty_recipes_on_one_page_are_one_request(site, bench) -> None:
    site.put("/", LISTING)

    async def test(b: Bench) -> None:
        for every in range(40):
            b.track(site.url("/"), every_s=HOUR + every)
        await b.go(30 * 60)
        assert len(site.asked) == 1

    bench(test)


def test_situation_16_a_captcha_stops_the_host_for_a_day(site, other, bench) -> None:
    site.put("/a.json", Page(CAPTCHA), Page(b"[]", "application/json"))
    site.put("/b.json", Page(b"[]", "application/json"))
    other.put("/c.json", Page(b"[]", "application/json"))

    async def test(b: Bench) -> None:
        b.track(site.url("/a.json"), kind="json")
        (blocked,) = await b.poller.poll_due()
        assert (blocked.outcome, blocked.until) == ("blocked", b.now + DAY)
        assert "wants to see a person" in blocked.reason
        b.track(site.url("/b.json"), other.url("/c.json"), kind="json")
        assert [one.url for one in await b.poller.poll_due()] == [other.url("/c.json")]
        b.restart()
        b.specs.pop(other.url("/c.json"))
        b.poller.set_resources(b.specs)
        assert await b.go(DAY - 60) == []
        assert list(b.poller.waits()) == [f"127.0.0.1:{site.port}"]
        assert {one.outcome for one in await b.go(HOUR)} == {"fresh"}
        assert b.poller.waits() == Polls(b.database).waits() == {}

    bench(test)


@pytest.mark.parametrize(
    "page",
    [
        Page(CAPTCHA, status=503),
        Page(b"<html>no</html>", status=403),
        Page(CAPTCHA, status=429, headers={"Retry-After": "60"}),
        Page(LISTING, headers={"cf-mitigated": "challenge"}),
    ],
)
def test_other_ways_of_being_blocked(site, bench, page: Page) -> None:
    site.put("/", page, Page(LISTING))

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        assert [one.outcome for one in await b.poller.poll_due()] == ["blocked"]
        assert (await b.poller.poll(site.url("/"), force=False)).outcome == "waiting"
        assert (await b.poller.poll(site.url("/"))).outcome == "waiting"
        assert len(site.asked) == 1
        assert (await b.poller.poll(site.url("/"), unblock=True)).outcome == "fresh"
        assert b.poller.waits() == {}

    bench(test)


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("json", Page(b'{"error": "Unknown version"}', "application/json")),  # situation 17
        ("json", Page(b"<html><body>hello", "text/html")),
        ("index", Page(b"")),  # situation 18
        ("index", Page(LISTING[: LISTING.index(b"app-1.1") + 5])),
        ("index", Page(b"502 Bad gateway: nginx-9.9.9.tar.gz", "text/plain")),  # situation 19
    ],
)
def test_situations_17_to_19_what_is_no_page_is_suspect(site, bench, kind: str, page: Page) -> None:
    good = Page(b'[{"version": "1.0"}]', "application/json") if kind == "json" else Page(LISTING)
    site.put("/", good, page, good)
    url = site.url("/")

    async def test(b: Bench) -> None:
        b.track(url, kind=kind)
        await b.poller.poll_due()
        (suspect,) = await b.go(8 * HOUR)
        assert (suspect.outcome, suspect.body) == ("suspect", b"")
        stored = b.poller.stored(url)
        assert stored is not None
        assert stored.body == good.body
        # The validators are those of the page that was kept.
        assert [one.outcome for one in await b.go(8 * HOUR)] == ["not-modified"]
        assert conditional(site, "/")[2] == (good.tag, "")

    bench(test)


def lose(b: Bench, value: object) -> None:
    with b.database.transaction() as connection:
        connection.execute("UPDATE resources SET body = ?", (value,))


@pytest.mark.parametrize("left", [None, b"damaged"])
def test_situation_21_not_modified_but_the_body_is_lost(site, bench, left: object) -> None:
    site.put("/", LISTING)
    url = site.url("/")

    async def test(b: Bench) -> None:
        b.track(url)
        await b.poller.poll_due()
        lose(b, left)
        b.restart()
        assert b.poller.stored(url) is None
        (result,) = await b.go(60)
        assert (result.outcome, result.body) == ("fresh", LISTING)
        assert [bool(etag) for etag, _ in conditional(site, "/")] == [False, True, False]
        stored = b.poller.stored(url)
        assert stored is not None
        assert stored.body == LISTING

    bench(test)


def test_not_modified_to_a_server_that_was_told_nothing_is_a_failure(site, bench) -> None:
    site.put("/", Page(status=304))

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        assert [one.outcome for one in await b.poller.poll_due()] == ["failed"]
        assert len(site.asked) == 2

    bench(test)


def test_situation_22_validators_are_the_servers_own_words(site, bench) -> None:
    old = "Thu, 01 Jan 1998 00:00:00 GMT"
    site.put("/", Page(LISTING, etag='W/"5f-\\x;,"', last_modified=old))
    site.put("/dated", Page(LISTING, etag="", last_modified="once upon a time"))
    site.put("/neither", Page(LISTING, etag="", last_modified=""))

    async def test(b: Bench) -> None:
        b.track(site.url("/"), site.url("/dated"), site.url("/neither"))
        await b.poller.poll_due()
        b.restart()
        outcomes = {one.url: one.outcome for one in await b.go(8 * HOUR)}
        assert conditional(site, "/")[1] == ('W/"5f-\\x;,"', old)
        assert conditional(site, "/dated")[1] == ("", "once upon a time")
        assert conditional(site, "/neither")[1] == ("", "")
        assert list(outcomes.values()).count("not-modified") == 2
        assert outcomes[site.url("/neither")] == "fresh"

    bench(test)


def test_validators_that_cannot_be_sent_back_are_left_out(site, bench) -> None:
    for path, etag in (("/long", f'"{"x" * 4000}"'), ("/raw", '"\xe9"')):
        site.put(path, Page(LISTING, etag=etag))

    async def test(b: Bench) -> None:
        b.track(site.url("/long"), site.url("/raw"))
        await b.poller.poll_due()
        assert {one.outcome for one in await b.go(8 * HOUR)} == {"fresh"}
        assert conditional(site, "/long")[1] == conditional(site, "/raw")[1] == ("", "")

    bench(test)


def test_a_whole_page_is_asked_for_every_week(site, bench) -> None:
    site.put("/", LISTING)

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        results = await b.go(15 * DAY)
        assert [one.outcome for one in results].count("fresh") == 3
        assert [etag for etag, _ in conditional(site, "/")].count("") == 3

    bench(test)


def test_situation_23_an_edited_match_reads_the_stored_page(site, bench) -> None:
    site.put("/", LISTING)
    url = site.url("/")

    async def test(b: Bench) -> None:
        b.track(url)
        await b.poller.poll_due()
        b.restart()
        stored = b.poller.stored(url)
        assert stored is not None
        match = compile_pattern(r"app-(?P<version>1\.1)\.tar\.gz")
        rules = Rules("app", "index", "1.0", "", match=match)
        found = read_page(stored.body, stored.content_type, stored.final_url, rules)
        assert [one.url for one in found] == [site.url("/app-1.1.tar.gz")]
        assert len(site.asked) == 1

    bench(test)


def test_situation_24_one_busy_page_of_200_stops_the_host(site, other, bench) -> None:
    for n in range(200):
        site.put(f"/{n}", LISTING)
        other.put(f"/{n}", LISTING)
    site.put("/7", Page(status=429, headers={"Retry-After": "3600"}), Page(LISTING))

    async def test(b: Bench) -> None:
        urls = [page.url(f"/{n}") for page in (site, other) for n in range(200)]
        b.track(*urls)
        asked_at_once = await b.go(0)
        waiting = [one for one in asked_at_once if one.outcome == "waiting"]
        assert [one.url for one in waiting] == [site.url("/7")]
        assert waiting[0].until == b.now + 3600
        before = len(site.asked)
        assert before < 200
        assert len(other.asked) == 200, "other hosts do not wait"
        for _ in range(2):
            b.restart()
            await b.go(29 * 60)
            assert len(site.asked) == before, "it survives a restart"
        assert (await b.poller.poll(site.url("/8"), unblock=True)).outcome == "waiting"
        await b.go(3 * 60)
        assert {one.target for one in site.asked} == {f"/{n}" for n in range(200)}

    bench(test)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("3600", 3600),
        ("1", 60),
        ("999999999", DAY),
        ("-5", 60),
        ("soon", 60),
        (formatdate(1_800_007_200, usegmt=True), 7200),
        (formatdate(1_799_990_000, usegmt=True), 60),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_situation_25_retry_after(site, bench, status: int, value: str, wait_s: float) -> None:
    site.put("/", Page(status=status, headers={"Retry-After": value}))

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        (result,) = await b.poller.poll_due()
        assert (result.outcome, result.until - b.now) == ("waiting", wait_s)
        assert b.wait_s() == wait_s

    bench(test)


def test_other_failures_back_off_and_are_asked_once_each(site, bench) -> None:
    site.put("/", Page(status=500))

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        for failures in range(1, 12):
            before = len(site.asked)
            (result,) = await b.poller.poll_due()
            assert result.outcome == "failed"
            assert len(site.asked) == before + 1
            assert 60 <= b.wait_s() <= min(12 * HOUR, 300 * 2 ** (failures - 1))
            b.now += b.wait_s()
        b.restart()
        site.put("/", LISTING)
        await b.go(HOUR)
        assert b.wait_s() > 3 * HOUR

    bench(test)


def test_a_page_is_gone_after_a_day(site, bench) -> None:
    site.put("/", LISTING)

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        await b.poller.poll_due()
        site.remove("/")
        first = await b.go(DAY)
        assert {one.outcome for one in first} == {"failed"}
        b.restart()
        later = await b.go(3 * DAY)
        gone = [one for one in later if one.outcome == "gone"]
        assert 1 <= len(gone) <= 4
        assert "404" in gone[0].reason
        site.put("/", LISTING)
        assert "not-modified" in {one.outcome for one in await b.go(2 * DAY)}

    bench(test)


def test_a_short_absence_is_not_gone(site, bench) -> None:
    site.put("/", *(Page(status=404) for _ in range(3)), Page(LISTING), Page(status=404))

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        results = await b.go(1.2 * DAY)
        assert "gone" not in [one.outcome for one in results]
        assert [one.outcome for one in results].count("fresh") == 1

    bench(test)


def test_hostile_pages_are_bounded_and_the_schedule_is_kept(site, other, bench) -> None:
    links = index_page(*(f"app-1.{n}.tar.gz" for n in range(10_000)), "x" * (1 << 20))
    site.put("/links", links)
    site.put("/bomb", gzip_bomb(200 << 20))
    site.put("/endless", endless())
    site.put("/in", redirect(f"http://169.254.169.254:{site.port}/"))
    site.put("/loop", redirect("/loop"))
    site.put("/raw", say(b"\x00\xff" * 1000))
    site.put("/cut", say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<a"))
    site.put("/good", LISTING)
    paths = ("/links", "/bomb", "/endless", "/in", "/loop", "/raw", "/cut", "/good")
    urls = {path: site.url(path) for path in paths}

    async def test(b: Bench) -> None:
        b.track(*urls.values())
        b.track("http://localhost:1/refused", f"http://[::1]:{site.port}/none")
        results = {one.url: one for one in await b.go(0)}
        outcomes = {path: results[url].outcome for path, url in urls.items()}
        assert outcomes.pop("/links") == outcomes.pop("/good") == "fresh"
        assert set(outcomes.values()) == {"failed"}
        for path in outcomes:
            assert urls[path] in results[urls[path]].reason
        rules = Rules(
            "app", "index", "", "", match=compile_pattern(r"app-(?P<version>.+)\.tar\.gz")
        )
        assert len(read_page(results[urls["/links"]].body, "", urls["/links"], rules)) == 10_000
        assert urls["/good"] in {one.url for one in await b.go(8 * HOUR)}

    bench(test, limits=Fetching(), inside=("127.0.0.1",))


def test_slow_hosts_take_a_slot_and_nothing_else(site, other, bench) -> None:
    site.put("/hang", hang())
    site.put("/drip", drip())
    for n in range(5):
        other.put(f"/{n}", LISTING)

    async def test(b: Bench) -> None:
        b.track(site.url("/hang"), site.url("/drip"), *(other.url(f"/{n}") for n in range(5)))
        outcomes = [one.outcome for one in await b.poller.poll_due()]
        assert outcomes == ["fresh"] * 5 + ["failed"] * 2

    bench(test, page_timeout_s=0.5)


def test_one_connection_and_a_gap_for_each_host(site, other, bench) -> None:
    for n in range(10):
        site.put(f"/{n}", LISTING)
        other.put(f"/{n}", LISTING)

    async def test(b: Bench) -> None:
        b.track(*(page.url(f"/{n}") for page in (site, other) for n in range(10)))
        for n in range(10):
            results = await b.poller.poll_due()
            assert len(results) == 2, "one of each host"
            assert await b.poller.poll_due() == []
            assert b.wait_s() == (2.0 if n < 9 else pytest.approx(6 * HOUR, rel=0.5))
            b.now += 2.0
        assert site.connections == other.connections == 1
        assert site.most_together == 1
        # A person's question waits for the gap, and no longer.
        await b.poller.poll(site.url("/1"))
        await b.poller.poll(site.url("/1"))
        assert b.slept == [2.0]

    bench(test, gap_s=2.0)


def test_after_downtime_the_overdue_are_spread(site, bench) -> None:
    urls = [site.url(f"/{n}") for n in range(100)]
    for n in range(100):
        site.put(f"/{n}", LISTING)

    async def test(b: Bench) -> None:
        b.track(*urls)
        assert len(await b.go(0)) == 100
        b.now += 3 * DAY
        b.restart()
        b.track(urls[0], every_s=7 * HOUR)  # a recipe is edited meanwhile
        assert len(b.poller.due(b.now)) <= 1
        third = len(await b.go(100))
        assert 15 <= third <= 55
        assert len(await b.go(200)) == 100 - third

    bench(test)


def test_intervals_persist_and_follow_the_recipes(site, bench) -> None:
    site.put("/", LISTING)
    url = site.url("/")

    async def test(b: Bench) -> None:
        b.track(url, newest_at=b.now - 30 * DAY)
        await b.poller.poll_due()
        wait_s = b.wait_s()
        assert 0.8 * 0.6 * DAY <= wait_s <= 1.2 * 0.6 * DAY
        b.restart()
        assert b.wait_s() == pytest.approx(wait_s)
        b.track(url, every_s=10.0)
        assert b.wait_s() <= 1.2 * HOUR, "a shorter interval counts at once"
        assert b.wait_s() >= 0, "an hour is the floor for strangers"
        b.specs = {}
        b.poller.set_resources({})
        assert b.poller.next_due() is None
        assert await b.poller.poll_due() == []

    bench(test)


def test_a_page_that_rests_is_asked_less_often(site, bench) -> None:
    site.put("/", LISTING)

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        counts = [len(await b.go(10 * DAY)) for _ in range(6)]
        assert 30 <= counts[0] <= 52
        assert 8 <= counts[-1] <= 13
        site.put("/", LISTING + b"<!-- new -->")
        await b.go(2 * DAY)
        assert 30 <= len(await b.go(10 * DAY)) <= 52

    bench(test)


def test_a_clock_that_was_ten_years_ahead_loses_and_hammers_nothing(site, other, bench) -> None:
    site.put("/", LISTING)
    other.put("/", Page(status=429, headers={"Retry-After": "600"}), LISTING)

    async def test(b: Bench) -> None:
        b.track(site.url("/"), other.url("/"))
        b.now += 3650 * DAY
        assert len(await b.poller.poll_due()) == 2
        b.now -= 3650 * DAY
        assert await b.poller.poll_due() == [], "not at once"
        assert {item.url for item in await b.go(HOUR)} == {site.url("/"), other.url("/")}
        assert len(site.requests("/")) == len(other.requests("/")) == 2

    bench(test, gap_s=2.0)


def test_a_clock_that_goes_back_a_day_hammers_nothing(site, bench) -> None:
    site.put("/", LISTING)

    async def test(b: Bench) -> None:
        b.track(site.url("/"))
        await b.poller.poll_due()
        b.now -= DAY
        assert len(await b.go(1.5 * DAY)) in (1, 2)
        await b.poller.poll(site.url("/"))
        b.now -= DAY
        await b.poller.poll(site.url("/"))
        assert sum(b.slept) <= 2.0, "the gap is no day"

    bench(test, gap_s=2.0)


def test_inside_hosts_may_be_asked_often(site, bench) -> None:
    site.put("/", LISTING)

    async def test(b: Bench) -> None:
        b.track(site.url("/"), every_s=5.0, newest_at=b.now - 900 * DAY)
        assert 8 <= len(await b.go(50)) <= 14

    bench(test, inside=("127.0.0.1",))


def test_redirected_pages_keep_the_place_they_came_from(site, other, bench) -> None:
    site.put("/latest", redirect(other.url("/files/")))
    other.put("/files/", LISTING, Page(status=429, headers={"Retry-After": "600"}))

    async def test(b: Bench) -> None:
        b.track(site.url("/latest"))
        (result,) = await b.poller.poll_due()
        assert result.final_url == other.url("/files/")
        await b.go(8 * HOUR)
        assert list(Polls(b.database).waits()) == [f"127.0.0.2:{other.port}"]

    bench(test)
