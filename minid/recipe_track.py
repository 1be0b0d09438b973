"""The `[track]` table: where new releases show up and how they are judged and verified.

It becomes `Track(source, options)`: options are pairs sorted by key, durations in seconds, tables
again as sorted pairs, so that a Track is hashable and has one canonical form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minid.formats.pattern import compile_pattern
from minid.formats.table import Array, Either, Key, Pairs, Scalar, Table
from minid.formats.values import (
    BOOLEAN,
    FILE_NAME,
    PAUSE,
    URL,
    URL_TEMPLATE,
    WHOLE_SECONDS,
    choice,
    integer,
    text,
)
from minid.recipe import Track

_NEEDED = {
    "index": ("url", "match"),
    "json": ("url", "version"),
    "text": ("url", "match"),
    "git-tags": ("url", "match"),
    "none": (),
}
_ONLY_JSON = ("items", "version", "where")


def _parse_match(value: str) -> str:
    if compile_pattern(value).groups != {"version"}:
        raise ValueError(value)
    return value


def _parse_reject(value: str) -> str:
    compile_pattern(value)
    return value


def _flatten(values: Mapping[str, Any]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(values.items()))


def make_options(**values: object) -> tuple[tuple[str, object], ...]:
    """A table as sorted pairs."""
    return _flatten(values)


def make_track(**values: Any) -> Track:  # noqa: ANN401
    """The Track of a validated table."""
    return Track(source=values.pop("from"), options=_flatten(values))


def _fits_source(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    source = table["from"]
    for key in _NEEDED[source]:
        if key not in table:
            yield key, f'a value, which from = "{source}" needs', "nothing"
    if source != "json":
        for key in _ONLY_JSON:
            if key in table:
                yield key, 'no such key without from = "json"', "one"
    if "parity_of" in table and "parity" not in table:
        yield "parity_of", 'no such key without "parity"', "one"


def _one_way(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if not table:
        yield "", "one of sha256, openpgp, minisign, unsigned", "an empty table"
    if table.get("unsigned") and len(table) > 1:
        yield "unsigned", "no such key beside a way to verify", "true"


def _url_or_field(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if ("url" in table) == ("field" in table):
        got = "both" if "url" in table else "neither"
        yield "", "either url or field", got
    if "match" in table and "url" not in table:
        yield "match", 'no such key without "url"', "one"


_PATTERN = "a regular expression without look-around or back-references"
MATCH = text(
    f"{_PATTERN}, with the one named group (?P<version>…)",
    r"[^\x00-\x1f]+",
    longest=1000,
    convert=_parse_match,
)
REJECT = text(f"a version, or {_PATTERN}", r"[^\x00-\x1f]+", longest=1000, convert=_parse_reject)
LINE_PATTERN = text(_PATTERN, r"[^\x00-\x1f]+", longest=1000, convert=_parse_reject)
FIELD = text(
    'a field such as "version" or "@key"', r"@?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", longest=200
)
ITEMS = text(
    'a path such as "releases" or "data.versions"',
    r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*",
    longest=200,
)
SERIES = text('a component prefix such as "1.26"', r"[A-Za-z0-9]+([.][A-Za-z0-9]+)*", longest=64)
FINGERPRINT_OR_FILE = text(
    "the name of a key file in the recipe's folder, or a fingerprint of 40 hex digits or more",
    FILE_NAME.schema["pattern"][1:-1],  # type: ignore[index]
    longest=255,
)
MINISIGN_KEY = text(
    "a minisign public key or the name of its file", r"[A-Za-z0-9+/=._-]+", longest=255
)
_FILTER_VALUE = Scalar(
    "a string, a whole number, true or false",
    (str, int, bool),
    {"type": ["string", "integer", "boolean"]},
)

_DIGEST_LIST = Table(
    (
        Key("url", URL_TEMPLATE, "A list of digests, one of which is the archive's."),
        Key(
            "match",
            LINE_PATTERN,
            "Which line of the list counts.",
            "the line that names the archive",
        ),
        Key("field", FIELD, "The field of the same JSON entry that holds the digest."),
    ),
    make_options,
    (_url_or_field,),
)
_OPENPGP = Table(
    (
        Key("sig", URL_TEMPLATE, "The detached signature.", "the archive's URL with `.asc`"),
        Key(
            "keys",
            Array(FINGERPRINT_OR_FILE, "an array of key files or fingerprints", minimum=1),
            "The keys that count: files in the recipe's folder, or fingerprints.",
            required=True,
        ),
        Key("need", integer(1, 16), "How many good signatures by these keys.", "1"),
        Key(
            "allow",
            Array(choice("sha1", "dsa1024"), 'an array of "sha1", "dsa1024"'),
            "Weak algorithms that are taken all the same.",
            "[]",
        ),
    ),
    make_options,
)
_MINISIGN = Table(
    (
        Key("sig", URL_TEMPLATE, "The signature.", "the archive's URL with `.minisig`"),
        Key(
            "key",
            MINISIGN_KEY,
            "The public key, or its file in the recipe's folder.",
            required=True,
        ),
    ),
    make_options,
)
_VERIFY = Table(
    (
        Key(
            "sha256",
            Either(
                (URL_TEMPLATE, _DIGEST_LIST),
                "a URL template of a digest list, or a table with url and match, or with field",
            ),
            "Where upstream states the digest.",
        ),
        Key("openpgp", _OPENPGP, "A signature by pinned OpenPGP keys."),
        Key("minisign", _MINISIGN, "A signature by a pinned minisign key."),
        Key("unsigned", BOOLEAN, "Upstream states neither digest nor signature; say so.", "false"),
    ),
    make_options,
    (_one_way,),
)
TRACK = Table(
    (
        Key("from", choice(*_NEEDED), "What kind of page lists the releases.", required=True),
        Key("url", URL, "The page or the repository."),
        Key(
            "match",
            MATCH,
            "Matched as a whole with the last segment of a link (index), a line (text) or a tag "
            "(git-tags); the group `version` is the version.",
        ),
        Key("items", ITEMS, "json: the path to the array or object of releases.", "the document"),
        Key("version", FIELD, 'json: the field with the version, or `"@key"`.'),
        Key(
            "where",
            Pairs(FIELD, _FILTER_VALUE, "a table of fields and values"),
            "json: only entries whose fields equal these.",
            "{}",
        ),
        Key("artifact", URL_TEMPLATE, "The archive's URL.", "the matched link"),
        Key("series", SERIES, 'Component prefix: `"1.2"` takes 1.2 and 1.2.x, never 1.20.', "any"),
        Key(
            "parity", choice("even", "odd"), "Only even, or odd, numbers in one component.", "both"
        ),
        Key("parity_of", integer(1, 9), "The component that `parity` looks at.", "2"),
        Key("pre", BOOLEAN, "Whether alpha, beta, rc and the like count.", "false"),
        Key(
            "reject",
            Array(REJECT, "an array of versions or regular expressions"),
            "Versions that never count.",
            "[]",
        ),
        Key("every", WHOLE_SECONDS, "The shortest time between two looks.", '"6 h"'),
        Key("settle", PAUSE, "How long a new release must stand before it counts.", '"6 h"'),
        Key(
            "max_jump",
            integer(0, 10**9),
            "The increase of the first component that needs no approval.",
            "1",
        ),
        Key("verify", _VERIFY, "How a new archive's bytes are verified."),
    ),
    make_track,
    (_fits_source,),
)
