"""The watch on archives that recipes are built from: what is asked, fetched, told and held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.errors import FetchError
from tests.support.following import Following, archive, following
from tests.support.upstream_site import Page, UpstreamSite

PATH = "/foo-1.0.tar.gz"
DAY = 24.0


@pytest.fixture
def f(tmp_path: Path) -> Iterator[Following]:
    """foo 1.0, whose page lists nothing newer, and whose archive is in the store."""
    with UpstreamSite() as site, following(tmp_path, site) as made:
        made.blobs.add(archive("foo-1.0.tar.gz"))
        made.add("foo", "1.0")
        made.page("foo-1.0.tar.gz")
        yield made


def test_a_look_a_day_with_the_servers_own_words(f: Following) -> None:
    f.go(5 * DAY)
    looks = f.site.requests(PATH)
    assert {one.method for one in looks} == {"HEAD"}
    assert 4 <= len(looks) <= 6
    assert "if-none-match" not in looks[0].headers
    assert all(one.headers["if-none-match"].startswith('"') for one in looks[1:])
    assert f.kinds() == []


def test_another_size_is_seen_at_the_first_look(f: Following) -> None:
    f.publish("foo-1.0.tar.gz", text="something else, and longer " * 50)
    f.go(2 * DAY)
    assert (f.kinds(), f.moves) == (["rerolled"], [])
    assert f.decision("foo").decision == "held"


def test_other_words_for_the_same_bytes_are_nothing(f: Following) -> None:
    f.go(2 * DAY)
    f.site.put(PATH, Page(archive("foo-1.0.tar.gz"), etag='"another server"'))
    f.go(3 * DAY)
    assert (f.gets(PATH), f.kinds()) == (1, [])


def test_gone_is_told_once_and_back_is_seen(f: Following) -> None:
    f.go(2 * DAY)
    f.site.remove(PATH)
    f.go(3 * DAY)
    assert f.kinds() == ["archive-gone"]
    assert "404" in f.decision("foo").note
    assert f.decision("foo").decision == "up-to-date"
    f.publish("foo-1.0.tar.gz")
    f.go(2 * DAY)
    assert (f.kinds(), f.decision("foo").note) == (["archive-gone"], "")


@pytest.mark.parametrize("status", [405, 403, 500, 503])
def test_a_server_that_answers_no_head_is_asked_once_a_day(f: Following, status: int) -> None:
    f.site.put(PATH, Page(status=status))
    f.go(5 * DAY)
    assert len(f.site.requests(PATH)) <= 6
    assert f.kinds() == []


def test_the_old_bytes_again_end_the_hold(f: Following) -> None:
    f.go(2 * DAY)
    f.publish("foo-1.0.tar.gz", text="other\n")
    f.go(2 * DAY)
    assert f.decision("foo").decision == "held"
    f.publish("foo-1.0.tar.gz")
    f.go(2 * DAY)
    assert f.decision("foo").decision == "up-to-date"
    assert (f.kinds(), f.moves) == (["rerolled"], [])


def test_approval_takes_the_bytes_that_were_held_and_no_others(f: Following) -> None:
    f.go(2 * DAY)
    f.publish("foo-1.0.tar.gz", text="other\n")
    f.go(2 * DAY)
    f.publish("foo-1.0.tar.gz", text="yet another\n")
    with pytest.raises(FetchError, match="expected sha256"):
        f.approve("foo", "1.0")
    assert f.moves == []
    f.publish("foo-1.0.tar.gz", text="other\n")
    f.approve("foo", "1.0")
    assert f.moves == [("foo", "1.0")]
    assert f.blobs.has(f.releases.locks()["foo"].sha256)


def test_what_the_recipe_disproves_cannot_be_approved_so(f: Following) -> None:
    f.edit("foo", "{ unsigned = true }", f'{{ sha256 = "{f.site.url("/sums")}" }}')
    f.site.put("/sums", b"0" * 64 + b"  foo-1.0.tar.gz\n")
    f.go(2 * DAY)
    f.publish("foo-1.0.tar.gz", text="other\n")
    f.go(2 * DAY)
    assert f.decision("foo").decision == "suspect"
    assert f.kinds() == ["rerolled"]


def test_a_newer_release_ends_the_hold(f: Following) -> None:
    f.go(2 * DAY)
    f.publish("foo-1.0.tar.gz", text="other\n")
    f.go(2 * DAY)
    f.page("foo-1.0.tar.gz", "foo-1.1.tar.gz")
    f.go(2 * DAY)
    assert f.at("foo") == "1.1"
    assert f.decision("foo").decision == "up-to-date"
