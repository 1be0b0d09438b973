"""The tracker: one question for many readers, hosts that are left alone by all, kills, words."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from minid.errors import StoreError, UsageError
from minid.recipe_lock import Lock
from minid.upstream.memory import load_memory
from tests.support.following import UNSIGNED, Following, archive, following
from tests.support.upstream_site import Asked, Page, SiteHandler, UpstreamSite, index_page, redirect

pytestmark = pytest.mark.integration

BUSY = Page(status=429, headers={"Retry-After": "3600"})
LONG = 30.0


@pytest.fixture
def site() -> Iterator[UpstreamSite]:
    with UpstreamSite() as running:
        yield running


@pytest.fixture
def f(tmp_path: Path, site: UpstreamSite) -> Iterator[Following]:
    with following(tmp_path, site) as made:
        yield made


def listed(f: Following, *versions: str) -> None:
    f.page(*(f"foo-{version}.tar.gz" for version in versions))


def test_forty_recipes_on_a_page_are_one_request(f: Following) -> None:
    for number in range(40):
        match = rf"p{number:02}-(?P<version>\d.*)\.tar\.gz"
        f.add(f"p{number:02}", "1.0", match=match)
    names = [f"p{number:02}-{version}.tar.gz" for number in range(40) for version in ("1.0", "1.1")]
    f.page(*names)
    f.go(1)
    assert f.gets("/") == 1
    f.go(LONG)
    assert {f.at(name) for name in f.files} == {"1.1"}
    assert f.gets("/") <= 6
    assert sum(f.gets(f"/{name}") for name in names) == 80, "each new archive twice"


# A host that asks to be left alone.


def hosts(f: Following) -> dict[str, float]:
    return {name: wait.until - f.now for name, wait in f.poller.waits().items()}


@pytest.mark.parametrize("path", ["/foo-1.1.tar.gz", "/sums"])
def test_what_is_asked_for_a_candidate_is_heeded(f: Following, path: str) -> None:
    sums = f'verify = {{ sha256 = "{f.site.url("/sums")}" }}'
    f.add("foo", "1.0", "settle = 0", verify=sums)
    f.add("other", "1.0", match=r"foo-(?P<version>\d.*)\.tar\.gz", url=f.site.url("/other"))
    listed(f, "1.0", "1.1")
    f.site.put("/other", index_page("foo-1.0.tar.gz"))
    f.site.put(path, BUSY)
    f.go(0.01)
    asked = len(f.site.asked)
    assert list(hosts(f)) == [f"127.0.0.1:{f.site.port}"]
    assert f.decision("foo").decision == "settling"
    assert "asked to be left alone" in f.decision("foo").note
    f.restart()
    f.go(0.9)
    assert len(f.site.asked) == asked, "also of pages, and after a restart"
    assert "unavailable" not in f.kinds()
    listed(f, "1.0", "1.1")
    digest = hashlib.sha256(archive("foo-1.1.tar.gz")).hexdigest()
    f.site.put("/sums", f"{digest}  foo-1.1.tar.gz\n".encode())
    f.go(8)
    assert f.at("foo") == "1.1"


def test_a_busy_host_behind_a_redirect_is_the_one_left_alone(f: Following) -> None:
    with UpstreamSite("127.0.0.2") as store:
        f.add("foo", "1.0")
        listed(f, "1.0", "1.1")
        f.site.put("/foo-1.1.tar.gz", redirect(store.url("/foo-1.1.tar.gz")))
        store.put("/foo-1.1.tar.gz", BUSY)
        f.go(0.9)
        assert list(hosts(f)) == [f"127.0.0.2:{store.port}"]
        assert len(store.asked) == 1


def test_a_busy_answer_to_a_look_after_an_old_archive(f: Following) -> None:
    f.add("foo", "1.0")
    listed(f, "1.0")
    f.go(1)
    f.site.put("/foo-1.0.tar.gz", BUSY)
    while not f.site.requests("/foo-1.0.tar.gz"):
        f.go(0.5)
    assert list(hosts(f)) == [f"127.0.0.1:{f.site.port}"]
    f.go(24 * 3)
    assert len(f.site.requests("/foo-1.0.tar.gz")) <= 4
    assert f.kinds() == []


def test_pages_that_are_busy_hold_archives_back(f: Following) -> None:
    f.add("foo", "1.0", "settle = 0")
    listed(f, "1.0", "1.1")
    f.add("bar", "1.0", match=r"foo-(?P<version>\d.*)\.tar\.gz", url=f.site.url("/bar"))
    f.site.put("/bar", BUSY)
    f.run(f.tracker._poller.poll_due())  # both pages, in some order, and nobody judged them
    assert hosts(f)
    asked = len(f.site.asked)
    f.go(0.99)
    assert len(f.site.asked) == asked


def test_a_gap_is_kept_by_all_that_is_asked_of_a_host(tmp_path: Path, site: UpstreamSite) -> None:
    times: list[float] = []
    with following(tmp_path, site, gap_s=2.0) as f:
        note = site.note

        def timed(asked: object) -> object:
            times.append(f.now)
            return note(asked)  # type: ignore[arg-type]

        site.note = timed  # type: ignore[assignment, method-assign]
        for name in ("a", "b", "c"):
            f.add(name, "1.0")
        f.page(*(f"{name}-{version}.tar.gz" for name in "abc" for version in ("1.0", "1.1")))
        f.go(24 * 3)
        assert {f.at(name) for name in "abc"} == {"1.1"}
    assert {one.method for one in site.asked} == {"GET", "HEAD"}
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= 2.0


# Kills.


class Killed(BaseException):
    """Not to be caught by anybody."""


@pytest.mark.parametrize("settle", ["settle = 0", ""])
def test_a_release_is_not_lost_at_whatever_write_minid_is_killed(
    tmp_path: Path, site: UpstreamSite, settle: str
) -> None:
    """Killed at the first write, then the second, and so on, until it got through."""
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        with following(folder, site) as f:
            f.add("foo", "1.0", settle)
            listed(f, "1.0", "1.1")
            survived = not killed_at(f, number)
            if survived:
                break
            f.restart()
            f.go(LONG)
            assert f.at("foo") == "1.1", f"lost at write {number}"
            assert f.moves[-1:] == [("foo", "1.1")]
            assert f.blobs.has(f.releases.locks()["foo"].sha256)
    assert number > 4


def killed_at(f: Following, number: int) -> bool:
    """Whether there were so many writes; those before them are on disk, as after a kill."""
    real = f.database._connection
    dying = Dying(f, number)
    f.database._connection = dying  # type: ignore[assignment]
    with suppress(Killed):
        f.go(LONG)
    f.database._connection = real
    if real.in_transaction:
        real.execute("ROLLBACK")
    return f.killed


class Dying:
    """A connection that does nothing any more after so many statements that write."""

    def __init__(self, f: Following, left: int) -> None:
        self._f, self._real, self._left = f, f.database._connection, left

    def execute(self, sql: str, *values: object) -> object:
        return self._do(self._real.execute, sql, *values)

    def executemany(self, sql: str, *values: object) -> object:
        return self._do(self._real.executemany, sql, *values)

    def _do(self, work: Callable[..., object], sql: str, *values: object) -> object:
        if sql.startswith(("INSERT", "UPDATE", "DELETE", "COMMIT")):
            self._left -= 1
        if self._left < 0:
            self._f.killed = True
            raise Killed
        return work(sql, *values)

    @property
    def in_transaction(self) -> bool:
        return not self._f.killed and self._real.in_transaction


def test_a_move_that_fails_leaves_nothing_accepted(f: Following) -> None:
    f.add("foo", "1.0", "settle = 0")
    listed(f, "1.0", "1.1")
    moved, failing = f.moved, [True]

    def on_move(name: str, lock: Lock | None) -> None:
        if failing[0]:
            raise StoreError("the disk is full")
        moved(name, lock)

    f.tracker._ledger._on_move = on_move
    f.go(1)
    row = f.releases.track("foo")
    assert row is not None
    candidate = load_memory(row.memory).candidate
    assert candidate is not None
    assert (candidate.state, candidate.reason) == ("settling", "the disk is full")
    assert "accepted" not in f.kinds() or f.at("foo") == "1.0"
    assert f.gets("/foo-1.1.tar.gz") <= 8, "it is not tried again and again"
    failing[0] = False
    f.go(8)
    assert f.at("foo") == "1.1"


# Templates, and what persons say.


def test_a_template_stays_exact_after_a_move(f: Following) -> None:
    """The folder is named after major and minor, which no guess from an older URL would hold."""
    f.add("foo", "1.9.0", "from = \"text\"\nmatch = 'v(?P<version>.*)'", file="foo-1.9.0.tar.gz")
    f.edit("foo", "/foo-1.9.0.tar.gz", "/r{major}/{minor}x/foo-{version}.tar.gz")
    for version, folder in (("1.9.0", "r1/9x"), ("1.10.0", "r1/10x"), ("2.0.0", "r2/0x")):
        name = f"foo-{version}.tar.gz"
        f.site.put(f"/{folder}/{name}", Page(archive(name)))
        f.site.put("/", Page(f"v{version}\n".encode(), "text/plain"))
        f.go(LONG)
        assert f.at("foo") == version
        f.restart()
    assert f.releases.locks()["foo"].url == f.site.url("/r2/0x/foo-2.0.0.tar.gz")


def test_a_rejected_release_gives_way_to_the_one_before(f: Following) -> None:
    f.add("foo", "1.0", "settle = 0")
    listed(f, "1.0", "1.1")
    f.go(8)
    listed(f, "1.0", "1.1", "1.2")
    f.go(8)
    assert f.at("foo") == "1.2"
    assert f.tracker.reject("foo", "1.2").current == "1.1"
    assert f.moves == [("foo", "1.1"), ("foo", "1.2"), ("foo", "1.1")]
    f.go(48)
    assert f.at("foo") == "1.1"
    assert f.tracker.reject("foo", "1.1").current == "1.0"
    f.go(48)
    assert (f.at("foo"), f.releases.locks()) == ("1.0", {})
    listed(f, "1.0", "1.1", "1.2", "1.3")
    f.go(8)
    assert f.at("foo") == "1.3"


def test_a_pin_is_kept_and_given_up(f: Following) -> None:
    f.add("foo", "1.0", "settle = 0")
    listed(f, "1.0", "1.1", "1.2")
    f.go(8)
    lock, verdict = f.run(f.tracker.find_release("foo", "1.1"))
    assert (lock.version, lock.pinned, verdict.status) == ("1.1", True, "good")
    f.moved("foo", lock)
    f.tracker.set_pinned("foo")
    f.restart()
    listed(f, "1.0", "1.1", "1.2", "1.3")
    f.go(48)
    assert (f.at("foo"), f.decision("foo").decision) == ("1.1", "pinned")
    f.tracker.follow("foo")
    assert f.at("foo") == "1.0"
    f.go(8)
    assert f.at("foo") == "1.3"


def test_approval_needs_a_listed_version(f: Following) -> None:
    f.add("foo", "1.0")
    listed(f, "1.0", "1.1")
    f.go(1)
    with pytest.raises(UsageError, match=r"page lists, got '9\.9'"):
        f.approve("foo", "9.9")
    with pytest.raises(UsageError, match=r"got 1\.0"):
        f.approve("foo", "1.0")
    with pytest.raises(UsageError, match="expected a recipe, got 'bar'"):
        f.approve("bar", "1.0")
    f.go(LONG)
    assert f.at("foo") == "1.1"


def test_a_recipe_that_changes_while_its_archive_comes(f: Following) -> None:
    """What the old rules would have taken is not taken by the new ones."""
    f.add("foo", "1.0", "settle = 0")
    listed(f, "1.0", "1.1")
    given = Page(archive("foo-1.1.tar.gz"))

    def change(handler: SiteHandler, asked: Asked) -> None:
        f.site.put("/foo-1.1.tar.gz", given)
        words = (UNSIGNED, f'{UNSIGNED}\nreject = ["1.1"]')
        loop.call_soon_threadsafe(f.edit, "foo", *words)
        while f.files["foo"] is before:
            time.sleep(0.005)
        handler.send_page(asked, given)

    loop, before = f.loop, f.files["foo"]
    f.site.put("/foo-1.1.tar.gz", change)
    f.go(48)
    assert (f.at("foo"), f.moves) == ("1.0", [])
    assert f.decision("foo").reasons == (("1.1", "rejected by the recipe"),)


def test_check_says_why_again_after_a_restart(f: Following) -> None:
    f.add("foo", "1.0", 'series = "1.0"')
    listed(f, "1.0", "1.1")
    f.go(1)
    f.restart()
    assert f.check("foo").reasons == (("1.1", "not in series 1.0"),)
