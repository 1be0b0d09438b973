"""The links of an HTML page, in time that grows with its bytes and with nothing else.

The tokenizer of the HTML standard (section 13.2.5) as far as start tags and their attributes go. No
tree is built: trees are where the builders of HTML pages spend quadratic time on deep nesting, and
on tags with many attributes, which a page of a few megabytes can make a matter of hours.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

MAX_HREF = 4096

_SPACE = " \\t\\n\\f\\r"
_MARK = re.compile(r"<(?=[A-Za-z!?/])")
_GAP = re.compile(rf"[{_SPACE}/]*")
_NAME = re.compile(rf"[A-Za-z][^{_SPACE}/>]*")
_ATTRIBUTE = re.compile(rf"(=?[^{_SPACE}/>=]*)[{_SPACE}]*(=?)[{_SPACE}]*")
_UNQUOTED = re.compile(rf"[^{_SPACE}>]*")
# Elements whose content is text up to their own end tag.
_RAW = {
    name: re.compile(rf"</{name}(?=[{_SPACE}/>])", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}


@dataclass(frozen=True, slots=True)
class Links:
    """What `<a href>` say, in the page's order, character references resolved, and the first
    `<base href>`. Longer ones than `MAX_HREF` are empty."""

    hrefs: tuple[str, ...]
    base: str


def scan_links(text: str, most: int) -> Links:
    """The links of a page, whatever text it is; it ends after `most` of them. A tag that the page's
    end cuts off does not count."""
    hrefs: list[str] = []
    base: str | None = None
    position = 0
    while (mark := _MARK.search(text, position)) and len(hrefs) < most:
        position = mark.start()
        name = _NAME.match(text, position + 1)
        if name is None:
            position = _skip(text, position)
            continue
        word = name[0].lower() if name.end() - name.start() < 10 else ""
        position, href = _read_tag(text, name.end(), wanted=word in ("a", "base"))
        if position < 0:
            break
        if word == "a" and href is not None:
            hrefs.append(href)
        elif word == "base" and base is None:
            base = href
        if word in _RAW:
            end = _RAW[word].search(text, position)
            position = end.start() if end else len(text)
    return Links(tuple(hrefs), base or "")


def _skip(text: str, position: int) -> int:
    """The end of a comment, an end tag, or something else that begins with `<!`, `<?` or `</`."""
    if text.startswith("<!--", position):
        end = text.find("-->", position + 2)  # `<!-->` is a whole comment
        return len(text) if end < 0 else end + 3
    name = _NAME.match(text, position + 2) if text[position + 1] == "/" else None
    end = _read_tag(text, name.end())[0] if name else text.find(">", position) + 1
    return end if end > 0 else len(text)


def _read_tag(text: str, position: int, *, wanted: bool = False) -> tuple[int, str | None]:
    """The end of a tag whose name ends at `position`, or -1, and its `href` where it is wanted."""
    close = text.find(">", position)
    if close < 0:
        return -1, None
    inner = text[position:close]
    if not wanted and '"' not in inner and "'" not in inner:
        return close + 1, None
    href = None
    while True:
        position = _end(_GAP, text, position)
        if position >= len(text):
            return -1, None
        if text[position] == ">":
            return position + 1, href
        attribute = _ATTRIBUTE.match(text, position)
        assert attribute is not None  # it can be empty
        start = position = attribute.end()
        if attribute[2]:
            start, end, position = _read_value(text, position)
            if position < 0:
                return -1, None
            if wanted and href is None and attribute[1].lower() == "href":
                href = html.unescape(text[start:end]) if end - start <= MAX_HREF else ""
        elif wanted and href is None and attribute[1].lower() == "href":
            href = ""


def _read_value(text: str, position: int) -> tuple[int, int, int]:
    """Start and end of an attribute's value, and where the tag goes on, -1 for nowhere."""
    quote = text[position : position + 1]
    if quote in ("'", '"'):
        end = text.find(quote, position + 1)
        return position + 1, end, end + 1 if end >= 0 else -1
    end = _end(_UNQUOTED, text, position)
    return position, end, end


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position
