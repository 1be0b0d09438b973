"""Changes of a text as edits of a recipe."""

from __future__ import annotations

import random

import pytest

from minid.formats.changes_text import apply_edits, find_edits, plain_text
from minid.recipe import Edit

CONF = "".join(f"key{n} = {n}\n" for n in range(30)) + "same\nsame\nsame\n"


def edits_of(after: str, before: str = CONF) -> tuple[Edit, ...]:
    return find_edits("/c", before.encode(), after.encode())


def test_text_before_and_behind() -> None:
    assert edits_of("x\n" + CONF) == (Edit("/c", prepend="x\n"),)
    assert edits_of(CONF + "y\n") == (Edit("/c", append="y\n"),)
    assert edits_of("x\n" + CONF + "y") == (Edit("/c", prepend="x\n", append="y"),)


def test_a_line() -> None:
    after = CONF.replace("key7 = 7\n", "key7 = seven\n")
    assert edits_of(after) == (Edit("/c", replace="key7 = 7", with_="key7 = seven"),)


def test_a_line_that_occurs_again_takes_those_around_along() -> None:
    after = CONF.replace("same\nsame\nsame\n", "same\nother\nsame\n")
    edits = edits_of(after)
    assert edits and apply_edits(edits, CONF) == after


def test_a_line_less_and_a_line_more() -> None:
    for after in (CONF.replace("key3 = 3\n", ""), CONF.replace("key3 = 3\n", "key3 = 3\nnew\n")):
        edits = edits_of(after)
        assert len(edits) == 1 and edits[0].replace is not None
        assert apply_edits(edits, CONF) == after


@pytest.mark.parametrize(
    "after",
    [
        "",
        CONF + "{version}\n",
        CONF + "\x1b[31m",
        CONF + "\0",
        "something else\n" * 50,
        CONF + "x" * 70000,
    ],
)
def test_what_edits_do_not_say(after: str) -> None:
    assert edits_of(after) == ()


def test_bytes_that_are_no_text() -> None:
    assert find_edits("/c", b"\xff\xfe", b"\xff") == ()
    assert find_edits("/c", b"", b"new") == ()
    assert plain_text(b"\xff") is None
    assert plain_text("grün\n".encode()) == "grün\n"


def test_whatever_is_said_holds() -> None:
    chance, said = random.Random(7), 0
    for _ in range(300):
        lines = CONF.splitlines(keepends=True)
        for _ in range(chance.randint(1, 5)):
            at = chance.randrange(len(lines))
            lines[at : at + chance.randint(0, 2)] = [f"z{chance.randint(0, 3)}\n"] * chance.randint(
                0, 2
            )
        after = "".join(lines)
        edits = edits_of(after)
        if edits:
            said += 1
            assert apply_edits(edits, CONF) == after
    assert said > 150
