"""Progress of builds: a block that is redrawn on a terminal, plain lines anywhere else."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TextIO

from minid.cli.words import is_terminal, printable
from minid.cli.words import seconds as say_seconds
from minid.formats.quantity import format_size
from minid.report import Reporter, Silence

_REDRAW_S = 0.1
# What is over before a person could have read it needs no line of its own in a log.
_WORTH_A_LINE_S = 0.05


class Progress(Reporter, AbstractContextManager["Progress"], Protocol):
    """A reporter that is open while builds run."""


def make_reporter(*, quiet: bool, verbose: bool) -> Progress:
    """The reporter that fits standard error and the options."""
    if quiet:
        return Quiet()
    if is_terminal() and not verbose:
        return Live(sys.stderr)
    return Plain(sys.stderr, verbose=verbose)


class Quiet(Silence):
    """Shows nothing but notes, which are kept for the outcome."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Plain:
    """One line when a stage begins to work and one when it ends: for pipes and logs."""

    def __init__(self, stream: TextIO, *, verbose: bool) -> None:
        self._stream = stream
        self._verbose = verbose
        self._lock = threading.Lock()
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _say(self, text: str) -> None:
        with self._lock:
            print(text, file=self._stream, flush=True)

    def stage_started(self, recipe: str, stage: str) -> None:
        """Say that a stage of some length begins."""
        self._last.pop(recipe, None)
        if stage in ("environment", "compile", "fetch"):
            self._say(f"{recipe}: {stage} ...")

    def stage_finished(self, recipe: str, stage: str, seconds: float, *, cached: bool) -> None:
        """Say how long it took, with the last line of its log."""
        if cached or seconds < _WORTH_A_LINE_S:
            return
        last = self._last.get(recipe, "") if stage == "compile" else ""
        tail = f"  | {last[:100]}" if last else ""
        self._say(f"{recipe}: {stage} {say_seconds(seconds)}{tail}")

    def log_line(self, recipe: str, line: str) -> None:
        """Keep the last line; with --verbose, show it."""
        if self._verbose:
            self._say(f"{recipe} | {printable(line)}")
        elif line.strip() and not line.startswith("=="):
            self._last[recipe] = printable(line.strip())

    def fetched(self, recipe: str, file_name: str, done: int, total: int | None) -> None:
        """Nothing: a log wants the end, not the way."""

    def note(self, recipe: str, text: str) -> None:
        """Show it."""
        self._say(f"{recipe}: note: {printable(text)}")


@dataclass(slots=True)
class _Row:
    """What one recipe does now."""

    stage: str
    began: float
    line: str = ""
    done: str = ""


class Live:
    """A block of one line a recipe: its stage, seconds, last log line; redrawn all the time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows: dict[str, _Row] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._drawn = 0
        self._painter = threading.Thread(target=self._paint, daemon=True)

    def __enter__(self) -> Self:
        self._painter.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._painter.join()
        with self._lock:
            self._erase()
            self._stream.flush()

    def stage_started(self, recipe: str, stage: str) -> None:
        """Begin a row."""
        with self._lock:
            done = self._rows[recipe].done if recipe in self._rows else ""
            self._rows[recipe] = _Row(stage, time.monotonic(), done=done)

    def stage_finished(self, recipe: str, stage: str, seconds: float, *, cached: bool) -> None:
        """Note the stage as done."""
        with self._lock:
            row = self._rows.setdefault(recipe, _Row(stage, time.monotonic()))
            if not cached and seconds >= _WORTH_A_LINE_S:
                row.done += f" {stage} {seconds:.1f}"
            row.stage, row.line = "", ""

    def log_line(self, recipe: str, line: str) -> None:
        """Show it as the row's last line."""
        row = self._rows.get(recipe)
        if row is not None and line.strip():
            row.line = line.strip()

    def fetched(self, recipe: str, file_name: str, done: int, total: int | None) -> None:
        """Show how far it is."""
        row = self._rows.get(recipe)
        if row is not None:
            of = f" of {format_size(total)}" if total else ""
            row.line = f"{file_name}: {format_size(done)}{of}"

    def note(self, recipe: str, text: str) -> None:
        """Print it above the block."""
        with self._lock:
            self._erase()
            self._stream.write(f"{recipe}: note: {printable(text)}\n")
            self._stream.flush()

    def _paint(self) -> None:
        while not self._stop.wait(_REDRAW_S):
            with self._lock:
                self._erase()
                self._draw()
                self._stream.flush()

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        now = time.monotonic()
        lines = []
        for recipe, row in self._rows.items():
            if row.stage:
                text = f"{recipe:<12} {row.stage:<11} {now - row.began:6.1f} s  {row.line}"
            else:
                text = f"{recipe:<12} done       {row.done}"
            lines.append(printable(text)[:width])
        self._stream.write("".join(line + "\n" for line in lines))
        self._drawn = len(lines)

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0
