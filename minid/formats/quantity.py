"""Sizes and durations as people write them: `7 MB`, `2 GiB`, `30 min`. Pure, text to number."""

from __future__ import annotations

import math
import re

_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_PATTERN = r"[0-9]{1,15}(\.[0-9]{1,6})? ?(B|[kKMGT]B|[KMGT]iB)"
TIME_PATTERN = r"[0-9]{1,9}(\.[0-9]{1,6})? ?(ms|s|min|h|d)"
_MAX_SIZE = (1 << 63) - 1
_MAX_SECONDS = 366 * 86400.0


def parse_size(value: int | str) -> int:
    """Bytes from an integer or a text with a unit; kB, MB are decimal, KiB, MiB binary.

    ValueError unless the size is at least one byte and fits 63 bits.
    """
    if isinstance(value, str):
        if not re.fullmatch(SIZE_PATTERN, value):
            raise ValueError(f"expected a size with a unit, got {value!r}")
        unit = value.lstrip("0123456789. ")
        size = round(float(value.removesuffix(unit)) * _SIZE_UNITS[unit])
    else:
        size = value
    if not 0 < size <= _MAX_SIZE:
        raise ValueError(f"expected a size of one byte or more, got {value!r}")
    return size


def parse_duration(value: float | str) -> float:
    """Seconds from a number or a text with a unit (ms, s, min, h, d).

    ValueError unless the duration is more than nothing and at most a year.
    """
    seconds = parse_pause(value)
    if seconds == 0:
        raise ValueError(f"expected a duration of more than nothing, got {value!r}")
    return seconds


def parse_pause(value: float | str) -> float:
    """As `parse_duration`, and it may be nothing."""
    if isinstance(value, str):
        if not re.fullmatch(TIME_PATTERN, value):
            raise ValueError(f"expected a duration with a unit, got {value!r}")
        unit = value.lstrip("0123456789. ")
        seconds = float(value.removesuffix(unit)) * _TIME_UNITS[unit]
    else:
        seconds = float(value)
    if not (math.isfinite(seconds) and 0 <= seconds <= _MAX_SECONDS):
        raise ValueError(f"expected a duration of at most a year, got {value!r}")
    return seconds


def format_size(size_bytes: int) -> str:
    """A size for people, in decimal units with three digits: `11.6 MB`, `985 kB`, `12 B`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError("unreachable")
