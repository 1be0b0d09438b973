"""Tables that fit, and moments as people say them."""

from __future__ import annotations

import pytest

from minid.cli.words import clock_time, cut, fit_table

ROWS = [("nginx", "a" * 60, "b" * 10), ("x" * 12, "short", "\x1b[31mred")]


@pytest.mark.parametrize("width", [200, 80, 50, 40])
def test_a_table_fits(width: int) -> None:
    lines = fit_table(("NAME", "LONG", "OTHER"), ROWS, width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert all("\x1b" not in line for line in lines)
    assert lines[0].index("LONG") == lines[1].index("aaa")


def test_only_the_widest_cells_are_cut() -> None:
    header, first, second = fit_table(("NAME", "LONG", "OTHER"), ROWS, 60)
    assert "nginx" in first
    assert "…" in first
    assert "x" * 12 in second
    assert "…" not in second + header


def test_no_rows_no_header() -> None:
    assert fit_table(("A",), [], 80) == []


def test_a_cut_shows() -> None:
    assert (cut("hello", 5), cut("hello", 4)) == ("hello", "hel…")


def test_a_moment_of_another_day_has_its_date() -> None:
    now = 1_764_000_000.0
    assert len(clock_time(now - 3600, now)) == 8
    assert clock_time(now - 10 * 86400, now).startswith("2025-11-14")
