"""Which versions a page lists, by the recipe's `[track]`: index, json, text and git-tags.

Pure, and for hostile bytes: a page can make these functions find nothing or raise PageError, and
nothing else. Order, series and the like are applied later, by `judge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from minid.formats.html_links import Links, scan_links
from minid.upstream.page_bytes import PageError, check_page, decode_page, parse_json
from minid.upstream.rules import Rules
from minid.upstream.values import Found

MAX_LINKS = 50_000
MAX_ITEMS = 50_000
MAX_LINES = 200_000
_MAX_LINE = 4096
_VERSION = re.compile(r"(?=[^0-9]*[0-9])[A-Za-z0-9]+(?:[._+~-][A-Za-z0-9]+)*")
_MAX_VERSION = 64
# A page whose links are short may have a long `<base href>`: each would become as long.
_MAX_URL = 2048
_HEX = re.compile(r"[0-9A-Fa-f]{64}")


def read_page(body: bytes, content_type: str, final_url: str, rules: Rules) -> tuple[Found, ...]:
    """What a page of the kind that the rules name lists, in the page's order, each once.

    `final_url` is where the bytes came from after redirects. A page that lists nothing that
    matches gives an empty tuple; PageError where it is no such page at all.
    """
    if rules.source == "index":
        return read_index(body, content_type, final_url, rules)
    if rules.source == "json":
        return read_json(body, content_type, rules)
    return read_text(body, content_type, rules)


def read_index(body: bytes, content_type: str, final_url: str, rules: Rules) -> tuple[Found, ...]:
    """The links whose last segment matches: `<a href>` against `<base href>` and the final URL,
    without query and fragment."""
    check_page("index", body, content_type)
    links = _scan(body, content_type)
    if not links.hrefs:
        raise PageError("page: expected links, got none")
    if len(links.hrefs) > MAX_LINKS:
        raise PageError(f"page: expected at most {MAX_LINKS} links, got more")
    start = _join(final_url, links.base)
    return _unique(_linked(links.hrefs, start or final_url, rules))


def read_json(body: bytes, content_type: str, rules: Rules) -> tuple[Found, ...]:
    """The versions of the entries at `items`, an array or an object, that pass `where`."""
    check_page("json", body, content_type)
    document = parse_json(body, content_type)
    items = _walk(document, rules.items) if rules.items else document
    if not isinstance(items, (list, dict)):
        where = repr(rules.items) if rules.items else "the document"
        raise PageError(f"page: expected an array or an object at {where}, got neither")
    if len(items) > MAX_ITEMS:
        raise PageError(f"page: expected at most {MAX_ITEMS} entries, got {len(items)}")
    entries = items.items() if isinstance(items, dict) else (("", item) for item in items)
    return _unique(_entered(entries, rules))


def read_text(body: bytes, content_type: str, rules: Rules) -> tuple[Found, ...]:
    """The lines that match."""
    check_page("text", body, content_type)
    lines = decode_page(body, content_type).splitlines()
    if len(lines) > MAX_LINES:
        raise PageError(f"page: expected at most {MAX_LINES} lines, got {len(lines)}")
    return read_tags((line.strip() for line in lines), rules)


def read_tags(tags: Iterable[str], rules: Rules) -> tuple[Found, ...]:
    """The names that match."""
    versions = (_version(tag, rules) for tag in tags if len(tag) <= _MAX_LINE)
    return _unique(Found(version) for version in versions if version)


@lru_cache(maxsize=1)  # for the next recipe that reads the same page
def _scan(body: bytes, content_type: str) -> Links:
    return scan_links(decode_page(body, content_type), MAX_LINKS + 1)


def _linked(links: Iterable[str], start: str, rules: Rules) -> Iterator[Found]:
    for href in links:
        path = re.split(r"[?#]", href, maxsplit=1)[0].strip()
        segment = unquote(path.removesuffix("/").rpartition("/")[2])
        version = _version(segment, rules)
        if not version and path.endswith("/"):  # a pattern for folders may name the slash
            version = _version(f"{segment}/", rules)
        url = _join(start, path) if version else ""
        if url:
            yield Found(version, url)


def _join(base: str, path: str) -> str:
    """The http or https URL that a link leads to, or nothing."""
    if len(base) + len(path) > _MAX_URL:
        return ""
    try:
        joined = urljoin(base, path)
        parts = urlsplit(joined)
        fine = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        return joined if fine and joined.isascii() and joined.isprintable() else ""
    except ValueError:
        return ""


def _version(text: str, rules: Rules) -> str:
    """The version that a file name, line, tag or field stands for, or nothing."""
    found = text if rules.match is None else rules.version_in(text) or ""
    return found if len(found) <= _MAX_VERSION and _VERSION.fullmatch(found) else ""


def _entered(entries: Iterable[tuple[str, Any]], rules: Rules) -> Iterator[Found]:
    of_key = rules.version_field == "@key"
    for key, entry in entries:
        if any(not _equal(_walk(entry, path), wanted) for path, wanted in rules.where):
            continue
        if of_key:
            stated: Any = key if isinstance(entry, Mapping) else ""
        else:
            stated = _walk(entry, rules.version_field) if rules.version_field else entry
        version = _version(stated, rules) if isinstance(stated, str) else ""
        if version:
            yield Found(version, "", _digest(entry, version, rules))


def _equal(found: object, wanted: object) -> bool:
    return type(found) is type(wanted) and found == wanted


def _digest(entry: object, version: str, rules: Rules) -> str:
    if not rules.verify.digest_field:
        return ""
    name = rules.artifact_url(Found(version)).rpartition("/")[2]
    found = _walk(entry, rules.verify.digest_field, name)
    return found.lower() if isinstance(found, str) and _HEX.fullmatch(found) else ""


def _walk(value: Any, path: str, file_name: str = "") -> Any:  # noqa: ANN401
    """The value at a dotted path, or None.

    In an array a number is an index; any other field is that of the element which names the file,
    or of the only element: php.net lists a release's archives so.
    """
    for part in path.split("."):
        if isinstance(value, list):
            if part.isdecimal():
                value = value[int(part)] if len(part) < 9 and int(part) < len(value) else None
                continue
            tables = [item for item in value if isinstance(item, Mapping)]
            if len(tables) != 1:
                tables = [item for item in tables if file_name and file_name in _texts(item)]
            value = tables[0] if tables else None
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _texts(table: Mapping[str, Any]) -> set[str]:
    return {value.rpartition("/")[2] for value in table.values() if isinstance(value, str)}


def _unique(found: Iterable[Found]) -> tuple[Found, ...]:
    return tuple(dict.fromkeys(found))
