"""Judging what pages list: the situations of upstreams, by their numbers, and what else can be."""

from __future__ import annotations

from dataclasses import replace

from minid.formats.pattern import compile_pattern
from minid.upstream.candidate import approve, look_due, note_look, note_verdict, reject
from minid.upstream.judge import judge
from minid.upstream.values import Found, Verdict
from tests.support.upstream import SITE, Upstream, make_rules, reasons, version_of

EVEN = make_rules(parity="even")
ODD = make_rules(parity="odd")
SERIES = make_rules(series="1.2", basis="1.2")


def test_situation_01_an_index_in_the_order_of_bytes() -> None:
    assert version_of(Upstream("0.1.0").page("0.1.0 0.1.1 0.1.11 0.1.2")) == "0.1.11"


def test_situation_02_numbers_are_compared_as_numbers() -> None:
    upstream = Upstream("8.8.1")
    assert version_of(upstream.page("8.8.1 8.10.0 8.8.0")) == "8.10.0"
    assert upstream.kinds == ["release"]
    assert upstream.candidate.url == f"{SITE}/foo-8.10.0.tar.gz"
    assert upstream.candidate.seen == upstream.candidate.listed == upstream.now


def test_situation_03_a_release_candidate_and_then_the_release() -> None:
    upstream = Upstream("8.8.1")
    looked = upstream.page("8.8.1 8.10-rc1")
    assert version_of(looked) == ""
    assert reasons(looked) == {"8.10-rc1": "a pre-release"}
    assert looked.note == ""
    assert version_of(upstream.page("8.8.1 8.10-rc1 8.10.0")) == "8.10.0"
    assert version_of(Upstream("8.8.1", make_rules(pre=True)).page("8.8.1 8.10-rc1")) == "8.10-rc1"


def test_situation_04_a_signature_without_its_archive() -> None:
    upstream = Upstream("1.28.0", make_rules(r"nginx-(?P<version>\d+\.\d+\.\d+)\.tar\.gz"))
    looked = upstream.links(["nginx-1.28.0.tar.gz", "nginx-1.30.0.tar.gz.asc"])
    assert (version_of(looked), looked.dropped, looked.believed) == ("", (), True)


def test_situation_05_parity() -> None:
    assert version_of(Upstream("1.28.0", EVEN).page("1.28.0 1.30.0 1.31.3")) == "1.30.0"
    looked = Upstream("1.29.7", ODD).page("1.29.7 1.29.8 1.30.0")
    assert version_of(looked) == "1.29.8"
    assert reasons(looked) == {"1.30.0": "component 2 is not odd"}


def test_situation_06_a_series_is_no_prefix_of_text() -> None:
    upstream = Upstream("1.2.8", SERIES)
    looked = upstream.page("1.2.8 1.2.9 1.20.1")
    assert version_of(looked) == "1.2.9"
    assert reasons(looked) == {"1.20.1": "not in series 1.2"}


def test_situation_07_a_series_that_ended_is_told_once() -> None:
    upstream = Upstream("1.2.9", SERIES)
    for versions in ("1.2.9 1.3.0", "1.2.9 1.3.0", "1.2.9 1.3.0 1.4.0"):
        assert version_of(upstream.page(versions)) == ""
    assert upstream.kinds == ["series-superseded"]
    assert "1.3.0 is out" in upstream.texts[0]
    upstream.rules = make_rules(series="1.3", basis="1.3")
    assert version_of(upstream.page("1.2.9 1.3.0 1.4.0")) == "1.3.0"
    assert upstream.kinds == ["series-superseded", "release", "series-superseded"]


def test_situation_07_a_mistaken_tag_supersedes_no_series() -> None:
    upstream = Upstream("1.2.9", SERIES)
    upstream.page("1.2.9 20160708")
    upstream.page("1.2.9 1.5-rc1")
    assert upstream.kinds == []


def test_situation_08_another_archive_of_the_same_version() -> None:
    upstream = Upstream("8.4.9", make_rules(r"mysql-(?P<version>\d+(\.\d+)+)\.tar\.gz"))
    looked = upstream.links(["mysql-boost-8.4.10.tar.gz", "mysql-8.4.10.tar.gz"])
    assert version_of(looked) == "8.4.10"
    assert upstream.candidate.url == f"{SITE}/mysql-8.4.10.tar.gz"


