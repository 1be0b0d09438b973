"""Licence files of a source: which they are, and whether two say the same."""

from __future__ import annotations

import re

from minid.formats.digest import Digest

MAX_BYTES = 1 << 20
_NAME = re.compile(
    r"(?:LICEN[CS]ES?|COPYING|COPYRIGHT|NOTICE|UNLICENSE)"
    r"(?:[._-][A-Za-z0-9.+_-]{1,60})?|(?:GPL|LGPL|MIT|BSD)[._-]?[0-9.]*(?:\.txt)?",
    re.IGNORECASE,
)
_YEARS = re.compile(r"^.*\bcopyright\b.*\d{4}.*$|^.*\(c\)\s*\d{4}.*$", re.IGNORECASE | re.MULTILINE)


def is_license_name(name: str) -> bool:
    """Whether a file at the top of a source is called as licences are."""
    return _NAME.fullmatch(name) is not None


def license_digest(data: bytes) -> str:
    """A digest of what a licence says: without lines of copyright that name a year, which change
    with each of them, and without how its lines are broken."""
    text = _YEARS.sub("", data[:MAX_BYTES].decode("utf-8", "replace"))
    return Digest.of(" ".join(text.split()).encode()).hex
