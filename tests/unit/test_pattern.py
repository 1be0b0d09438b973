"""Patterns: whole texts, in linear time, whatever stands in either."""

from __future__ import annotations

import pytest

from minid.formats.pattern import MAX_TEXT, compile_pattern


def test_the_whole_text_matches() -> None:
    pattern = compile_pattern(r"nginx-(?P<version>\d+(\.\d+)+)\.tar\.gz")
    assert pattern.groups == {"version"}
    assert pattern.group("version", "nginx-1.28.0.tar.gz") == "1.28.0"
    assert pattern.group("version", "nginx-1.28.0.tar.gz.asc") is None
    assert pattern.group("version", "nginx-1.28.0.tar.gz\n") is None
    assert pattern.group("version", "my-nginx-1.28.0.tar.gz") is None
    assert pattern.match("nginx-1.28.0.tar.gz")


def test_texts_that_are_no_texts_do_not_match() -> None:
    pattern = compile_pattern(".*")
    assert not pattern.match("\udc80")
    assert not pattern.match("x" * (MAX_TEXT + 1))
    assert pattern.match("x" * MAX_TEXT)
    assert not compile_pattern(r"\d+").match("１２")


def test_a_group_that_took_no_part_holds_nothing() -> None:
    assert compile_pattern("a|(?P<version>b)").group("version", "a") is None


@pytest.mark.parametrize(
    "text", ["(?=a)", r"(a)\1", "a++", "(", "(a{1000}){1000}", "\udc80", "(?P<version>a){1001}"]
)
def test_what_is_not_linear_is_refused(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compile_pattern(text)
    assert "Error" not in capfd.readouterr().err


def test_a_pattern_that_would_not_end_ends() -> None:
    assert not compile_pattern("(a*)*(a*)*(a|aa)*b").match("a" * MAX_TEXT)


def test_any_of_several() -> None:
    patterns = [compile_pattern("1[.].*"), compile_pattern("2")]
    assert any(pattern.match("1.7") for pattern in patterns)
    assert not any(pattern.match("3") for pattern in patterns)