def test_situation_09_several_archives_of_one_version() -> None:
    rules = make_rules(r"foo-(?P<version>\d[\d.]*)\.(tar\.(gz|xz|bz2)|tgz|exe)")
    upstream = Upstream("1.0", rules)
    names = ["foo-1.1.tar.bz2", "foo-1.1.tar.xz", "foo-1.1.tar.gz", "foo-1.0.tar.gz"]
    assert version_of(upstream.links(names)) == "1.1"
    assert upstream.candidate.url == f"{SITE}/foo-1.1.tar.gz"
    upstream.links(["foo-1.0.tar.gz", "foo-1.1.tgz", "foo-1.1.tar.xz"])
    assert upstream.candidate.url == f"{SITE}/foo-1.1.tgz"
    assert upstream.kinds == ["release"]


def test_situation_09_an_archive_of_another_kind_alone_is_an_alert() -> None:
    upstream = Upstream("1.0", make_rules(r"foo-(?P<version>\d[\d.]*)\.(tar\.(gz|xz)|exe)"))
    names = ["foo-1.2.tar.xz", "foo-1.2.exe", "foo-1.1.tar.gz", "foo-1.0.tar.gz"]
    looked = upstream.links(names)
    assert version_of(looked) == "1.1"
    assert reasons(looked)["1.2"].startswith("there is no .tar.gz of it, only .tar.xz, http")
    upstream.links(names)
    assert upstream.kinds == ["release", "extension-missing"]


def test_situation_09_a_template_and_pages_without_names_ask_for_no_extension() -> None:
    rules = replace(make_rules(), extension="", artifact=f"{SITE}/{{major}}/foo-{{version}}.zip")
    assert version_of(Upstream("1.0", rules).page("1.0 1.1")) == "1.1"
    upstream = Upstream("1.0", rules)
    upstream.page("1.0 1.1")
    assert upstream.candidate.url == f"{SITE}/1/foo-1.1.zip"


def test_situation_10_another_program_on_the_page() -> None:
    upstream = Upstream("1.0", make_rules(r"foo-(?P<version>\d+(\.\d+)*)\.tar\.gz"))
    looked = upstream.links(["foo-extra-9.0.tar.gz", "foo-1.0.tar.gz"])
    assert (version_of(looked), looked.dropped) == ("", ())


def test_situation_11_a_date_among_versions() -> None:
    upstream = Upstream("1.9.0")
    looked = upstream.page("1.9.0 20150213.1 1.10.0")
    assert version_of(looked) == "1.10.0"
    assert "looks like a date" in reasons(looked)["20150213.1"]
    assert upstream.kinds == ["release", "held"]


def test_situation_12_approval_or_rejection_of_another_numbering() -> None:
    upstream = Upstream("6.26")
    looked = upstream.page("6.26 21.03.21")
    assert (version_of(looked), looked.newest) == ("", "6.26")
    assert looked.note.startswith("held: 21.03.21 needs approval: looks like a date")
    assert upstream.memory.held[0][0] == "21.03.21"
    upstream.page("6.26 21.03.21")
    assert upstream.kinds == ["held"]
    upstream.take(reject(upstream.memory, "21.03.21"))
    looked = upstream.page("6.26 21.03.21 6.28")
    assert version_of(looked) == "6.28"
    assert reasons(looked) == {"21.03.21": "rejected by a person"}
    assert upstream.kinds == ["held", "rejected", "release"]


def test_situation_12_what_was_approved_flows() -> None:
    upstream = Upstream("6.26")
    upstream.page("6.26 21.03.21")
    assert upstream.take(approve(upstream.memory, "21.03.21")) == "judge"
    assert version_of(upstream.page("6.26 21.03.21")) == "21.03.21"
    assert upstream.memory.held == ()


def test_situation_13_a_leading_zero_hides_no_release() -> None:
    looked = Upstream("1.3.12").page("1.04 1.3.12 1.3.13")
    assert version_of(looked) == "1.3.13"
    assert "leading zero" in reasons(looked)["1.04"]


def test_situation_14_letters_and_equal_versions() -> None:
    assert version_of(Upstream("1.1.1").page("1.1.1 1.1.1w")) == "1.1.1w"
    assert version_of(Upstream("9.9p1").page("9.9p1 9.9p2")) == "9.9p2"
    assert version_of(Upstream("1.9.16").page("1.9.16 1.9.16p1")) == "1.9.16p1"
    looked = Upstream("1.0").page("1.0 1.0.0")
    assert (version_of(looked), looked.dropped) == ("", ())


def test_situation_15_an_edge_that_answers_with_the_past() -> None:
    upstream = Upstream("8.5.10")
    upstream.page("8.5.10 8.5.9 8.5.8")
    for _ in range(2):
        looked = upstream.page("8.5.9 8.5.8")
        assert (looked.candidate, looked.believed, looked.newest) == (None, False, "8.5.10")
        assert looked.note == "suspect: it lists 8.5.9 at most, and 8.5.10 was there before"
    looked = upstream.page("8.5.10 8.5.9 8.5.8")
    assert (looked.believed, looked.note) == (True, "")
    assert upstream.kinds == ["stale-source"]
    upstream.page("8.5.9 8.5.8")
    assert upstream.kinds == ["stale-source", "stale-source"]


