"""FastCGI requests and answers: the specification's own numbers, and bytes of no application."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest

from minid.formats.fastcgi import get_params, parse_answer, request_bytes

END = b"\1\3\0\1\0\10\0\0" + bytes(8)


def record(kind: int, content: bytes, padding: int = 0) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), padding) + content + bytes(padding)


def records(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        version, kind, number, size, padding = struct.unpack_from(">BBHHBx", data)
        assert (version, number) == (1, 1)
        found.append((kind, data[8 : 8 + size]))
        data = data[8 + size + padding :]
    return found


def test_request_is_a_responders() -> None:
    # Example of the specification, section 3.4: lengths below 128 take a byte, others four.
    sent = records(request_bytes([("A", "b" * 3), ("LONG", "x" * 200)]))
    assert [kind for kind, _ in sent] == [1, 4, 4, 5]
    assert sent[0][1] == b"\0\1\0\0\0\0\0\0"
    assert sent[1][1] == b"\1\3Abbb" + b"\4\x80\0\0\xc8LONG" + b"x" * 200
    assert sent[2][1] == sent[3][1] == b""


def test_long_parameters_are_split() -> None:
    sent = records(request_bytes([("A", "x" * 100_000)]))
    assert [len(content) for kind, content in sent if kind == 4] == [65535, 34471, 0]


def test_answer_is_read() -> None:
    data = record(6, b"Status: 404 Not Found\r\nX: y\r\n\r\nbo", 5) + record(7, b"warning")
    answer = parse_answer(data + record(6, b"dy") + END)
    assert (answer.status, answer.body, answer.errors, answer.ended) == (
        404,
        b"body",
        b"warning",
        True,
    )


@pytest.mark.parametrize(
    ("out", "status", "body"),
    [
        (b"Content-type: text/html\r\n\r\nhello", 200, b"hello"),
        (b"Content-type: a\n\nb\r\n\r\nc", 200, b"b\r\n\r\nc"),
        (b"status:\n\nx", 200, b"x"),
        (b"no header", 200, b""),
        (b"Status: \xff\xff\n\n", 200, b""),
    ],
)
def test_status_and_body(out: bytes, status: int, body: bytes) -> None:
    answer = parse_answer(record(6, out) + END)
    assert (answer.status, answer.body) == (status, body)


def test_answer_without_an_end_is_not_ended() -> None:
    whole = record(6, b"\n\nhello", 3) + END
    assert not any(parse_answer(whole[:size]).ended for size in range(len(whole) - 8))


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n\r\n", b"+OK\r\n", b"\2\6\0\1\0\0\0\0"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="where a FastCGI record belongs"):
        parse_answer(data)


def test_hostile_bytes_raise_nothing_else() -> None:
    dice = random.Random(5)
    whole = record(6, b"Status: 200 OK\r\n\r\nhello") + record(7, b"x") + END
    for _ in range(5000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with suppress(ValueError):
            parse_answer(bytes(data[: dice.randint(0, len(data))]))


def test_parameters_of_a_script() -> None:
    params = dict(get_params("/srv/www/a.php", "b=1", 9000))
    assert params["SCRIPT_FILENAME"] == "/srv/www/a.php"
    assert params["DOCUMENT_ROOT"] == "/srv/www"
    assert (params["QUERY_STRING"], params["REQUEST_URI"]) == ("b=1", "/srv/www/a.php?b=1")
