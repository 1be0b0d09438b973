"""What kind of page some bytes are: text in which charset, and pages that are no listing at all.

Pure. What a page lists is `pages`'; whether a listing is to be believed is decided later.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from minid.errors import FetchError

SourceKind = Literal["index", "json", "text", "git-tags"]
PageFault = Literal["challenge", "error", "empty", "cut", "other"]

_HEAD = 1 << 16
# Charsets in the wild whose decoders take time in proportion to the bytes; punycode does not.
_CHARSET = re.compile(
    r"utf-?8(-sig)?|us-ascii|ascii|utf-?16(-?[bl]e)?|iso-?8859-?\d{1,2}|latin-?1|"
    r"(windows|cp)-?125\d|koi8-[ru]|shift[-_]jis|euc-(jp|kr)|gb18030|gbk|gb2312|big5"
)
_CHARSET_OF = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
_HTML = re.compile(
    r"\s*(<!--.{0,2000}?-->\s*)?(<!doctype\s+html|<html|<head|<body|<title)", re.I | re.S
)
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,500})", re.I)
_CHALLENGE_TITLE = re.compile(
    r"captcha|just a moment|attention required|are you (a )?(human|robot)|not a bot|ddos|"
    r"security check|checking your browser|verify(ing)? you|bot (check|verification)",
    re.I,
)
# Words of pages that want a browser. Not what some hosts put into each of their pages.
_CHALLENGE = re.compile(
    r"_cf_chl_|cf-challenge|cf-turnstile|g-recaptcha|h-captcha|hcaptcha\.com|recaptcha/api|"
    r"_incapsula_resource|px-captcha|awswafcookiedomainlist|within\.website/x/cmd/anubis|"
    r"captcha-delivery\.com|ddos-guard/check",
    re.I,
)
_ERROR_LINE = re.compile(
    r"\s*(HTTP/\d(\.\d)?\s+)?(error:?\s+)?[45]\d\d[:\s-]+"
    r"(bad|gateway|service|internal|not|forbidden|too|temporar|proxy|web server|origin)",
    re.I,
)
_CUT_TAG = re.compile(r"<[A-Za-z/!][^<>]*\Z")


class PageError(FetchError):
    """Bytes came, and are not the kind of page that the recipe names. `fault` says in which way;
    a `challenge` is a page that wants to see a person."""

    def __init__(self, message: str, fault: PageFault = "other") -> None:
        super().__init__(message)
        self.fault: PageFault = fault


def check_page(kind: SourceKind, body: bytes, content_type: str) -> None:
    """PageError where the bytes cannot be a page of that kind, whatever the recipe looks for:
    nothing, a captcha, an error text, an HTML page where JSON should be."""
    if not body.strip(b" \t\r\n\x00"):
        raise PageError("page: expected a listing, got nothing", "empty")
    if kind == "json":
        parse_json(body, content_type)
    elif kind == "index":
        _check_index(decode_page(body, content_type))
    elif kind == "text":
        _check_text(decode_page(body, content_type))


def decode_page(body: bytes, content_type: str) -> str:
    """The page as text: in the charset of the header or of its own `<meta>`, UTF-8 otherwise.
    What does not fit becomes replacement characters."""
    found = _CHARSET_OF.search(content_type[:1000])
    if found is None and not body.startswith((codecs.BOM_UTF8, b"\xff\xfe", b"\xfe\xff")):
        found = _CHARSET_OF.search(body[:1024].decode("latin-1"))
    charset = found[1].lower() if found else "utf-8"
    if found is None and body.startswith((b"\xff\xfe", b"\xfe\xff")):
        charset = "utf-16"
    if not _CHARSET.fullmatch(charset):
        charset = "utf-8"
    try:
        text = body.decode(charset, "replace")
    except LookupError:  # iso-8859-12 does not exist
        text = body.decode("utf-8", "replace")
    return text.removeprefix("\ufeff")


def parse_json(body: bytes, content_type: str) -> Any:  # noqa: ANN401
    """The document. PageError for HTML, for what is not JSON, and for `{"error": …}`."""
    head = decode_page(body[:_HEAD], content_type)
    if looks_like_html(head):
        _check_challenge(head)
        raise PageError("page: expected JSON, got an HTML page")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or type(error).__name__
        raise PageError(f"page: expected JSON, got other text ({reason})") from None
    if isinstance(found, Mapping) and found.get("error"):
        told = str(found["error"])[:200]
        raise PageError(f"page: expected releases, got the error {told!r}", "error")
    return found


def looks_like_html(text: str) -> bool:
    """Whether text begins as an HTML page does."""
    return bool(_HTML.match(text[:4096]))


def _check_index(text: str) -> None:
    _check_challenge(text[:_HEAD])
    _check_error(text)
    if "<" not in text:
        raise PageError("page: expected HTML, got text without a link")
    cut = _CUT_TAG.search(text, max(0, len(text) - _HEAD))
    if cut or (len(text) > _HEAD and text.rfind("<", 0, -_HEAD) > text.rfind(">")):
        raise PageError("page: expected a whole page, got one that ends inside a tag", "cut")


def _check_text(text: str) -> None:
    if looks_like_html(text):
        _check_challenge(text[:_HEAD])
        raise PageError("page: expected plain text, got an HTML page")
    _check_error(text)


def _check_error(text: str) -> None:
    title = _TITLE.search(text[:_HEAD])
    for line in (text[:200], title[1] if title else ""):
        if _ERROR_LINE.match(line):
            told = " ".join(line.split())[:80]
            raise PageError(f"page: expected a listing, got the error {told!r}", "error")


def _check_challenge(head: str) -> None:
    title = _TITLE.search(head)
    asked = (title and _CHALLENGE_TITLE.search(title[1])) or _CHALLENGE.search(head)
    if asked:
        raise PageError(
            f"page: expected a listing, got a page that wants to see a person ({asked[0]!r})",
            "challenge",
        )