def test_situation_15_what_does_not_count_makes_no_page_new() -> None:
    upstream = Upstream("1.3")
    upstream.page("1.1 1.2 1.3")
    upstream.take(reject(upstream.memory, "1.4"))
    for newer in ("20160708", "1.4", "9.0", "1.5-rc1"):
        assert upstream.page(f"1.1 1.2 {newer}").note.startswith("suspect: it lists 1.2 at most")


def test_situation_26_a_release_that_is_taken_back() -> None:
    upstream = Upstream("1.0")
    assert version_of(upstream.page("1.0 1.1")) == "1.1"
    upstream.wait(0.25)
    assert version_of(upstream.page("1.0 0.9")) == ""
    assert upstream.memory.candidate is None
    assert upstream.kinds == ["release", "withdrawn"]


def test_situation_26_a_mistaken_release_does_not_hide_the_next() -> None:
    upstream = Upstream("1.0", make_rules(max_jump=100))
    assert version_of(upstream.page("1.0 99.0")) == "99.0"
    assert version_of(upstream.page("1.0 1.1")) == "1.1"
    assert upstream.kinds == ["release", "withdrawn", "release"]
    assert version_of(upstream.page("1.0 1.1 1.2")) == "1.2"
    assert upstream.kinds[3:] == ["release"]


def accept(upstream: Upstream, version: str) -> None:
    upstream.rules = replace(upstream.rules, settle_s=0.0)
    step = note_look(upstream.memory, upstream.rules, version, version, {}, upstream.now)
    assert upstream.take(step) == "verify"
    good = Verdict("good", "the list states the digest")
    step = note_verdict(upstream.memory, upstream.rules, version, version, good, upstream.now)
    assert upstream.take(step) == "accept"


def test_what_was_accepted_is_the_high_water_mark() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1 1.2")
    accept(upstream, "1.2")
    looked = upstream.page("1.0 1.1 1.2")  # its build failed
    assert looked.candidate is not None
    assert (looked.candidate.version, looked.candidate.state) == ("1.2", "accepted")
    assert reasons(looked) == {
        "1.2": "not above 1.2, which was accepted before",
        "1.1": "not above 1.2, which was accepted before",
    }
    assert version_of(upstream.page("1.0 1.1")) == ""
    assert upstream.kinds[-1] == "stale-source"
    looked = upstream.page("1.0 1.1 1.2 1.3")
    assert version_of(looked) == "1.3"


def test_nothing_goes_down_after_a_person_did() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1")
    accept(upstream, "1.1")
    upstream.current = "1.1"
    assert upstream.page("1.0 1.1").candidate is None
    upstream.current = "1.0"
    looked = upstream.page("1.0 1.1")
    assert version_of(looked) == ""
    assert reasons(looked) == {"1.1": "not above 1.1, which was accepted before"}
    upstream.take(approve(upstream.memory, "1.1"))
    assert version_of(upstream.page("1.0 1.1")) == "1.1"


def test_other_filters_start_from_the_current_version() -> None:
    upstream = Upstream("2.0")
    upstream.page("1.0 2.0")
    upstream.current, upstream.rules = "1.0", make_rules(series="1", basis="other")
    assert version_of(upstream.page("1.0 1.1 2.0")) == "1.1"


def test_a_current_version_outside_the_filters_makes_no_page_stale() -> None:
    upstream = Upstream("2.0", SERIES)
    assert upstream.page("1.2.1 1.2.2 2.0").believed
    assert upstream.kinds == []


def test_a_rejected_release_that_was_accepted_gives_way() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1 1.2")
    accept(upstream, "1.2")
    upstream.take(reject(upstream.memory, "1.2"))
    assert version_of(upstream.page("1.0 1.1 1.2")) == "1.1"


def test_the_recipe_rejects_versions_and_patterns() -> None:
    patterns = (compile_pattern(r"2\..*"),)
    rules = make_rules(rejects=frozenset({"1.1.0"}), reject_patterns=patterns)
    looked = Upstream("1.0", rules).page("1.0 1.1.0 1.0.5 2.1")
    assert version_of(looked) == "1.0.5"
    assert reasons(looked) == {
        "2.1": r"rejected by the recipe: 2\..*",
        "1.1.0": "rejected by the recipe",
    }


def test_a_candidate_that_the_recipe_rejects_is_not_withdrawn() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1")
    upstream.rules = make_rules(rejects=frozenset({"1.1"}))
    assert upstream.page("1.0 1.1").candidate is None
    assert upstream.memory.candidate is None
    assert upstream.kinds == ["release"]


