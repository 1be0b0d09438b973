"""What a service says to systemd: notifications to the manager, entries to the journal.

Both are single datagrams to a unix socket. The formats: sd_notify(3), and the page "Native Journal
Protocol" of systemd. Nothing here raises: a service works on where nobody listens.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
MAX_VALUE_BYTES = 1 << 20  # of one field of an entry; what is longer is cut
MAX_STATUS_BYTES = 1024
# The manager and the journal read at once; where one hangs, the service must not hang with it.
_SEND_TIMEOUT_S = 0.5
_FIELD_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_CUT = b"..."


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells the service manager how the service is; does nothing where `address` is empty.

    `address` is NOTIFY_SOCKET: an absolute path, or `@` and an abstract name. Every method returns
    whether the manager was told.
    """

    address: str = ""
    monotonic: Callable[[], float] = time.monotonic

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic
    ) -> Notifier:
        """The notifier of this process. `monotonic` must be CLOCK_MONOTONIC, in seconds."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if len(address) > 1 and address[0] in "/@" else "", monotonic)

    def ready(self, status: str = "") -> bool:
        """The service is up; or, after `reloading`, works with its new configuration."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(*_status(text))

    def reloading(self, status: str = "") -> bool:
        """The configuration is read again; `ready` must follow, also when it was refused."""
        now = f"MONOTONIC_USEC={int(self.monotonic() * 1e6)}"
        return self._send("RELOADING=1", now, *_status(status))

    def stopping(self, status: str = "") -> bool:
        """The service is about to end."""
        return self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> bool:
        """The service is alive; due at least once in `watchdog_timeout` seconds."""
        return self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Starting, stopping or reloading goes on: so many seconds from now to the next word."""
        return self._send(f"EXTEND_TIMEOUT_USEC={max(1, int(seconds * 1e6))}")

    def _send(self, *lines: str) -> bool:
        if not self.address or not lines:
            return False
        return _send_datagram(_socket_name(self.address), "\n".join(lines).encode())


def watchdog_timeout(environ: Mapping[str, str], pid: int) -> float | None:
    """After how many seconds of silence the manager ends process `pid`; None: it does not watch.

    As sd_watchdog_enabled(3): WATCHDOG_USEC counts for the process that WATCHDOG_PID names, or for
    any when it is not set. A service says `watchdog` at half of it.
    """
    usec, owner = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not re.fullmatch(r"[0-9]{1,18}", usec, re.ASCII) or int(usec) == 0:
        return None
    return int(usec) / 1e6 if owner in ("", str(pid)) else None


def is_journal_stream(environ: Mapping[str, str], descriptor: int = 2) -> bool:
    """Whether the descriptor is the stream to the journal that JOURNAL_STREAM names as DEV:INODE.

    The variable alone says nothing: a child whose output was redirected inherits it.
    """
    try:
        status = os.fstat(descriptor)
    except (OSError, ValueError, OverflowError):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def booted() -> bool:
    """Whether systemd runs this machine, as sd_booted(3) tells it."""
    return Path("/run/systemd/system").is_dir()


def send_entry(fields: Mapping[str, str | bytes | int], place: Path = JOURNAL_SOCKET) -> bool:
    """Write one entry to the journal; whether it took it.

    Names that are no field names are left out: upper case letters, digits and `_`, beginning with a
    letter (`_` first is the journal's own). Values may hold any bytes. An entry that is too large
    for a datagram goes as a sealed memory file.
    """
    data = encode_entry(fields)
    if not data:
        return False
    name = _socket_name(str(place))
    with suppress(_TooLargeError):
        return _send_datagram(name, data, tell_size=True)
    try:
        descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return False
    try:
        with suppress(OSError):
            _write_all(descriptor, data)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            return _send_datagram(name, b"", descriptor=descriptor)
        return False
    finally:
        os.close(descriptor)


def encode_entry(fields: Mapping[str, str | bytes | int]) -> bytes:
    """The bytes of an entry; empty when there is no field that can be written."""
    return b"".join(_encode_fields(fields))


def _encode_fields(fields: Mapping[str, str | bytes | int]) -> Iterator[bytes]:
    for name, value in fields.items():
        if not _FIELD_NAME.fullmatch(name):
            continue
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")
        if len(data) > MAX_VALUE_BYTES:
            data = data[: MAX_VALUE_BYTES - len(_CUT)] + _CUT
        if b"\n" in data:
            yield name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            yield name.encode() + b"=" + data + b"\n"


class _TooLargeError(Exception):
    """The kernel does not take a datagram of this size."""


def _send_datagram(
    name: bytes, data: bytes, *, descriptor: int | None = None, tell_size: bool = False
) -> bool:
    """Send to a unix socket; False for every failure but, with `tell_size`, one of size."""
    rights = [] if descriptor is None else [descriptor]
    packed = struct.pack(f"{len(rights)}i", *rights)
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if rights else []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(_SEND_TIMEOUT_S)
            sender.sendmsg([data], control, 0, name)
    except OSError as error:
        if tell_size and error.errno in (errno.EMSGSIZE, errno.ENOBUFS):
            raise _TooLargeError from error
        return False
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _socket_name(address: str) -> bytes:
    """An address for the kernel: `@` stands for the zero byte of an abstract name."""
    name = os.fsencode(address)
    return b"\0" + name[1:] if name.startswith(b"@") else name


def _status(text: str) -> tuple[str, ...]:
    """The STATUS line, on one line whatever the text holds, and short."""
    line = "".join(c if c.isprintable() else " " for c in text)
    cut = line.encode("utf-8", "replace")[:MAX_STATUS_BYTES].decode("utf-8", "ignore")
    return (f"STATUS={cut}",) if cut else ()
