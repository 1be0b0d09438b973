from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.host.control_message import receive_message, receive_with_descriptors, send_message

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("text", ["", "short", "\x01" * 40_000, "é" * 2_000_000])
def test_messages_of_any_length_come_whole(pair: Pair, text: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for receive in (receive_message, lambda sock: receive_with_descriptors(sock)[0]):
        send_message(pair[0], {"tail": [text]})
        assert receive(pair[1]) == {"tail": [text]}
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_descriptors_come_beside_a_message(pair: Pair) -> None:
    outgoing, incoming = os.pipe()
    socket.send_fds(pair[0], [b'{"fds": 1}'], [outgoing])
    message, descriptors = receive_with_descriptors(pair[1])
    os.write(incoming, b"through")
    assert message == {"fds": 1}
    assert [os.read(one, 99) for one in descriptors] == [b"through"]
    for one in (outgoing, incoming, *descriptors):
        os.close(one)


def test_the_end_of_the_other_side_is_no_message(pair: Pair) -> None:
    pair[0].close()
    assert receive_message(pair[1]) is None
