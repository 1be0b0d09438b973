"""The kinds of values that only recipes have, and what turns a table into a dataclass."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from minid import recipe
from minid.formats.table import Array, Either, Pairs, Scalar
from minid.formats.values import (
    STRING,
    STRING_PAIRS,
    template,
    text,
)

# minid sets these in every build; a recipe that could move them would break its own staging.
RESERVED_VARIABLES = ("VERSION", "JOBS", "DESTDIR", "SYSROOT", "SOURCE_DATE_EPOCH")
# Labels under this prefix are minid's own record of what an image is.
RESERVED_LABELS = "org.minid."
_TAG_NAME = re.compile(r"([a-z0-9]+([._-][a-z0-9]+)*:)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def _parse_released(value: str | date | datetime) -> int:
    if isinstance(value, str):
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise ValueError(value)
        value = date.fromisoformat(value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    elif value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    if value.year < 1980:
        raise ValueError(value)
    return int(value.timestamp())


def _parse_tag(value: str) -> str:
    if not all(_TAG_NAME.fullmatch(recipe.expand(value, version)) for version in ("1.2.3", "1")):
        raise ValueError(value)
    return value


def _parse_label(value: str) -> str:
    if value.startswith(RESERVED_LABELS):
        raise ValueError(value)
    return value


def _parse_variable(value: str) -> str:
    if value in RESERVED_VARIABLES:
        raise ValueError(value)
    return value


def _parse_port(value: int | str) -> str:
    number, _, protocol = str(value).partition("/")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", number) or int(number) > 65535:
        raise ValueError(value)
    if isinstance(value, str) and protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(value)
    return f"{number}/{protocol or 'tcp'}"


def _parse_pair(value: str) -> tuple[str, str]:
    name, _, rest = value.partition("=")
    return name, rest


RELEASED = Scalar(
    "a date such as 2025-02-05, from 1980 on",
    (str, date, datetime),
    {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}"},
    _parse_released,
)
TAG = template(
    'a tag such as "{version}" or "nginx:latest"',
    r"[A-Za-z0-9_.{}-]+(:[A-Za-z0-9_.{}-]+)?",
    longest=200,
    convert=_parse_tag,
)
COMMENT = template("a string on one line", longest=1000)
EXPOSED = Scalar(
    'a port such as 80 or "80/tcp"',
    (int, str),
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": "^[1-9][0-9]{0,4}/(tcp|udp|sctp)$"},
        ]
    },
    _parse_port,
)
BUILD_VARIABLE = text(
    f"a variable name other than {', '.join(RESERVED_VARIABLES)}",
    r"[A-Za-z_][A-Za-z0-9_]*",
    longest=128,
    convert=_parse_variable,
)
VARIABLES = Pairs(BUILD_VARIABLE, STRING, "a table of strings")
LABELS = Pairs(
    text(
        f'a label name outside "{RESERVED_LABELS}"',
        r"[A-Za-z0-9]+([._/-][A-Za-z0-9]+)*",
        longest=128,
        convert=_parse_label,
    ),
    STRING,
    "a table of strings",
)
ENV = Either(
    (
        STRING_PAIRS,
        Array(
            text(
                'a string such as "NAME=value"',
                r"[A-Za-z_][A-Za-z0-9_]*=[^\x00]*",
                longest=65536,
                convert=_parse_pair,
            ),
            'an array of strings such as "NAME=value"',
        ),
    ),
    'a table of strings, or an array of "NAME=value"',
)
IMAGE_USER = text(
    'a user as "name", "uid", "name:group" or "uid:gid"',
    r"([a-z_][a-z0-9_-]{0,30}|[0-9]{1,5})(:([a-z_][a-z0-9_-]{0,30}|[0-9]{1,5}))?",
    longest=64,
)
OWNER = text(
    "a user or group name, or its number as a string",
    r"[a-z_][a-z0-9_-]{0,30}|[0-9]{1,5}",
    longest=31,
)
SIGNAL = text(
    'a signal such as "SIGQUIT" or "3"', r"SIG[A-Z0-9]+([+-][0-9]+)?|[1-9][0-9]?", longest=16
)
SONAME = text(
    'a library name such as "libnss_dns.so.2" or an absolute path, * and ? allowed',
    r"/?(?!\.{1,2}(/|$))[A-Za-z0-9_.+*?\[\]-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9_.+*?\[\]-]+)*",
    longest=1000,
)
PASSWD_FIELD = text('a string without ":" on one line', r"[^:\x00-\x1f\x7f]*", longest=200)
LICENSE = text("an SPDX license expression", r"[A-Za-z0-9.+() :-]*", longest=200)
REASON = text(
    "a reason on one line",
    r"(?=.*\S)[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+",
    longest=500,
)
HTTP_PATH = text('a path such as "/"', r"/[!-~]*", longest=2000)
HEADERS = Pairs(
    text("the name of a header", r"[A-Za-z0-9-]+", longest=100),
    text("a string on one line", r"[ -~]*", longest=1000),
    "a table of strings",
)
ARGUMENTS = Array(STRING, "an array of strings, the program first", minimum=1)


def make_source(**values: Any) -> recipe.Source:  # noqa: ANN401
    """A Source; a distro that is only a package name stands for the same version and bytes."""
    distro = values.get("distro")
    if isinstance(distro, str):
        distro = {"package": distro}
    if distro is not None:
        own = {"version": values["version"], "sha256": values["sha256"]}
        values["distro"] = recipe.Distro(**(own | distro))
    return recipe.Source(**values)


def make_env(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Environment pairs sorted by name, whichever way they were written."""
    return tuple(sorted(dict(pairs).items()))


def make_image(also: tuple[str, ...] = (), **values: Any) -> recipe.ImageTable:  # noqa: ANN401
    """An ImageTable whose environment does not depend on the order in the file, and whose tags
    are written out for the names of `also`."""
    if "env" in values:
        values["env"] = make_env(values["env"])
    made = recipe.ImageTable(**values)
    plain = [tag for tag in made.tags if ":" not in tag]
    more = tuple(f"{name}:{tag}" for name in also for tag in plain)
    return replace(made, tags=made.tags + more) if more else made
