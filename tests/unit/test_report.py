"""What watches the line: every reporter takes every word."""

from __future__ import annotations

import inspect

import pytest

from minid.report import Reporter, Silence

WORDS = [name for name in vars(Reporter) if not name.startswith("_")]


def test_silence_takes_what_a_reporter_takes() -> None:
    assert len(WORDS) >= 5
    for name in WORDS:
        assert inspect.signature(getattr(Silence, name)) == inspect.signature(
            getattr(Reporter, name)
        )


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reporter: Reporter = Silence()
    reporter.stage_started("nginx", "compile")
    reporter.stage_finished("nginx", "compile", 1.0, cached=False)
    reporter.log_line("nginx", "\x1b[2J")
    reporter.fetched("nginx", "nginx.tar.gz", 1, None)
    reporter.note("nginx", "read me")
    assert capsys.readouterr() == ("", "")
