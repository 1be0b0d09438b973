"""Lists of digests: whose digest is which, to the letter of the name."""

from __future__ import annotations

import os

import pytest

from minid.errors import RecipeError
from minid.upstream.digest_list import MAX_LIST_BYTES, find_digests

A, B = "a" * 64, "b" * 64
NAME = "mysql-8.4.10.tar.gz"


@pytest.mark.parametrize(
    "line",
    [
        f"{A}  {NAME}",
        f"{A} *{NAME}",
        f"{A.upper()}\t{NAME}\r",
        f"{A}  ./{NAME}",
        f"SHA256 ({NAME}) = {A}",
        f"SHA256({NAME})= {A}",
        f"SHA2-256({NAME})= {A.upper()}",
        f"hash {NAME} sha256 {A} http://example.org/{NAME}",
        f"sha256: {A} {NAME}",
        A,
        f"\n{A}\n\n",
    ],
)
def test_forms_of_lines(line: str):
    assert find_digests(line.encode(), NAME) == {A}


@pytest.mark.parametrize(
    "line",
    [
        "",
        NAME,
        f"{A}  mysql-boost-8.4.10.tar.gz",
        f"{A}  {NAME}.asc",
        f"{A}  x{NAME}",
        f"{A}  old/{NAME}",
        f"{A}  mysql-8.4.1.tar.gz",
        f"SHA256 (mysql-boost-{NAME}) = {A}",
        f"SHA512/256 ({NAME}) = {A}",
        f"MD5 ({NAME}) = {A[:32]}",
        f"{A}{A}  {NAME}",
        f"{A[:40]}  {NAME}",
        f"hash boost-{NAME} sha256 {A} http://example.org/{NAME}",
        f"hash {NAME} sha3 {A} http://example.org/{NAME}",
        f"hash {NAME} sha256 {A} sha256 {B}",
        f"{A}\n{B}",
        f"{NAME}\n{A}",
        f"<a href='{NAME}'>{A}</a>",
    ],
)
def test_lines_that_state_nothing_of_the_file(line: str):
    assert find_digests(line.encode(), NAME) == frozenset()


def test_the_one_of_many():
    lines = [f"{B}  mysql-boost-8.4.10.tar.gz", f"{A}  {NAME}", f"{B}  {NAME}.xz"]
    assert find_digests("\n".join(lines).encode(), NAME) == {A}


def test_two_digests_for_one_name():
    assert find_digests(f"{A}  {NAME}\n{B}  {NAME}\n".encode(), NAME) == {A, B}
    assert find_digests(f"{A}  {NAME}\n{A.upper()}  {NAME}\n".encode(), NAME) == {A}


def test_match_says_which_lines_count():
    lines = f"{B}  {NAME}\nstable {A} {NAME}\n".encode()
    assert find_digests(lines, NAME, r"stable (?P<sha256>\w+) (?P<name>\S+)") == {A}
    assert find_digests(lines, "mysql-8.4.1", r"stable (?P<sha256>\w+) (?P<name>\S+)") == set()
    assert find_digests(f"{B}  {NAME}\n{A} *{NAME}".encode(), NAME, r".*\*.*") == {A}
    assert find_digests(f"{A}\n{B}x\n".encode(), NAME, r"[0-9a-f]{64}") == {A}
    assert find_digests(f"tar: {A}\nzip: {B}".encode(), NAME, r"tar: (?P<sha256>.*)") == {A}


def test_match_is_of_whole_lines():
    assert find_digests(f"{A}  {NAME}".encode(), NAME, "mysql") == set()
    assert find_digests(f"x {A}".encode(), NAME, r"x (?P<sha256>\S{63})") == set()


@pytest.mark.parametrize("pattern", ["(", r"(?=a)", r"(a)\1"])
def test_pattern_that_the_engine_refuses(pattern: str, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(RecipeError, match="RE2"):
        find_digests(b"", NAME, pattern)
    assert capfd.readouterr() == ("", "")


def test_pattern_that_would_take_for_ever():
    lines = (b"a" * 4000 + b"!\n") * 250
    assert find_digests(lines, NAME, r"(a|a)*(a+)+(?P<sha256>b)") == set()


def test_long_lines_are_not_looked_at():
    line = f"{A}  {NAME}".encode()
    assert find_digests(line + b" " * 5000 + b"x", NAME, r"(?P<sha256>\w+).*") == set()
    assert find_digests(line + b"\n" + b"x" * 5000, NAME) == {A}


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(MAX_LIST_BYTES),
        b"a" * MAX_LIST_BYTES,
        b"a" * 64 + b" " * (MAX_LIST_BYTES - 65) + b"x",
        b"\n" * MAX_LIST_BYTES,
        b"SHA256 (" * (MAX_LIST_BYTES // 8),
        b"sha256 " * (MAX_LIST_BYTES // 7),
        b"\xff\xfe\0" * 1000,
    ],
    ids=["random", "one word", "spaces", "lines", "brackets", "labels", "utf-16"],
)
def test_any_bytes_state_nothing(data: bytes):
    assert find_digests(data, NAME) == frozenset()
