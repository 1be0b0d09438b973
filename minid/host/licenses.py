"""The licence files at the top of an unpacked source."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from minid.formats.license_text import MAX_BYTES, is_license_name, license_digest

_MAX_FILES = 40


def read_licenses(source: Path) -> dict[str, str]:
    """By name, a digest of what each says (`formats.license_text`). Links are passed over."""
    names = sorted(path.name for path in source.iterdir() if is_license_name(path.name))
    found = {name: _read(source / name) for name in names[:_MAX_FILES]}
    return {name: license_digest(data) for name, data in found.items() if data is not None}


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
