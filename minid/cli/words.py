"""How facts are worded and laid out for people and for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from minid.formats.quantity import format_size
from minid.host.logfile import printable

__all__ = [
    "ago",
    "clock_time",
    "cut",
    "fit_table",
    "format_size",
    "print_json",
    "print_table",
    "printable",
    "seconds",
]


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns padded to their widest cell, as docker and systemctl do; no header without rows."""
    if not rows:
        return
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        line = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def fit_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The lines of a table within `width` columns: the widest cells are cut, and show it."""
    if not rows:
        return []
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 4:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in cells:
        fitted = (cut(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True))
        lines.append("  ".join(fitted).rstrip())
    return lines


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns."""
    return text if len(text) <= width else text[: width - 1] + "…"


def clock_time(moment: float, now: float) -> str:
    """A moment in local time: `14:02:07` within a day of now, else `2026-05-01 14:02`."""
    near = abs(moment - now) < 86400
    return time.strftime("%H:%M:%S" if near else "%Y-%m-%d %H:%M", time.localtime(moment))


def seconds(value: float) -> str:
    """A duration: `0.12 s`, `51.3 s`, `3 min 20 s`."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 120:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def ago(moment: float, now: float | None = None) -> str:
    """How long ago: `just now`, `5 minutes ago`, `3 days ago`."""
    elapsed = max(0, (time.time() if now is None else now) - moment)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(elapsed // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def is_terminal() -> bool:
    """Whether progress is drawn for a person who watches."""
    return sys.stderr.isatty()
