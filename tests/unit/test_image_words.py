"""The words of `minid set`: what is taken, as what, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minid.formats.image_words import (
    parse_command,
    parse_label,
    parse_line,
    parse_path,
    parse_port,
    parse_reference,
    parse_signal,
    parse_user,
    parse_variable,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nginx -s reload", ("/bin/sh", "-c", "nginx -s reload")),
        ('["nginx","-s","reload"]', ("nginx", "-s", "reload")),
        ('  ["nginx"] ', ("nginx",)),
        ("[]", ()),
        ("", ()),
        ("echo [a]", ("/bin/sh", "-c", "echo [a]")),
    ],
)
def test_commands_have_two_forms(text: str, words: tuple[str, ...]) -> None:
    assert parse_command(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "[nginx]",
        '["a", 1]',
        '["a"',
        '{"a": 1}x' * 9000,
        '["a\\u0000"]',
        '["\\ud800"]',
        "a\x00b",
        "a\udcff",
        "[" * 9999,
    ],
)
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_command(text)


def test_other_words() -> None:
    assert parse_variable("A=b=c") == ("A", "b=c")
    assert parse_label("org.example.x") == ("org.example.x", "")
    assert parse_port("80") == "80/tcp"
    assert parse_port("53/udp") == "53/udp"
    assert parse_path("/srv/web") == "/srv/web"
    assert parse_user("web:33") == "web:33"
    assert parse_user("2147483647") == "2147483647"
    assert parse_signal("quit") == "SIGQUIT"
    assert parse_signal("SIGRTMIN+3") == "SIGRTMIN+3"
    assert parse_signal("9") == "9"
    assert parse_reference("web") == "web:latest"
    assert parse_reference("localhost:5000/a/b:1.0") == "localhost:5000/a/b:1.0"


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_variable, "A"),
        (parse_variable, "1A=b"),
        (parse_variable, "A=\x1b[31m"),
        (parse_label, "org.minid.recipe=x"),
        (parse_label, "a b=x"),
        (parse_port, "0"),
        (parse_port, "65536"),
        (parse_port, "80/icmp"),
        (parse_path, "srv"),
        (parse_path, "/a/../b"),
        (parse_user, "a b"),
        (parse_user, "-u"),
        (parse_user, "2147483648"),
        (parse_user, "web:4294967295"),
        (parse_user, "9" * 5000),
        (parse_signal, "SIGNOPE"),
        (parse_signal, "65"),
        (parse_line, "a\nb"),
        (parse_line, "x" * 1001),
        (parse_reference, "Web:1"),
        (parse_reference, "web:"),
        (parse_reference, "../web:1"),
        (parse_reference, "web:1:2"),
    ],
)
def test_what_is_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(text)
