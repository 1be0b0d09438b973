"""JSON messages between minid and a container's keeper, on a SOCK_SEQPACKET socket.

The kernel takes a message of a few hundred kilobytes at most: a longer one goes as a file.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

MAX_MESSAGE = 1 << 20
_ROOM = 64 << 10
_ELSEWHERE = b'{"in": "a file"}'


def send_message(sock: socket.socket, value: object) -> None:
    """Send one message, of any length."""
    data = json.dumps(value).encode()
    if len(data) <= _ROOM:
        sock.send(data)
        return
    with open(os.memfd_create("message"), "w+b") as file:
        file.write(data)
        file.seek(0)
        socket.send_fds(sock, [_ELSEWHERE], [file.fileno()])


def receive_message(sock: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other end is gone."""
    message, _ = receive_with_descriptors(sock)
    return message


def receive_with_descriptors(sock: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message, or None, and the descriptor that came with it as the caller's."""
    data, descriptors, _, _ = socket.recv_fds(sock, MAX_MESSAGE, 1)
    if data == _ELSEWHERE:
        with open(descriptors.pop(), "rb") as file:
            data = file.read()
    return (json.loads(data) if data else None), list(descriptors)
