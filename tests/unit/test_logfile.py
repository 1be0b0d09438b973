"""Build logs: numbers, long lines, and what a terminal must not get to see."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from minid.host.logfile import LogFile, iterate_lines, printable

LONGEST = 1 << 16


def test_lines_have_numbers_however_the_bytes_come(tmp_path: Path) -> None:
    seen: list[str] = []
    log = LogFile(tmp_path / "logs" / "run.log", seen.append)
    for piece in (b"one\ntw", b"", b"o\n\nfo", b"ur"):
        log.write(piece)
    log.say("minid")
    log.write(b"rest")
    log.close()
    # What minid says does not end a program's half line.
    assert seen == ["one", "two", "", "four", "minid", "rest"]
    assert log.path.read_bytes() == b"".join(
        b"%6d  %s\n" % (number, line.encode()) for number, line in enumerate(seen, 1)
    )
    assert list(iterate_lines(log.path))[1] == "     2  two"


def test_a_whole_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "run.log")
    log.write(b"one\ntwo")
    assert log.path.read_bytes() == b"     1  one\n"
    assert log.tail() == ("one", "two")
    log.close()


def test_a_line_without_end_is_broken_up(tmp_path: Path) -> None:
    seen: list[str] = []
    log = LogFile(tmp_path / "run.log", seen.append)
    for _ in range(5):
        log.write(b"x" * (LONGEST // 2))
    assert [len(line) for line in seen] == [LONGEST, LONGEST]
    log.write(b"x" * LONGEST * 3 + b"\nend")
    log.close()
    assert "".join(seen) == "x" * (LONGEST * 11 // 2) + "end"
    assert max(map(len, seen)) == LONGEST


def test_the_tail_is_forty_lines(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "run.log")
    log.write(b"".join(b"%d\n" % number for number in range(100)) + b"last")
    assert log.tail() == (*(str(number) for number in range(61, 100)), "last")
    log.close()


def test_bytes_stay_in_the_file_and_are_replaced_for_people(tmp_path: Path) -> None:
    seen: list[str] = []
    log = LogFile(tmp_path / "run.log", seen.append)
    log.write(b"\xff\x1b[2J\r\n")
    log.close()
    assert log.path.read_bytes() == b"     1  \xff\x1b[2J\r\n"
    assert seen == ["\ufffd\x1b[2J\r"]
    assert list(iterate_lines(log.path)) == ["     1  \ufffd\x1b[2J\r"]


def test_lines_of_two_writers_are_not_mixed(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "run.log")

    def write(letter: bytes) -> None:
        for _ in range(200):
            log.write(letter * 50 + b"\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    lines = list(iterate_lines(log.path))
    assert [int(line[:6]) for line in lines] == list(range(1, 401))
    assert {line[8:] for line in lines} == {"a" * 50, "b" * 50}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain: ünïcode, 日本", "plain: ünïcode, 日本"),
        ("a\tb", "a\tb"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("over\rwritten\x08", "over\\x0dwritten\\x08"),
        ("\x9b2J", "\\x9b2J"),
        ("user\u202etxt.exe", "user\\x202etxt.exe"),
        ("\u2066a\u2069\u200f", "\\x2066a\\x2069\\x200f"),
        ("\u2028\x00", "\\x2028\\x00"),
        ("/a\udcff", "/a\\xff"),  # a name that is no UTF-8
    ],
)
def test_what_could_fool_a_terminal_is_escaped(line: str, shown: str) -> None:
    assert printable(line) == shown
