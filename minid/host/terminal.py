"""This process's own terminal, handed through to a program that has another one."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import tty
from contextlib import suppress
from types import FrameType

_PIECE = 1 << 16
_DRAIN_MS = 500


def has_terminal() -> bool:
    """Whether standard input and standard output are a terminal."""
    return os.isatty(0) and os.isatty(1)


def hand_through(master: int, ended: int) -> None:
    """Pass keys to the pseudo terminal `master` and its output back, and every change of size,
    until `ended` can be read and the output is through. Closes `master`.

    This process's terminal sends no signals meanwhile: the program's does. SIGTERM puts it back as
    it was and raises KeyboardInterrupt.
    """
    before = termios.tcgetattr(0)

    def resize(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, resize),
        signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
        signal.SIGHUP: signal.signal(signal.SIGHUP, stop),
    }
    try:
        tty.setraw(0)
        resize(signal.SIGWINCH, None)
        _pump(master, ended)
    finally:
        os.close(master)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _pump(master: int, ended: int) -> None:
    poll = select.poll()
    for one in (0, master, ended):
        poll.register(one, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if 0 in ready:
            keys = _read(0)
            if keys:
                _write(master, keys)
            else:
                poll.unregister(0)
        if master in ready:
            output = _read(master)
            if output:
                _write(1, output)
            else:
                poll.unregister(master)
        if ended in ready:
            _drain(master)
            return


def _drain(master: int) -> None:
    """What the program wrote last."""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    while poll.poll(_DRAIN_MS) and (output := _read(master)):
        _write(1, output)


def _read(descriptor: int) -> bytes:
    """Some bytes; none when the other end is gone (EIO, for a pseudo terminal)."""
    try:
        return os.read(descriptor, _PIECE)
    except OSError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except OSError:
            return
