"""Reading tables by declaration, and the parser's caps in front of it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import pytest

from minid.formats.quantity import parse_duration, parse_size
from minid.formats.table import (
    MAX_PROBLEMS,
    Array,
    Either,
    Key,
    Pairs,
    Problems,
    Table,
    array_of,
    key_path,
    one_of,
    read_table,
    show_value,
)
from minid.formats.toml import MAX_BYTES, TomlError, parse_toml
from minid.formats.values import NAME, PORT, STRING


@dataclass(frozen=True)
class Pair:
    left: str
    right_: int = 7


PAIR = Table(
    (
        Key("left", STRING, "Left.", required=True),
        Key("right", PORT, "Right.", "7", field="right_"),
    ),
    Pair,
)
ROOT = Table(
    (
        Key("pairs", array_of(PAIR, "tables"), "Pairs."),
        Key("names", Array(NAME, "an array of names", minimum=1, unique=True), "Names."),
        Key("free", Pairs(NAME, STRING, "a table of strings"), "Free."),
        Key("port", Either((PORT, PAIR), "a port or a table"), "Port."),
    )
)


def problems_of(document: object) -> list[str]:
    value, problems = read_table(ROOT, document, "f.toml")
    assert (value is None) == bool(problems.found)
    return [str(problem) for problem in problems.found]


def test_values_reach_the_maker_under_the_fields_name() -> None:
    document = {"pairs": [{"left": "a", "right": 1}, {"left": "b"}], "port": {"left": "c"}}
    value, problems = read_table(ROOT, document, "f.toml")
    assert value == {"pairs": (Pair("a", 1), Pair("b", 7)), "port": Pair("c", 7)}
    assert problems.text() == ""


def test_free_keys_come_sorted() -> None:
    value, _ = read_table(ROOT, {"free": {"b": "2", "a": "1"}}, "f.toml")
    assert value == {"free": (("a", "1"), ("b", "2"))}


def test_every_problem_is_told_at_once() -> None:
    document = {
        "pairs": [{"left": 7}, 3, {"right": 0, "left": "x"}],
        "names": ["ok", "ok", "-rf"],
        "free": {"Bad Name": "x", "good": False},
        "port": "http",
    }
    assert problems_of(document) == [
        "f.toml: pairs[0].left: expected a string without NUL, got 7",
        "f.toml: pairs[1]: expected a table, got 3",
        "f.toml: pairs[2].right: expected a whole number from 1 to 65535, got 0",
        'f.toml: names[2]: expected a name such as "nginx" or "php-fpm", got "-rf"',
        'f.toml: names[1]: expected each value once, got "ok" again',
        'f.toml: free."Bad Name": expected a name such as "nginx" or "php-fpm", got "Bad Name"',
        "f.toml: free.good: expected a string without NUL, got false",
        'f.toml: port: expected a port or a table, got "http"',
    ]


def test_a_misspelt_key_is_suggested_and_not_reported_as_missing() -> None:
    assert problems_of({"pairs": [{"lefd": "x"}]}) == [
        'f.toml: pairs[0].lefd: expected a known key, got "lefd"; did you mean "left"?'
    ]
    assert problems_of({"pairs": [{}]}) == [
        "f.toml: pairs[0].left: expected a string without NUL, got nothing"
    ]


def test_true_is_no_number() -> None:
    assert problems_of({"port": True}) == ["f.toml: port: expected a port or a table, got true"]


def test_empty_array_below_the_minimum() -> None:
    assert problems_of({"names": []}) == [
        "f.toml: names: expected an array of names, got an empty array"
    ]


def test_a_million_wrong_keys_stay_a_hundred_lines_and_quick() -> None:
    begun = time.perf_counter()
    _, problems = read_table(ROOT, {f"key{i}": 1 for i in range(60_000)}, "f.toml")
    assert time.perf_counter() - begun < 3
    lines = problems.text().split("\n")
    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1] == f"f.toml: and {60_000 - MAX_PROBLEMS} more"


def test_one_of() -> None:
    rule = one_of("a", "b")
    assert list(rule({"a": 1})) == []
    assert list(rule({})) == [("", "exactly one of a, b", "none of them")]
    assert list(rule({"a": 1, "b": 2})) == [("", "exactly one of a, b", "a and b")]


def test_shown_values_cannot_act_on_a_terminal() -> None:
    assert show_value("\x1b[2J\u202e\n") == '"\\u001b[2J\\u202e\\n"'
    assert show_value("x" * 500) == '"' + "x" * 80 + '…"'
    assert show_value([1]) == "an array"
    assert key_path("a", "b c") == 'a."b c"'
    assert key_path("", "\x1b") == '"\\u001b"'


def test_problems_extend_counts() -> None:
    first, second = Problems("a"), Problems("b")
    second.add_at_line(3, "x", "y")
    first.extend(second)
    assert first.text() == "b:3: expected x, got y"
    assert first.count == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("7 MB", 7_000_000),
        ("7MB", 7_000_000),
        ("1.5 GiB", 3 << 29),
        ("2 kB", 2000),
        ("2 KiB", 2048),
        ("9 B", 9),
        (12, 12),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "7", "7 M", "-1 MB", "0 MB", 0, -1, "1e3 MB", "9999999 TB"])
def test_wrong_sizes(text: str | int) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("30 min", 1800), ("2 h", 7200), ("1 d", 86400), ("250 ms", 0.25), (0.5, 0.5)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "1 m", 0, -3, float("nan"), float("inf"), "400 d"])
def test_wrong_durations(text: str | float) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("data", "message", "line"),
    [
        (b"a = 1\nb = \n", "expected valid TOML, got invalid value", 2),
        (b"a = 1\na = 2\n", "expected valid TOML, got cannot overwrite a value", 2),
        (b"a = [1,", "expected valid TOML, got ", 1),
        (b"a = 1\n\xff", "expected UTF-8 text, got the byte 0xff", 2),
        (b"x" * (MAX_BYTES + 1), "expected a file of at most 1 MiB, got 1048577 bytes", 0),
        (b"\n" + b".".join([b"a"] * 17) + b" = 1", "expected a key of at most 16 parts", 2),
        (b"[" + b".".join([b'"a"'] * 17) + b"]", "expected a key of at most 16 parts", 1),
        (b"a = {" + b" . ".join([b"a"] * 17) + b" = 1}", "expected a key of at most 16", 1),
        (b"a = " + b"[" * 33 + b"]" * 33, "expected nesting of at most 32 levels", 1),
        (b"a = 1" + b"0" * 5000, "expected valid TOML", 0),
    ],
)
def test_what_is_no_document(data: bytes, message: str, line: int) -> None:
    with pytest.raises(TomlError) as caught:
        parse_toml(data)
    assert str(caught.value).startswith(message)
    assert caught.value.line == line


def test_dots_in_strings_and_comments_are_no_key_parts() -> None:
    dots = "a." * 40 + "[" * 40
    document = (
        f'a = "{dots}\\"" # {dots}\nb = \'{dots}\'\nc = """\n{dots}""""\nd = \'\'\'{dots}\'\'\'\n'
    )
    assert parse_toml(document.encode())["b"] == dots


@pytest.mark.parametrize(
    "data",
    [
        ".".join(["a"] * 20_000) + " = 1",
        ".".join(["'a'"] * 20_000) + " = 1",
        '"' + '\\"' * 500_000,
        '"""' + '\\"""' * 250_000,
        "'''" * 349_525,
        "'" * 1_000_000,
        "[" * 1_000_000,
        "a = " + "{a=" * 300_000,
        "\n".join("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o" + f".p{i} = 1" for i in range(20_000)),
    ],
    ids=range(9),
)
def test_no_megabyte_costs_seconds(data: str) -> None:
    begun = time.perf_counter()
    with contextlib.suppress(TomlError):
        parse_toml(data.encode())
    assert time.perf_counter() - begun < 2
