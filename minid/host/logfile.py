"""Build logs: files that grow line by line while a build runs, each line with its number."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

_MAX_LINE = 1 << 16


class LogFile:
    """A log being written at `path`. Bytes come in any pieces; `on_line` sees each whole line.

    Bytes of a program are kept as they are, but for the numbers; who shows them escapes them. A
    line longer than 64 KiB is broken up, so that memory stays small.
    """

    def __init__(self, path: Path, on_line: Callable[[str], None] = lambda _line: None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("wb")
        self._on_line = on_line
        self._partial = b""
        self._number = 0
        self._tail: deque[str] = deque(maxlen=40)
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Take what a program wrote."""
        with self._lock:
            *lines, last = (self._partial + data).split(b"\n")
            *broken, self._partial = _break_up(last)
            self._put([piece for line in lines for piece in _break_up(line)] + broken)

    def say(self, text: str) -> None:
        """Write a line of minid's own, on a line of its own."""
        with self._lock:
            lines = [self._partial] if self._partial else []
            self._partial = b""
            self._put(lines + text.encode("utf-8", "backslashreplace").split(b"\n"))

    def _put(self, lines: list[bytes]) -> None:
        for line in lines:
            self._number += 1
            self._file.write(b"%6d  %s\n" % (self._number, line))
            text = line.decode("utf-8", "replace")
            self._tail.append(text)
            self._on_line(text)
        if lines:
            self._file.flush()

    def tail(self) -> tuple[str, ...]:
        """The last forty lines."""
        with self._lock:
            last = (self._partial.decode("utf-8", "replace"),) if self._partial else ()
            return (*self._tail, *last)[-40:]

    def close(self) -> None:
        """Write what is left of the last line, and close the file."""
        with self._lock:
            if self._partial:
                self._put([self._partial])
                self._partial = b""
            self._file.close()


def _break_up(line: bytes) -> list[bytes]:
    return [line[start : start + _MAX_LINE] for start in range(0, len(line) or 1, _MAX_LINE)]


def printable(line: str) -> str:
    """`line` with control characters and bidirectional marks escaped: logs are hostile. Bytes that
    are no UTF-8 (os.fsdecode's) are shown as such."""
    if line.isprintable():
        return line
    return "".join(
        character if character.isprintable() or character == "\t" else _escape(ord(character))
        for character in line
    )


def _escape(code: int) -> str:
    return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"


def iterate_lines(path: Path) -> Iterator[str]:
    """The lines of a log file, numbers and all, decoded with replacement."""
    with path.open("rb") as file:
        for line in file:
            yield line.rstrip(b"\n").decode("utf-8", "replace")
