"""Datagrams to the service manager and the journal, read back by sockets of our own."""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.host.systemd import (
    MAX_STATUS_BYTES,
    MAX_VALUE_BYTES,
    Notifier,
    encode_entry,
    is_journal_stream,
    send_entry,
    watchdog_timeout,
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path for a socket."""
    with tempfile.TemporaryDirectory(prefix="m-") as folder:
        yield Path(folder) / "s"


@pytest.fixture
def listener(place: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place))
        sock.settimeout(5)
        yield sock


def notifier(place: Path) -> Notifier:
    return Notifier.from_environ({"NOTIFY_SOCKET": str(place)}, monotonic=lambda: 12.5)


def test_what_the_manager_is_told(place: Path, listener: socket.socket) -> None:
    tell = notifier(place)
    assert tell.ready("3 recipes")
    assert tell.status("builds nginx")
    assert tell.reloading()
    assert tell.stopping("until runs end")
    assert tell.watchdog()
    assert tell.extend_timeout(1.5)
    assert [listener.recv(4096) for _ in range(6)] == [
        b"READY=1\nSTATUS=3 recipes",
        b"STATUS=builds nginx",
        b"RELOADING=1\nMONOTONIC_USEC=12500000",
        b"STOPPING=1\nSTATUS=until runs end",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=1500000",
    ]


def test_status_stays_one_line_and_short(place: Path, listener: socket.socket) -> None:
    notifier(place).status("a\nREADY=1\x1b[2J" + "é" * MAX_STATUS_BYTES + "\ud800")
    said = listener.recv(1 << 16)
    assert said.startswith(b"STATUS=a READY=1 [2J")
    assert b"\n" not in said
    assert len(said) <= len(b"STATUS=") + MAX_STATUS_BYTES
    said.decode()


def test_abstract_socket() -> None:
    name = f"minid-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(b"\0" + name.encode())
        assert Notifier.from_environ({"NOTIFY_SOCKET": "@" + name}).ready()
        sock.settimeout(5)
        assert sock.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/", "@", "relative", "/nonexistent/socket", "/" * 300])
def test_nobody_listens(address: str) -> None:
    tell = Notifier.from_environ({"NOTIFY_SOCKET": address})
    assert not tell.ready()
    assert not tell.extend_timeout(0)


def test_a_manager_that_reads_nothing_is_no_obstacle(place: Path, listener: socket.socket) -> None:
    tell = notifier(place)
    for _ in range(10_000):
        if not tell.watchdog():
            break
    else:
        pytest.fail("the socket's queue has no end")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_watchdog_timeout(environ: dict[str, str], expected: float | None) -> None:
    assert watchdog_timeout(environ, 7) == expected


def test_journal_stream_is_the_one_that_the_variable_names(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as ours, (tmp_path / "b").open("w") as other:
        status = os.fstat(ours.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal_stream(environ, ours.fileno())
        assert not is_journal_stream(environ, other.fileno())
        assert not is_journal_stream({}, ours.fileno())
    assert not is_journal_stream(environ, -1)
    assert not is_journal_stream({"JOURNAL_STREAM": ":"}, 10**9)


def decode_entry(data: bytes) -> dict[bytes, bytes]:
    """The fields of an entry, by the rules of the protocol's page."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        fields[name] = value
        data = rest
    return fields


def test_entry_holds_any_bytes() -> None:
    fields = {
        "MESSAGE": "built\nPRIORITY=0\n",
        "PRIORITY": 6,
        "MINID_RECIPE": b"\0\xff=\n\n",
        "MINID_STAGE": "compile=x",
        "MINID_RUN": "",
        "CODE": "\udcff\ud800",
    }
    assert decode_entry(encode_entry(fields)) == {
        b"MESSAGE": b"built\nPRIORITY=0\n",
        b"PRIORITY": b"6",
        b"MINID_RECIPE": b"\0\xff=\n\n",
        b"MINID_STAGE": b"compile=x",
        b"MINID_RUN": b"",
        b"CODE": b"\\udcff\\ud800",
    }


@pytest.mark.parametrize("name", ["_PID", "lower", "A B", "A\nB", "1A", "", "A=B", "Ä", "A" * 65])
def test_entry_has_only_names_that_the_journal_takes(name: str) -> None:
    assert encode_entry({name: "x"}) == b""
    assert not send_entry({name: "x"})


def test_long_value_is_cut() -> None:
    (value,) = decode_entry(encode_entry({"MESSAGE": b"x" * (MAX_VALUE_BYTES + 1)})).values()
    assert len(value) == MAX_VALUE_BYTES
    assert value.endswith(b"x...")


def test_entry_is_one_datagram(place: Path, listener: socket.socket) -> None:
    assert send_entry({"MESSAGE": "built", "MINID_RECIPE": "nginx"}, place)
    assert listener.recv(4096) == b"MESSAGE=built\nMINID_RECIPE=nginx\n"


def test_large_entry_is_a_sealed_memory_file(place: Path, listener: socket.socket) -> None:
    message = b"line\n" * (MAX_VALUE_BYTES // 5)
    assert send_entry({"MESSAGE": message}, place)
    data, ancillary, _, _ = listener.recvmsg(4096, socket.CMSG_SPACE(4))
    assert data == b""
    ((_, _, packed),) = ancillary
    descriptors = array.array("i", packed)
    try:
        with mmap.mmap(descriptors[0], 0, prot=mmap.PROT_READ) as mapped:
            assert decode_entry(mapped[:]) == {b"MESSAGE": message}
        with pytest.raises(PermissionError):
            os.write(descriptors[0], b"x")
    finally:
        os.close(descriptors[0])


def test_no_journal(place: Path) -> None:
    assert not send_entry({"MESSAGE": "built"}, place)
    assert not send_entry({"MESSAGE": b"x" * MAX_VALUE_BYTES}, place)
