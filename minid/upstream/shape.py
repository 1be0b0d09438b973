"""Versions that do not look like the ones before: mistaken tags, dates, other numbering."""

from __future__ import annotations

import re

from minid.formats.version import component

_DATE = re.compile(
    r"(?<![0-9])(?:19|20)[0-9]{6,12}(?![0-9])"  # 20160708
    r"|^v?(?:19[89]|20[0-9])[0-9](?![0-9])"  # 2024.1
    # 21.03.21, 2016-07-08
    r"|(?<![0-9])(?:19|20)?[0-9]{2}([._-])(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])(?![0-9])"
)
_ZERO_LED = re.compile(r"(?<![0-9])0[0-9]")
_SEVERAL = re.compile(r"[0-9][^0-9]+[0-9]")
_MORE_CHARACTERS = 12


def shape_reason(version: str, current: str) -> str:
    """How `version` looks unlike `current`, or nothing where it does not."""
    # 10.11.10 after 10.11.9 is none, although it could be one.
    same_first = component(version, 1) == component(current, 1)
    if not same_first and _DATE.search(version) and not _DATE.search(current):
        return f"looks like a date, {current} does not"
    if _SEVERAL.search(current) and not _SEVERAL.search(version):
        return f"has one number, {current} has several"
    if _ZERO_LED.search(version) and not _ZERO_LED.search(current):
        return f"has a number with a leading zero, {current} has none"
    if len(version) > len(current) + _MORE_CHARACTERS:
        return f"is more than {_MORE_CHARACTERS} characters longer than {current}"
    return ""


def jump_reason(version: str, current: str, max_jump: int) -> str:
    """How far the first number goes up, where that is further than `max_jump`."""
    new, old = component(version, 1), component(current, 1)
    if new is None or old is None or new - old <= max_jump:
        return ""
    return (
        f"its first number goes up by {new - old}, from {old} to {new}, and max_jump is {max_jump}"
    )
