"""SPDX licence expressions (SPDX 2.3, annex D), and Debian's short names as such.

What is no identifier of the list becomes a `LicenseRef-`, so that an expression is always valid.
"""

from __future__ import annotations

import re

from minid.formats.spdx_ids import EXCEPTIONS, LICENSES

_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_REF = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_LONGEST = 2000
_DEEPEST = 20
_LICENSES = {name.lower(): name for name in sorted(LICENSES)}
_EXCEPTIONS = {name.lower(): name for name in sorted(EXCEPTIONS)}
# Debian's names (copyright-format 1.0, "License specification") that are spelled otherwise.
_DEBIAN = {
    "expat": "MIT",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0",
    "mpl-1.1": "MPL-1.1",
    "mpl-2": "MPL-2.0",
    "isc": "ISC",
    "zlib/libpng": "Zlib",
    "openldap-2.8": "OLDAP-2.8",
    "psf-2": "PSF-2.0",
    "python": "Python-2.0",
}
_GNU = re.compile(r"(a?gpl|lgpl|gfdl)(?:-v?(\d+(?:\.\d+)?))(\+)?")


def license_ref(text: str) -> str:
    """A `LicenseRef-` for a licence that has no identifier."""
    bare = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:60]
    return f"LicenseRef-{bare or 'unnamed'}"


def read_expression(text: str) -> str | None:
    """The expression in the list's spelling; None for what is none."""
    tokens = _TOKEN.findall(text) if len(text) <= _LONGEST else []
    reader = _Reader(tokens)
    found = reader.alternatives(0) if tokens else None
    return found if found and not reader.rest else None


def need_expression(text: str) -> tuple[str, tuple[str, ...]]:
    """An expression for any text, and the texts that got a `LicenseRef-` in it; both empty for
    empty text."""
    if not text.strip():
        return "", ()
    found = read_expression(text)
    return (found, ()) if found else (license_ref(text), (text,))


def debian_license(text: str) -> tuple[str, tuple[str, ...]]:
    """The first line of a License field of a Debian copyright file as an expression, and the short
    names that got a `LicenseRef-` in it."""
    unknown: list[str] = []
    # A comma before a word changes what binds closer: `A or B, and C` is `(A or B) and C`.
    parts = re.split(r",\s*(and|or)\s+", text.strip()[:_LONGEST], flags=re.IGNORECASE)
    done = _debian_part(parts[0], unknown)
    for word, part in zip(parts[1::2], parts[2::2], strict=True):
        done = f"{_grouped(done)} {word.upper()} {_grouped(_debian_part(part, unknown))}"
    return done, tuple(dict.fromkeys(unknown))


def _grouped(expression: str) -> str:
    return f"({expression})" if " AND " in expression or " OR " in expression else expression


def _debian_part(text: str, unknown: list[str]) -> str:
    pieces = re.split(r"\s+(and|or)\s+", text.strip(" ,"), flags=re.IGNORECASE)
    words = [pieces[0], *pieces[1:]]
    return " ".join(
        word.upper() if position % 2 else _debian_name(word, unknown)
        for position, word in enumerate(words)
    )


def _debian_name(name: str, unknown: list[str]) -> str:
    lowered = name.strip().lower()
    gnu = _GNU.fullmatch(lowered)
    if gnu:
        number = gnu[2] if "." in gnu[2] else f"{gnu[2]}.0"
        ending = "-or-later" if gnu[3] else "-only"
        listed = _LICENSES.get(f"{gnu[1]}-{number}{ending}")
        if listed:
            return listed
    listed = _DEBIAN.get(lowered) or _LICENSES.get(lowered)
    if listed:
        return listed
    unknown.append(name.strip())
    return license_ref(name)


class _Reader:
    """A recursive descent over the tokens; each method gives None where its rule does not hold."""

    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens[::-1]

    def alternatives(self, depth: int) -> str | None:
        return self._joined("OR", depth)

    def _joined(self, word: str, depth: int) -> str | None:
        parts = []
        while True:
            part = self._joined("AND", depth) if word == "OR" else self._single(depth)
            if part is None:
                return None
            parts.append(part)
            if not self.rest or self.rest[-1].upper() != word:
                return f" {word} ".join(parts)
            self.rest.pop()

    def _single(self, depth: int) -> str | None:
        word = self.rest.pop() if self.rest else ""
        if word == "(":
            inner = self.alternatives(depth + 1) if depth < _DEEPEST else None
            closed = bool(self.rest) and self.rest.pop() == ")"
            return f"({inner})" if inner and closed else None
        if _REF.fullmatch(word):
            return word
        bare = word.removesuffix("+")
        name = _LICENSES.get(word.lower()) or _LICENSES.get(bare.lower())
        if name is None:
            return None
        name += "+" if word.lower() not in _LICENSES else ""
        if self.rest and self.rest[-1].upper() == "WITH":
            self.rest.pop()
            exception = _EXCEPTIONS.get(self.rest.pop().lower()) if self.rest else None
            return f"{name} WITH {exception}" if exception else None
        return name