def test_jumps_need_approval() -> None:
    upstream = Upstream("1.0")
    assert version_of(upstream.page("1.0 2.0 3.0")) == "2.0"
    assert "needs approval: its first number goes up by 2" in upstream.texts[1] + upstream.texts[0]
    assert version_of(Upstream("1.0", make_rules(max_jump=2)).page("1.0 2.0 3.0")) == "3.0"
    assert version_of(Upstream("1.0", make_rules(max_jump=0)).page("1.0 1.1 2.0")) == "1.1"


def test_many_dates_are_one_event_and_no_flood() -> None:
    upstream = Upstream("1.9.0")
    tags = ["1.9.0", *(f"2015{month:02}{day:02}" for month in range(1, 13) for day in range(1, 29))]
    upstream.page(tags)
    upstream.page(tags)
    assert upstream.kinds == ["held"]
    assert "20151228 needs approval: looks like a date" in upstream.texts[0]
    assert "and 19 more" in upstream.texts[0]


def test_numbers_that_could_be_a_date_and_go_on_are_none() -> None:
    looked = Upstream("10.11.9").page("10.11.9 10.11.10")
    assert (version_of(looked), looked.dropped) == ("10.11.10", ())


def test_thousands_of_versions_and_links_make_no_long_answer() -> None:
    upstream = Upstream("1.0", make_rules(r"(\d+/)?foo-(?P<version>\d[\d.]*\d)(\.tar\.gz)?"))
    names = [f"{folder}/foo-1.2" for folder in range(1000)]
    looked = upstream.links(
        ["foo-1.0.tar.gz", *names, *(f"foo-1.1.{n}.tar.gz" for n in range(999))]
    )
    assert len(looked.dropped) == 100
    assert len(reasons(looked)["1.2"]) < 200
    assert version_of(looked) == "1.1.998"


def test_a_clock_that_was_years_ahead_puts_no_candidate_off_for_years() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1")
    upstream.wait(10 * 365 * 24)
    upstream.page("1.0 1.1")
    upstream.take(note_look(upstream.memory, upstream.rules, "1.1", "d1", {}, upstream.now))
    upstream.wait(-10 * 365 * 24)
    upstream.page("1.0 1.1")
    due = look_due(upstream.memory, upstream.rules)
    assert due == upstream.now + upstream.rules.settle_s
    assert upstream.candidate.digest == "d1"


def test_a_clock_that_was_years_ahead_makes_no_page_suspect_for_years() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1 1.2 1.3 1.4")
    upstream.wait(10 * 365 * 24)
    assert not upstream.page("1.0").believed
    upstream.wait(-10 * 365 * 24)
    assert not upstream.page("1.0").believed
    upstream.wait(24)
    assert upstream.page("1.0").believed


def test_a_newer_release_takes_the_place_of_a_candidate() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1")
    upstream.wait(1)
    looked = upstream.page("1.2")
    assert version_of(looked) == ""  # neither 1.0 nor 1.1 is there
    assert version_of(upstream.page("1.1 1.2")) == "1.2"
    assert upstream.candidate.seen == upstream.now
    assert upstream.kinds == ["release", "release"]


def test_a_candidate_keeps_its_life_from_look_to_look() -> None:
    upstream = Upstream("1.0")
    upstream.page("1.0 1.1")
    step = note_look(upstream.memory, upstream.rules, "1.1", "d1", {}, upstream.now)
    upstream.take(step)
    upstream.wait(1)
    looked = upstream.page("1.0 1.1")
    assert looked.note == "1.1: settling"
    assert upstream.candidate.digest == "d1"
    assert upstream.candidate.listed == upstream.now > upstream.candidate.looked
    upstream.current = "1.1"
    assert upstream.page("1.0 1.1").candidate is None


def test_texts_that_are_no_versions_are_dropped() -> None:
    upstream = Upstream("1.0")
    bad = ["../../etc/passwd", "1.1 ; rm -rf", "2." + "1" * 80, "1.5\udc80", ""]
    found = [Found(version, f"{SITE}/x.tar.gz") for version in [*bad, "1.0"]]
    looked = judge(upstream.rules, "1.0", upstream.memory, found, upstream.now)
    assert looked.candidate is None
    assert set(reasons(looked).values()) == {"no version"}


def test_a_page_of_ten_thousand_links() -> None:
    upstream = Upstream("9.9.99")
    versions = [f"{a}.{b}.{c}" for a in range(10) for b in range(10) for c in range(100)]
    assert upstream.page(versions).candidate is None
    assert version_of(upstream.page([*versions, "10.0.0"])) == "10.0.0"
    assert len(upstream.memory.seen) < 100
