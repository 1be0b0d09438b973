"""Hostile bytes to a parsed TOML document: the caps that the parser itself does not have."""

from __future__ import annotations

import re
from typing import Any

MAX_BYTES = 1 << 20
MAX_KEY_PARTS = 16
MAX_DEPTH = 32

# Strings and comments. An unclosed one runs on to where it would have to end, so that the scan is
# linear; the parser stops at it anyway, so what it hides is never parsed.
_QUIET = re.compile(
    r'"""[^"\\]*(?:(?:\\[\s\S]|"(?!""))[^"\\]*)*(?:"{3,5}|\Z)'
    r"|'''[\s\S]*?(?:'{3,5}|\Z)"
    r'|"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*"
)
_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")


class TomlError(ValueError):
    """The bytes are no TOML document. `line` is 0 where the trouble has no place.

    The message is worded `expected …, got …`, split in `expected` and `got`.
    """

    def __init__(self, expected: str, got: str, line: int = 0) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got
        self.line = line


def parse_toml(data: bytes) -> dict[str, Any]:
    """Parse a document of at most 1 MiB; TomlError says what is wrong and on which line.

    Parsing time is bounded: dotted keys and nesting are capped before the parser sees them (a key
    of 20,000 parts costs some parsers nine seconds).
    """
    if len(data) > MAX_BYTES:
        raise TomlError("a file of at most 1 MiB", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TomlError("UTF-8 text", f"the byte 0x{data[error.start]:02x}", line) from error
    _refuse_depth(text)
    import tomli

    try:
        return tomli.loads(text)
    except (ValueError, RecursionError) as error:
        raise _syntax_error(str(error), text) from error


def _refuse_depth(text: str) -> None:
    loud = _QUIET.sub("_", text)
    many_parts = any(line.count(".") >= MAX_KEY_PARTS for line in loud.split("\n"))
    if many_parts or loud.count("[") + loud.count("{") > MAX_DEPTH:
        _refuse_depth_at_its_line(text)


def _refuse_depth_at_its_line(text: str) -> None:
    loud = _QUIET.sub(lambda match: "_" + "\n" * match[0].count("\n"), text)
    for number, line in enumerate(loud.split("\n"), start=1):
        if line.count(".") >= MAX_KEY_PARTS and any(
            part.count(".") >= MAX_KEY_PARTS for part in re.split(r"[={},\[\]]", line)
        ):
            raise TomlError(f"a key of at most {MAX_KEY_PARTS} parts", "a longer one", number)
    depth = 0
    for match in re.finditer(r"[\[\]{}]", loud):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        if depth > MAX_DEPTH:
            line_number = loud.count("\n", 0, match.start()) + 1
            raise TomlError(f"nesting of at most {MAX_DEPTH} levels", "more", line_number)


def _syntax_error(message: str, text: str) -> TomlError:
    place = _LINE.search(message)
    if place is None:
        line = text.count("\n") + 1 if "end of document" in message else 0
    else:
        line = int(place.group(1))
    reason = _LINE.sub("", message).strip()
    return TomlError("valid TOML", reason[:1].lower() + reason[1:], line)
