"""The kinds of single values that recipes and config.toml share, each with its strict pattern.

Recipes are hostile bytes: whatever later becomes part of a path, an argument list, a line of passwd
or a tag matches one of these first. Factories give variants; the constants are used as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from minid.formats.digest import Digest
from minid.formats.globs import translate_glob
from minid.formats.quantity import (
    SIZE_PATTERN,
    TIME_PATTERN,
    parse_duration,
    parse_pause,
    parse_size,
)
from minid.formats.table import Array, Pairs, Scalar

_NAME = r"[a-z0-9]+([._-][a-z0-9]+)*"
REFERENCE_PATTERN = (
    r"([a-z0-9]+(?:[.-][a-z0-9]+)*(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
)
"""`[REGISTRY/]NAME:TAG`."""
# Line breaks, other controls, and the marks that make a terminal show text in another order.
_NO_CONTROLS = r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
_SEGMENT = r"(?!\.{1,2}(/|$))(?!\.wh\.)[^/\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
IMAGE_PATH_PATTERN = rf"(/{_SEGMENT}{{1,255}})+"
_FILE_NAME = r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*"
_URL = r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!$%&'()*+,./:;=?@A-Z_a-z{}~0-9-]*)?"
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
PLACEHOLDERS = ("version", "major", "minor", "patch")
_ONLY = "no placeholders but {version}, {major}, {minor}, {patch}"


def text(
    expects: str,
    pattern: str = r"[^\x00]*",
    *,
    longest: int = 4096,
    convert: Callable[[str], object] | None = None,
) -> Scalar:
    """A string that matches `pattern` as a whole; `convert` may refuse it or change it."""

    matches: Callable[[str], object] | None = None

    def check(value: str) -> object:
        nonlocal matches
        if matches is None:
            # At the first use: most commands need few patterns. And kept here, for re forgets.
            matches = re.compile(pattern).fullmatch
        if len(value) > longest or not matches(value):
            raise ValueError(value)
        return value if convert is None else convert(value)

    schema = {"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": longest}
    return Scalar(expects, (str,), schema, check)


def choice(*words: str) -> Scalar:
    """One of these words."""
    quoted = [f'"{word}"' for word in words]
    expects = f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(words) > 1 else quoted[0]

    def check(value: str) -> str:
        if value not in words:
            raise ValueError(value)
        return value

    return Scalar(expects, (str,), {"type": "string", "enum": list(words)}, check)


def integer(lowest: int, highest: int, expects: str = "") -> Scalar:
    """A whole number within bounds."""

    def check(value: int) -> int:
        if not lowest <= value <= highest:
            raise ValueError(value)
        return value

    schema = {"type": "integer", "minimum": lowest, "maximum": highest}
    return Scalar(expects or f"a whole number from {lowest} to {highest}", (int,), schema, check)


def template(
    expects: str,
    pattern: str = rf"{_NO_CONTROLS}*",
    *,
    longest: int = 2000,
    convert: Callable[[str], object] | None = None,
) -> Scalar:
    """A text in which `{version}` and its parts are filled in; other words in braces are wrong."""

    def check(value: str) -> object:
        if "{" in value and set(_PLACEHOLDER.findall(value)).difference(PLACEHOLDERS):
            raise ValueError(value)
        return value if convert is None else convert(value)

    return text(f"{expects}, with {_ONLY}", pattern, longest=longest, convert=check)


def _parse_mode(value: str) -> int:
    return int(value, 8)


def _parse_glob(value: str) -> str:
    if ".." in value.split("/"):
        raise ValueError(value)
    translate_glob(value)
    return value


BOOLEAN = Scalar("true or false", (bool,), {"type": "boolean"})
SIZE = Scalar(
    'a size such as "7 MB" or a number of bytes',
    (int, str),
    {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": f"^{SIZE_PATTERN}$"},
        ]
    },
    parse_size,
)
_TIME_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": f"^{TIME_PATTERN}$"},
    ]
}
DURATION = Scalar(
    'a duration such as "10 s" or a number of seconds',
    (int, float, str),
    _TIME_SCHEMA,
    parse_duration,
)
PAUSE = Scalar(
    'a duration such as "10 s" or a number of seconds, or 0',
    (int, float, str),
    {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": f"^{TIME_PATTERN}$"},
        ]
    },
    parse_pause,
)
WHOLE_SECONDS = Scalar(
    DURATION.expects,
    (int, float, str),
    _TIME_SCHEMA,
    lambda value: max(1, round(parse_duration(value))),
)
LINE = text("a string on one line", rf"{_NO_CONTROLS}*", longest=1000)
STRING = text("a string without NUL", longest=65536)
FILLED_STRING = text("a string that is not empty", r"[^\x00]+", longest=65536)
NAME = text('a name such as "nginx" or "php-fpm"', _NAME, longest=64)
BASE = text(
    'a name such as "busybox", or a tag such as "registry.example/base:1"',
    rf"{_NAME}|{REFERENCE_PATTERN}",
    longest=384,
)
SHA256 = text("64 lower-case hex digits", r"[0-9a-f]{64}", longest=64, convert=Digest.parse)
URL = text("an http or https URL without credentials", _URL, longest=2000)
URL_TEMPLATE = template(URL.expects, _URL)
VERSION = text('a version such as "1.26.3"', r"[A-Za-z0-9]+([._+~-][A-Za-z0-9]+)*", longest=64)
DEBIAN_PACKAGE = text("a Debian package name", r"[a-z0-9][a-z0-9+.-]+", longest=128)
FILE_NAME = text("the name of a file in the recipe's folder", _FILE_NAME, longest=255)
IMAGE_PATH = text("an absolute, normalised path in the image", IMAGE_PATH_PATTERN, longest=4095)
FOLDER_PATH = text(
    "an absolute, normalised path in the image", rf"/|{IMAGE_PATH_PATTERN}", longest=4095
)
LINK_TARGET = text("a path for the link to point at", rf"{_NO_CONTROLS}+", longest=4095)
GLOB = text(
    'a glob over absolute paths, such as "/usr/share/**" or "**/*.a"',
    rf"(/|\*\*/){_NO_CONTROLS}+",
    longest=1000,
    convert=_parse_glob,
)
USER_NAME = text('a user name such as "nginx"', r"[a-z_][a-z0-9_-]{0,30}", longest=31)
ENVIRONMENT_VARIABLE = text("a variable name", r"[A-Za-z_][A-Za-z0-9_]*", longest=128)
MODE = text('an octal mode such as "0755"', r"0?[0-7]{3,4}", convert=_parse_mode)
ID = integer(0, 65534)
PORT = integer(1, 65535)

STRINGS = Array(STRING, "an array of strings")
STRING_PAIRS = Pairs(ENVIRONMENT_VARIABLE, STRING, "a table of strings")
