"""Which pages are believed, and that the others change nothing."""

from __future__ import annotations

from minid.upstream.candidate import approve
from tests.support.upstream import Upstream, make_rules, version_of

MANY = [f"1.{number}" for number in range(300)]


def test_situation_17_an_error_in_place_of_the_releases() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1")
    before = upstream.memory
    looked = upstream.no_page("page: expected releases, got an error")
    assert looked.candidate is None
    assert looked.note == "suspect: page: expected releases, got an error"
    assert upstream.memory.candidate == before.candidate
    assert upstream.memory.seen == before.seen


def test_situation_18_a_page_without_versions() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1")
    looked = upstream.page("")
    assert (looked.candidate, looked.believed) == (None, False)
    assert looked.note == "suspect: it lists no version"
    assert upstream.candidate.version == "1.1"
    assert upstream.kinds == ["release"]  # and nothing is withdrawn


def test_situation_18_the_third_page_in_a_row_is_an_alert() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0")
    for _ in range(5):
        upstream.page("")
    assert upstream.kinds == ["suspect"]
    assert "3 times in a row: it lists no version" in upstream.texts[0]
    assert upstream.memory.suspects == 5
    assert upstream.page("1.0").note == ""
    assert upstream.kinds == ["suspect", "believed"]
    for _ in range(2):
        upstream.page("")
    upstream.page("1.0")
    upstream.page("")
    assert upstream.kinds == ["suspect", "believed"]
    upstream.page("")
    upstream.page("")
    upstream.page("1.0")
    assert upstream.kinds == ["suspect", "believed"] * 2


def test_a_page_is_suspect_since_its_first_look() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0")
    upstream.wait(1)
    first = upstream.now
    for _ in range(2):
        upstream.page("")
        assert upstream.memory.suspect_since == first
        upstream.wait(1)
    upstream.page("1.0")
    assert (upstream.memory.suspect_since, upstream.memory.suspect_reason) == (0.0, "")


def test_situation_19_a_message_with_a_version_in_it() -> None:
    rules = make_rules(r"nginx-(?P<version>\d+\.\d+\.\d+)\.tar\.gz")
    upstream = Upstream("1.26.3", rules)
    upstream.links(["nginx-1.26.2.tar.gz", "nginx-1.26.3.tar.gz"])
    assert not upstream.links(["502 Bad gateway while reading nginx-9.9.9.tar.gz"]).believed
    looked = upstream.links(["nginx-9.9.9.tar.gz"])
    assert (looked.candidate, looked.believed) == (None, False)
    assert looked.note == "suspect: it lists neither 1.26.3 nor any version seen before"
    first = Upstream("1.26.3", rules).links(["nginx-9.9.9.tar.gz"])
    assert first.candidate is None
    assert first.note.startswith("held: 9.9.9 needs approval")


def test_situation_20_a_page_that_shrinks_is_suspect_for_a_day() -> None:
    upstream = Upstream("1.299")
    upstream.page(MANY)
    for _ in range(4):
        looked = upstream.page("1.298 1.299 1.300")
        assert (looked.candidate, looked.believed) == (None, False)
        assert looked.note == "suspect: it listed 300 versions, now 3"
        upstream.wait(6)
    assert version_of(upstream.page("1.298 1.299 1.300")) == "1.300"
    assert upstream.memory.matches == 3
    assert upstream.kinds == ["suspect", "believed", "release"]


def test_situation_20_a_day_is_one_without_a_whole_page() -> None:
    upstream = Upstream("1.299")
    upstream.page(MANY)
    upstream.page("1.299 1.300")
    upstream.wait(23)
    upstream.page(MANY)
    upstream.wait(2)
    assert upstream.page("1.299 1.300").candidate is None


def test_half_of_a_page_is_enough() -> None:
    upstream = Upstream("1.299")
    upstream.page(MANY)
    assert version_of(upstream.page([*MANY[150:], "1.300"])) == "1.300"


def test_a_page_that_names_the_newest_release_alone() -> None:
    upstream = Upstream("1.0")
    assert upstream.page("1.0").note == ""
    assert version_of(upstream.page("1.1")) == "1.1"
    assert version_of(upstream.page("1.2")) == "1.2"
    assert version_of(Upstream("1.0").page("1.1")) == "1.1"


def test_a_first_page_need_not_list_the_current_version() -> None:
    assert version_of(Upstream("1.22.1").page("1.26.2 1.26.3")) == "1.26.3"


def test_an_approved_version_makes_a_page_known() -> None:
    upstream = Upstream("1.0")
    upstream.page("0.9 1.0")
    assert not upstream.page("2.0 2.1").believed
    upstream.take(approve(upstream.memory, "2.1"))
    assert version_of(upstream.page("2.0 2.1")) == "2.1"


def test_a_changed_pattern_is_judged_anew() -> None:
    upstream = Upstream("1.299")
    upstream.page(MANY)
    assert not upstream.page("1.300").believed
    upstream.rules = make_rules(basis="another page")
    assert version_of(upstream.page("1.300")) == "1.300"
