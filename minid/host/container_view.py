"""What runs in the containers of this process namespace, as /proc has it."""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def contained_processes() -> list[dict[str, Any]]:
    """Processes in containers: `pid` as they see it, `comm`, `first` (the first word of the command
    line, which programs rewrite), `uid` (the real one)."""
    rows = []
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError, LookupError):
            status = _read_status(pid)
            if len(status["NSpid"]) < 2 or status["State"][0] in "ZX":
                continue
            with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                first = file.read(4096).partition("\0")[0]
            row = {"pid": int(status["NSpid"][-1]), "comm": " ".join(status["Name"])}
            rows.append(row | {"first": first, "uid": int(status["Uid"][0])})
    return rows


def mapped_files() -> set[str]:
    """Files that processes in containers have mapped as code."""
    found: set[str] = set()
    for pid in _pids():
        with contextlib.suppress(OSError, LookupError):
            if len(_read_status(pid)["NSpid"]) < 2:
                continue
            with open(f"/proc/{pid}/maps", errors="replace") as file:
                rows = (line.rstrip("\n").split(maxsplit=5) for line in file)
                found |= {r[5] for r in rows if len(r) == 6 and "x" in r[1] and r[5][0] == "/"}
    return found


def _pids() -> Iterator[str]:
    return (name for name in os.listdir("/proc") if name.isdigit())


def _read_status(pid: str) -> dict[str, list[str]]:
    """The words of each line of /proc/PID/status, see proc(5)."""
    with open(f"/proc/{pid}/status", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: words.split() for name, _, words in pairs}
