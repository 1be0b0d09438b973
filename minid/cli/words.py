"""How facts are worded and laid out for people and for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from minid.formats.quantity import format_size
from minid.host.logfile import printable

__all__ = ["ago", "format_size", "print_json", "print_table", "printable", "seconds"]


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
