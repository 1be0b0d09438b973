"""Asking the service over its socket, for commands that may find one or not.

What a command needs only where there is one is loaded only then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minid.config import Config
from minid.errors import HostError, NoDaemonError, StoreError
from minid.host.unix_socket import socket_address
from minid.store.lock import lock_holder

if TYPE_CHECKING:
    import socket

    from minid.daemon.requests import Request

# How long a service that holds the lock may take until it listens, or until it is gone.
_COMING_S = 10.0
_CONNECT_S = 10.0
_ANSWER_S = 60.0
_MAX_ANSWER_BYTES = 64 << 20

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Daemon:
    """A service that listens at `path`."""

    path: Path

    def ask(
        self, request: Request, *, patient: bool = False, within_s: float = _ANSWER_S
    ) -> Iterator[Answer]:
        """The answers, as they come, without the closing one; `daemon.requests` says which.

        The service's error is raised as what it is. StoreError where the service ends meanwhile,
        or, unless `patient`, says nothing for `within_s`. Closing the iterator hangs up.
        """
        from minid.daemon.requests import parse_error, request_line

        try:
            with _connected(self.path) as plug, plug.makefile("rb") as stream:
                plug.settimeout(None if patient else within_s)
                plug.sendall(request_line(request))
                while line := stream.readline(_MAX_ANSWER_BYTES):
                    answer = _parse_answer(self.path, line)
                    if "error" in answer and "event" not in answer:
                        raise parse_error(answer["error"])
                    if answer == {"done": True}:
                        return
                    yield answer
        except TimeoutError:
            raise StoreError(
                f"{self.path}: expected the service to answer within {within_s:g} s, got nothing",
                hint="it may be stopped or very busy",
            ) from None
        except OSError as error:
            raise _ended(self.path) from error
        raise _ended(self.path)

    def ask_once(
        self, request: Request, *, patient: bool = False, within_s: float = _ANSWER_S
    ) -> Answer:
        """The only answer to a request that has one."""
        answers = list(self.ask(request, patient=patient, within_s=within_s))
        if not answers:
            raise StoreError(f"{self.path}: expected an answer of the service, got none")
        return answers[-1]


def _ended(path: Path) -> StoreError:
    return StoreError(
        f"{path}: the service ended before it had answered",
        hint="`minid status` shows what became of it",
    )


def _parse_answer(path: Path, line: bytes) -> Answer:
    import json

    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise StoreError(f"{path}: expected the service's answer in JSON, got something else")
    return answer


def connect(path: Path) -> socket.socket:
    """A connection to whoever listens at `path`; OSError as the kernel has it, TimeoutError where
    it takes none for a while."""
    import socket
    import struct

    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # A socket with a timeout of Python's does not wait in a long queue at all.
        wait = struct.pack("ll", int(_CONNECT_S), 0)
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        with socket_address(path) as address:
            plug.connect(address)
    except BlockingIOError as error:
        plug.close()
        raise TimeoutError(f"{path}: expected to be connected within {_CONNECT_S:g} s") from error
    except BaseException:
        plug.close()
        raise
    return plug


def find_daemon(config: Config, *, wait: bool = True) -> Daemon | None:
    """The service of this working folder, or None where none runs.

    With `wait`, one that is about to listen is waited for, and StoreError comes where it holds the
    store and does not come to listen. HostError where it does not let this user ask.
    """
    path = config.socket
    end = time.monotonic() + _COMING_S
    while True:
        if _listens(path):
            return Daemon(path)
        if not wait:
            return None
        pid, _, role = lock_holder(config.paths.state / "lock").partition(" ")
        if role != "daemon":
            return None
        if time.monotonic() > end:
            raise StoreError(
                f"{path}: expected the service (process {pid}) to listen, got nobody",
                hint="it may be ending, or have another configuration than this command",
            )
        time.sleep(0.05)


def need_daemon(config: Config) -> Daemon:
    """The service; NoDaemonError where none runs."""
    found = find_daemon(config)
    if found is None:
        raise NoDaemonError(
            f"{config.socket}: no daemon is running",
            hint="`minid daemon` starts it, or `systemctl start minid`",
        )
    return found


def refuse_beside_daemon(config: Config, command: str) -> None:
    """StoreError where a service runs: it alone writes then, and nobody waits for its end."""
    if find_daemon(config) is not None:
        pid = lock_holder(config.paths.state / "lock").partition(" ")[0]
        raise StoreError(
            f"{command}: expected to write to the store, got a daemon (process {pid}) that does",
            hint="`minid build` goes through the daemon, which fetches what it needs",
        )


def _listens(path: Path) -> bool:
    try:
        path.lstat()
        _connected(path).close()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise _closed(path, error) from error
    return True


def _connected(path: Path) -> socket.socket:
    """A connection; what keeps this user or machine from having one in words. Where nobody listens
    the OSError comes as it is."""
    try:
        return connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise
    except TimeoutError:
        raise StoreError(
            f"{path}: expected the service to listen, got no answer in {_CONNECT_S:g} s",
            hint="it may be stopped or very busy",
        ) from None
    except PermissionError as error:
        raise _closed(path, error) from error
    except OSError as error:
        raise HostError(f"{path}: expected a socket, got {error.strerror or error}") from error


def _closed(path: Path, error: OSError) -> HostError:
    return HostError(
        f"{path}: expected to be let in by the daemon, got {error.strerror}",
        hint=f"members of its group may ask: usermod -aG {_group_of(path)} USER, then a new login",
    )


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except (OSError, KeyError):
        return "GROUP"
