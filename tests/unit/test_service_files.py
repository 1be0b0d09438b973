"""Texts of the service's files: id ranges, the unit's program, names of users."""

from __future__ import annotations

import pytest

from minid.errors import HostError, UsageError
from minid.host.service_files import (
    SubidRange,
    add_range,
    check_user_name,
    free_subids,
    has_subids,
    parse_ranges,
    quote_program,
    render_sysusers,
    render_unit,
)
from tests.support.users import ROOT

UNIT = (ROOT / "systemd" / "minid.service").read_text()


def test_ranges_are_read_and_the_rest_passed_over() -> None:
    text = "a:1:2\n# b:3:4:5\n\nc:x:1\nd:-1:5\ne:1:99999999999\n f:7:8 \nghi\n:1\n"
    assert parse_ranges(text) == (SubidRange("a", 1, 2), SubidRange("f", 7, 8))


@pytest.mark.parametrize(
    ("files", "taken", "start"),
    [
        ([""], [], 100_000),
        (["a:100000:65536\n"], [], 165_536),
        (["a:100000:65536", "b:200000:65536\n"], [], 265_536),
        (["a:100000:65536\nb:231072:65536\n"], [], 165_536),  # exactly the room between
        (["a:100000:65536\nb:231071:65536\n"], [], 296_607),
        (["a:1:2000000\n", "b:5:1\n"], [], 2_000_001),
        (["a:165535:0\n"], [], 100_000),
        ([""], [1000, 65534, 100_001], 100_002),
    ],
)
def test_free_range_overlaps_nothing(files: list[str], taken: list[int], start: int) -> None:
    assert free_subids(files, taken) == start


def test_no_free_range() -> None:
    with pytest.raises(HostError, match="expected 65536 free ids"):
        free_subids(["a:1:4294967295\n"])


def test_range_is_added_on_a_line_of_its_own() -> None:
    assert add_range("", "minid", 5) == "minid:5:65536\n"
    assert add_range("a:1:2", "minid", 5) == "a:1:2\nminid:5:65536\n"


@pytest.mark.parametrize(
    ("text", "enough"),
    [
        ("minid:1:65536", True),
        ("minid:1:65535", False),
        ("minid:1:32768\nminid:100000:32768", True),
        ("minids:1:65536", False),
    ],
)
def test_what_is_enough(text: str, enough: bool) -> None:
    assert has_subids(text, "minid") == enough


def test_unit_for_a_program_and_a_user() -> None:
    unit = render_unit(UNIT, "/opt/minid", "builder")
    before, after = UNIT.splitlines(), unit.splitlines()
    changed = [line for line, old in zip(after, before, strict=True) if line != old]
    assert changed == [
        "ExecStart=/opt/minid daemon",
        "ExecReload=/opt/minid reload --wait",
        "User=builder",
    ]


def test_program_in_a_home_is_seen_by_the_service() -> None:
    unit = render_unit(UNIT, "/home/a/minid", "minid", in_home=True)
    assert "\nProtectHome=read-only\n" in unit
    assert "\nProtectHome=yes\n" in UNIT


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/usr/bin/minid", "/usr/bin/minid"),
        ("/a b/minid", '"/a b/minid"'),
        ("/50%/minid", "/50%%/minid"),
    ],
)
def test_program_as_a_word_of_the_unit(path: str, word: str) -> None:
    assert quote_program(path) == word


@pytest.mark.parametrize(
    "path", ["minid", "", "/a\nExecStartPre=/b", "-/bin/minid", "/'a", '/"', "/\\"]
)
def test_no_program(path: str) -> None:
    with pytest.raises(UsageError):
        quote_program(path)


@pytest.mark.parametrize("name", ["root", "", "A", "a b", "a\n", "1a", "a" * 32, "%u"])
def test_no_user_for_a_service(name: str) -> None:
    with pytest.raises(UsageError):
        check_user_name(name)


def test_sysusers_line() -> None:
    text = (ROOT / "systemd" / "minid.sysusers.conf").read_text()
    assert 'u builder - "minid build server" /var/lib/minid\n' in render_sysusers(text, "builder")
