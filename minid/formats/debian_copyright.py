"""The licences of a Debian package, from its copyright file.

Source of the format: "Machine-readable debian/copyright file", version 1.0 (DEP 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from minid.formats.spdx_license import debian_license, license_ref

MAX_BYTES = 2 << 20
_MAX_LICENSES = 40
_MAX_TEXT = 4000
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)")


def read_copyright(data: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The licences of all files together as an SPDX expression, and the text of each `LicenseRef-`
    in it. Both empty where the file is not machine-readable, or names too many to be told."""
    text = data[:MAX_BYTES].decode("utf-8", "replace")
    paragraphs = list(_paragraphs(text))
    if not paragraphs or "copyright-format" not in paragraphs[0].get("format", ""):
        return "", ()
    texts: dict[str, str] = {}
    names = []
    for paragraph in paragraphs:
        name, _, body = paragraph.get("license", "").partition("\n")
        if body.strip():
            texts.setdefault(name.strip().lower(), body.strip())
        # What is under debian/ is the packaging, which no binary has.
        if name.strip() and _is_about_program(paragraph):
            names.append(name.strip())
    found = [debian_license(name) for name in dict.fromkeys(names)]
    parts = sorted({expression for expression, _ in found})
    if not parts or len(parts) > _MAX_LICENSES:
        return "", ()
    grouped = [f"({part})" if " " in part and len(parts) > 1 else part for part in parts]
    unknown = sorted({name for _, unknown in found for name in unknown})
    refs = {license_ref(name): texts.get(name.lower(), name)[:_MAX_TEXT] for name in unknown}
    return " AND ".join(grouped), tuple(sorted(refs.items()))


def _is_about_program(paragraph: dict[str, str]) -> bool:
    files = paragraph.get("files", "").split()
    return bool(files) and not all(name.startswith("debian/") for name in files)


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields by lower-case name; lines that follow are joined with newlines."""
    fields: dict[str, list[str]] = {}
    name = ""
    for line in text.split("\n"):
        if not line.strip():
            if fields:
                yield _joined(fields)
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                stripped = line.strip()
                fields[name].append("" if stripped == "." else stripped)
        elif found := _FIELD.match(line):
            name = found[1].lower()
            fields[name] = [found[2].strip()]
    if fields:
        yield _joined(fields)


def _joined(fields: dict[str, list[str]]) -> dict[str, str]:
    return {name: "\n".join(lines) for name, lines in fields.items()}
