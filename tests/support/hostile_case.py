"""What must become of one archive, and the test of it."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """`refused` is a pattern that the error must match; empty: it unpacks and `holds` these.

    `holds` maps a path to a file's bytes, to `-> text` for a symlink, to `/` for a folder, or to
    an int, the mode it must have.
    """

    name: str
    archive: bytes
    refused: str = ""
    holds: dict[str, bytes | str | int] = field(default_factory=dict)


def assert_holds(case: Case, target: Path) -> None:
    """Fail unless what the case promises lies in `target`."""
    for name, wanted in case.holds.items():
        path = target / name
        if isinstance(wanted, bytes):
            assert not path.is_symlink()
            assert path.read_bytes() == wanted
        elif isinstance(wanted, int):
            assert stat.S_IMODE(path.lstat().st_mode) == wanted
        elif wanted == "/":
            assert stat.S_ISDIR(path.lstat().st_mode)
        else:
            assert str(path.readlink()) == wanted.removeprefix("-> ")
