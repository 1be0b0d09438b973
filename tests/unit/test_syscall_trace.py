"""How calls and addresses are read; that they are seen at all is shown by real programs."""

from __future__ import annotations

import socket
import struct

import pytest

from minid.formats.syscalls import directory_flag, watched_calls
from minid.host.syscall_trace import show_address


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (struct.pack("=H", socket.AF_UNIX) + b"/run/x.sock\0rubbish", "unix:/run/x.sock"),
        (struct.pack("=H", socket.AF_UNIX) + b"\0name", "unix:@name"),
        (struct.pack("=H", socket.AF_UNIX), "unix:"),
        (struct.pack("=H", socket.AF_INET) + b"\0\x50\x7f\0\0\1" + bytes(8), "inet:127.0.0.1:80"),
        (struct.pack("=H", socket.AF_INET) + b"\0\x50", "family:2"),
        (
            struct.pack("=H", socket.AF_INET6) + b"\x1f\x90" + bytes(19) + b"\1" + bytes(4),
            "inet6:::1:8080",
        ),
        (struct.pack("=H", socket.AF_NETLINK) + bytes(10), "family:16"),
        (b"", "family:0"),
    ],
)
def test_socket_addresses(data: bytes, expected: str) -> None:
    assert show_address(data) == expected


@pytest.mark.parametrize(
    ("machine", "openat", "execve"), [("x86_64", 257, 59), ("aarch64", 56, 221)]
)
def test_calls_of_each_machine(machine: str, openat: int, execve: int) -> None:
    calls = watched_calls(machine)
    assert (calls[openat].name, calls[openat].folder, calls[openat].path) == ("open", 0, 1)
    assert (calls[execve].name, calls[execve].path) == ("exec", 0)
    assert {shape.name for shape in calls.values()} >= {"open", "mkdir", "connect", "bind", "chown"}


def test_machine_that_is_not_known() -> None:
    assert watched_calls("vax") == {}
    assert directory_flag("x86_64") != directory_flag("aarch64")
