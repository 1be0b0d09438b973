"""Links of pages: as a browser's parser sees them, and in bounded time."""

from __future__ import annotations

import random

import pytest
from selectolax.lexbor import LexborHTMLParser

from minid.formats.html_links import MAX_HREF, Links, scan_links

MOST = 100_000


def hrefs(text: str) -> list[str]:
    return list(scan_links(text, MOST).hrefs)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("<a href='1'>x</a> <A HREF=2>y<a\n\thref = \"3\" >", ["1", "2", "3"]),
        ("<a title='a > b' href=1>", ["1"]),
        ("<a title=it's href=1>", ["1"]),
        ("<a href=1 href=2>", ["1"]),
        ("<a href><a href=''><a name=x><abbr href=1><area href=1>", ["", ""]),
        ("<a/href=1><a href=2/>", ["1", "2/"]),
        ("<a href=1", []),
        ("<a href='1><a href=2>", []),
        ("<a href=a&amp;b&#46;c>", ["a&b.c"]),
        ("<!-- <a href=1> --><a href=2><!--> <a href=3> <!-- <a href=4>", ["2", "3"]),
        ("<!doctype html><?xml <a href=1>?><a href=2>", ["2"]),
        ("<script>'<a href=1>'</script><a href=2><style><a href=3>", ["2"]),
        ("<title><a href=1></titles></TITLE ><a href=2>", ["2"]),
        ("<img alt='<a href=1>'><p title=\"><a href=2>\"><a href=3>", ["3"]),
        ("</a href='><a href=1>'><a href=2></ <a href=3>><a href=4>", ["2", "4"]),
        ("1 < 2 <> << <a href=1>", ["1"]),
        ("<a =href=1 href=2>", ["2"]),
        ("<a href=1 / href=2>", ["1"]),
    ],
)
def test_links(text: str, found: list[str]) -> None:
    assert hrefs(text) == found
    assert oracle(text) == found


def oracle(text: str) -> list[str]:
    """The same by a parser that builds the whole tree."""
    tree = LexborHTMLParser(text)
    return [node.attributes.get("href") or "" for node in tree.css("a[href]")]


def test_base_and_limits() -> None:
    text = "<base target=x><base href='/a/'><base href='/b/'><a href=1><a href=2><a href=3>"
    assert scan_links(text, 2) == Links(("1", "2"), "/a/")
    assert scan_links("<a href=1>", 2) == Links(("1",), "")
    assert hrefs(f"<a href={'x' * MAX_HREF}><a href={'x' * (MAX_HREF + 1)}>")[1] == ""


def test_mutants_are_read_as_by_another_parser() -> None:
    chance = random.Random(11)
    pieces = ["<a href='x-{}.tar'>", "</a>", "<pre>", '<p class="y">', "<!--", "-->", "<b>", "\n"]
    letters = "<>/='\" ahref!-&;"
    for _ in range(1500):
        text = list("".join(chance.choice(pieces).format(n) for n in range(12)))
        for _ in range(chance.randrange(4)):
            text[chance.randrange(len(text))] = chance.choice(letters)
        page = "".join(text)
        # A tree holds a link twice where it goes on in another paragraph.
        assert set(hrefs(page)) == set(oracle(page)), page


@pytest.mark.parametrize(
    "piece",
    [
        "<div>",
        "<",
        "<a ",
        "<a href='",
        "<a x",
        "<!--",
        "<!",
        "</",
        "</a '",
        '<p "',
        "<title>",
        "<a href=x>",
        "<a href=&amp;",
        "<script><a ",
        "<b x= ",
        "<a/",
        "<a =",
    ],
)
def test_a_megabyte_of_anything_has_an_end(piece: str) -> None:
    """In time that is quadratic, each of these would take many minutes."""
    page = piece * ((1 << 20) // len(piece))
    for text in (page, f"{page}>", f"{page}'>\">--></title>"):
        assert len(scan_links(text, 1000).hrefs) <= 1000
