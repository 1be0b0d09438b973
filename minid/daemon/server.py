"""The service's socket: one request a connection, answers as lines of JSON.

What a request means is the handler's. This keeps askers apart: none can hold up the service or
another asker, however it behaves. See `daemon.requests` for what goes over the wire.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol, Self

from minid.daemon.requests import MAX_REQUEST_BYTES, WATCHING, Request, parse_request
from minid.errors import HostError, MinidError, StoreError, UsageError
from minid.host.unix_socket import socket_address

MAX_CONNECTIONS = 700
IDLE_S = 30.0
STALL_S = 10.0
_MAX_UNSENT_BYTES = 256 << 10
_HANG_UP_POLL_S = 0.5
_BACKLOG = 512

Answer = Mapping[str, object]


class Handler(Protocol):
    """What answers. Runs on the server's event loop and must not block it."""

    def handle(self, request: Request) -> AsyncIterator[Answer]:
        """The answers to a request, without the closing one; a MinidError becomes the last."""


class _GoneError(Exception):
    """The asker has hung up, or does not read."""


def _no_fault(error: BaseException) -> None:
    del error


class Server:
    """Listens at a path as long as it is open. Use as an asynchronous context manager.

    The socket's mode is 0660, which the kernel holds askers to: root, the service's own user and
    the members of the socket's group. `on_fault` is told what a handler raised that is no
    MinidError. An asker that sends no request within `idle_s`, or lets its answers pile up for
    `stall_s`, is dropped.
    """

    def __init__(
        self,
        path: Path,
        handler: Handler,
        *,
        on_fault: Callable[[BaseException], None] = _no_fault,
        idle_s: float = IDLE_S,
        stall_s: float = STALL_S,
    ) -> None:
        self.path = path
        self._handler = handler
        self._on_fault = on_fault
        self._idle_s = idle_s
        self._stall_s = stall_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._closing = False

    async def __aenter__(self) -> Self:
        listener = listen(self.path)
        self._own = os.lstat(self.path)
        self._server = await asyncio.start_unix_server(
            self._accept, sock=listener, limit=MAX_REQUEST_BYTES, backlog=_BACKLOG
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening, tell those who wait, and take the socket away."""
        self._closing = True
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OSError):
            now = os.lstat(self.path)
            if (now.st_dev, now.st_ino) == (self._own.st_dev, self._own.st_ino):
                self.path.unlink()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            if not self._idle:
                writer.transport.abort()
                return
            # Whoever came first and has asked nothing makes room.
            self._idle.pop(next(iter(self._idle))).transport.abort()
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        self._idle[task] = writer
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._idle.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_fault(error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        try:
            await self._converse(reader, writer)
            writer.close()
            async with asyncio.timeout(self._stall_s):
                await writer.wait_closed()
        except (_GoneError, OSError, TimeoutError):
            pass
        except asyncio.CancelledError:
            if self._closing:
                error = StoreError("the service ends", hint="ask again when it is back")
                _write(writer, {"error": error.as_json() | {"retryable": True}})
                writer.close()
                return
            raise
        finally:
            if not (self._closing and writer.is_closing()):
                writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the request and send its answers; _GoneError where the asker fails."""
        try:
            request = await self._read_request(reader)
            await self._answer(request, reader, writer)
        except MinidError as error:
            await self._send(writer, {"error": error.as_json()})
        else:
            await self._send(writer, {"done": True})

    async def _read_request(self, reader: asyncio.StreamReader) -> Request:
        try:
            async with asyncio.timeout(self._idle_s):
                line = await reader.readline()
        except ValueError:
            raise UsageError(
                f"request: expected at most {MAX_REQUEST_BYTES} bytes, got more"
            ) from None
        except (OSError, TimeoutError):
            raise _GoneError from None
        task = asyncio.current_task()
        assert task is not None
        self._idle.pop(task, None)
        if not line:
            raise _GoneError
        return parse_request(line)

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not isinstance(request, WATCHING):
            # What was asked for happens, whether or not the asker stays to hear of it.
            await self._send_all(request, writer)
            return
        loop = asyncio.get_running_loop()
        answering = loop.create_task(self._send_all(request, writer))
        hearing = loop.create_task(_hung_up(reader, writer))
        try:
            await asyncio.wait({answering, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise _GoneError
            await answering
        finally:
            for task in (answering, hearing):
                task.cancel()
            await asyncio.gather(answering, hearing, return_exceptions=True)

    async def _send_all(self, request: Request, writer: asyncio.StreamWriter) -> None:
        gone = False
        try:
            answers = self._handler.handle(request)
            async with aclosing(answers):  # type: ignore[type-var]
                async for answer in answers:
                    if gone:
                        continue
                    try:
                        await self._send(writer, answer)
                    except _GoneError:
                        if isinstance(request, WATCHING):
                            raise
                        gone = True
        except (MinidError, _GoneError):
            raise
        except Exception as error:
            self._on_fault(error)
            raise MinidError(
                f"{type(request).__name__.lower()}: the service failed: {type(error).__name__}",
                hint="this is a fault of minid: the service's log has the rest",
            ) from error

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        """Send one answer; _GoneError where the asker is gone or does not read."""
        _write(writer, answer)
        try:
            async with asyncio.timeout(self._stall_s):
                await writer.drain()
        except (OSError, TimeoutError):
            raise _GoneError from None


def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(json.dumps(answer, default=str).encode() + b"\n")


async def _hung_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return once the asker is gone. One that only has nothing more to say is not."""
    while await reader.read(4096):
        pass
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), 0)  # tells POLLHUP at least
    while not poll.poll(0):
        await asyncio.sleep(_HANG_UP_POLL_S)


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0660, in place of one that a killed service left.

    Only the holder of the writer's lock may call this: nobody else can own what is there.
    HostError where something else is in the way, or the folder does not let it be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with socket_address(path) as address:
            _remove_stale(path)
            listener.bind(address)
            Path(address).chmod(0o660)  # before anybody can connect
            listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise HostError(
            f"{path}: expected to listen there, got {error.strerror or error}",
            hint="daemon.socket in config.toml names another place",
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise HostError(f"{path}: expected a socket or nothing, got something else")
    path.unlink()
