"""Reading pages: what they list, and bytes that are no such page."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from minid.formats.pattern import compile_pattern
from minid.upstream.page_bytes import PageError, check_page, decode_page
from minid.upstream.pages import MAX_LINKS, read_index, read_json, read_page, read_tags, read_text
from minid.upstream.rules import Rules
from minid.upstream.values import Found, Verify

BASE = "https://nginx.example/download/"
NGINX = r"nginx-(?P<version>[0-9.]+)\.tar\.gz"


def wanted(source: str = "index", match: str = "", **options: Any) -> Rules:
    verify = Verify(digest_field=options.pop("digest_field", ""))
    pattern = compile_pattern(match) if match else None
    return Rules("app", source, "", "", match=pattern, verify=verify, **options)  # type: ignore[arg-type]


def index(html: str | bytes, match: str = NGINX, content_type: str = "text/html", url: str = BASE):
    body = html.encode() if isinstance(html, str) else html
    return read_index(body, content_type, url, wanted(match=match))


def listing(*names: str) -> str:
    lines = "\n".join(f'<a href="{name}">{name}</a>  01-Jan-2026 10:00  -' for name in names)
    return f"<html><head><title>Index of /</title></head><body><pre>{lines}\n</pre></body></html>"


def versions(found: tuple[Found, ...]) -> list[str]:
    return [item.version for item in found]


def test_links_of_a_listing_in_its_order() -> None:
    names = ("../", "?C=M;O=A", "nginx-0.1.1.tar.gz", "nginx-0.1.11.tar.gz", "nginx-0.1.2.tar.gz")
    assert index(listing(*names)) == tuple(
        Found(version, f"{BASE}nginx-{version}.tar.gz") for version in ("0.1.1", "0.1.11", "0.1.2")
    )


def test_situation_4_a_signature_is_no_archive() -> None:
    assert index(listing("nginx-1.30.0.tar.gz.asc", "nginx-1.30.0-rc1.tar.gz")) == ()


def test_situation_8_another_product_of_almost_the_same_name() -> None:
    page = listing("mysql-boost-8.4.10.tar.gz", "mysql-8.4.10.tar.gz", "mysql-8.4.10.tar.gz")
    found = index(page, r"mysql-(?P<version>[0-9.]+)\.tar\.gz")
    assert found == (Found("8.4.10", f"{BASE}mysql-8.4.10.tar.gz"),)


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("nginx-1.0.tar.gz?mirror=7#top", f"{BASE}nginx-1.0.tar.gz"),
        ("/other/nginx-1.0.tar.gz", "https://nginx.example/other/nginx-1.0.tar.gz"),
        ("//cdn.example/nginx-1.0.tar.gz", "https://cdn.example/nginx-1.0.tar.gz"),
        ("http://cdn.example/nginx-1.0.tar.gz", "http://cdn.example/nginx-1.0.tar.gz"),
        ("nginx%2D1.0.tar.gz", f"{BASE}nginx%2D1.0.tar.gz"),
        (" nginx-1.0.tar.gz\n", f"{BASE}nginx-1.0.tar.gz"),
    ],
)
def test_where_a_link_leads(href: str, url: str) -> None:
    assert index(listing(href)) == (Found("1.0", url),)


@pytest.mark.parametrize(
    "href",
    [
        "javascript:nginx-1.0.tar.gz",
        "ftp://x.example/nginx-1.0.tar.gz",
        "https://user:secret@x.example/nginx-1.0.tar.gz",
        "http://[bad/nginx-1.0.tar.gz",
        "?nginx-1.0.tar.gz",
        "nginx-1.0.tar.gz%00",
        "x" * 5000 + "/nginx-1.0.tar.gz",
    ],
)
def test_links_that_lead_nowhere(href: str) -> None:
    assert index(listing(href, "other")) == ()


def test_folders_match_with_and_without_their_slash() -> None:
    page = listing("v1.2/", "v1.3/")
    assert versions(index(page, r"v(?P<version>[0-9.]+)")) == ["1.2", "1.3"]
    assert versions(index(page, r"v(?P<version>[0-9.]+)/")) == ["1.2", "1.3"]


def test_base_counts() -> None:
    page = '<base href="/files/"><a href="nginx-1.0.tar.gz">x</a>'
    assert index(page)[0].url == "https://nginx.example/files/nginx-1.0.tar.gz"
    page = '<base href="javascript:1"><a href="nginx-1.0.tar.gz">x</a>'
    assert index(page)[0].url == f"{BASE}nginx-1.0.tar.gz"


def test_entities_and_odd_markup() -> None:
    page = "<A HREF=nginx-1.0.tar.gz>x<a href='nginx-1&#46;1.tar.gz'>y<a name=z><a href>"
    assert versions(index(page)) == ["1.0", "1.1"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "empty"),
        (b" \r\n\t\x00", "empty"),
        (b"<html><pre><a href='nginx-1.0.tar.gz'>x</a><a href='nginx-1.1.ta", "cut"),
        (b"<html><a href='nginx-1.0.tar.gz'>x</a><a href='" + b"x" * 200_000, "cut"),
        (b"502 Bad gateway while reading nginx-9.9.9.tar.gz", "error"),
        (b"<html><head><title>502 Bad Gateway</title></head><a href=nginx-9.9.tar.gz>x", "error"),
        (
            b"<html><title>Just a moment...</title><script>window._cf_chl_opt={}</script>",
            "challenge",
        ),
        (b"<html><form class='g-recaptcha'><a href='/help'>?</a></form></html>", "challenge"),
        (b"nginx-9.9.9.tar.gz", "other"),
        (b"<html><p>nothing here</p></html>", "other"),
    ],
)
def test_situations_18_and_19_bytes_that_are_no_listing(body: bytes, fault: str) -> None:
    with pytest.raises(PageError) as caught:
        index(body)
    assert caught.value.fault == fault
    assert "expected" in caught.value.message


def test_a_file_named_captcha_is_a_file() -> None:
    page = listing("captcha-1.2.tar.gz", "recaptcha-1.3.tar.gz")
    assert versions(index(page, r"captcha-(?P<version>[0-9.]+)\.tar\.gz")) == ["1.2"]


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le"])
def test_situation_18_wrong_charset(charset: str) -> None:
    with pytest.raises(PageError):
        index(listing("nginx-1.0.tar.gz"), content_type=f"text/html; charset={charset}")


@pytest.mark.parametrize("charset", ["rot13", "zlib", "punycode", "idna", "no-such", "iso-8859-12"])
def test_charsets_that_are_not_used(charset: str) -> None:
    page = listing("nginx-1.0.tar.gz")
    assert versions(index(page, content_type=f"text/html; charset={charset}")) == ["1.0"]


def test_charsets_that_are() -> None:
    page = listing("nginx-1.0.tar.gz")
    assert versions(index(page.encode("utf-16"), content_type="text/html")) == ["1.0"]
    assert versions(index(page.encode("utf-16le"), content_type="x; charset=utf-16LE")) == ["1.0"]
    assert decode_page("ж".encode("koi8-r"), 'text/plain; charset="KOI8-R"') == "ж"
    assert decode_page(b'<meta charset="iso-8859-1">\xe9', "text/html").endswith("é")


def test_many_links_and_a_long_one_are_bounded() -> None:
    page = listing(*(f"nginx-1.{n}.tar.gz" for n in range(10_000)), "x" * (1 << 20))
    assert len(index(page)) == 10_000
    with pytest.raises(PageError, match="at most 50000 links"):
        index("<a href=x>" * (MAX_LINKS + 1))


def test_a_long_base_is_none() -> None:
    page = f'<base href="/{"x" * 4000}/">' + listing("nginx-1.0.tar.gz", "/nginx-1.1.tar.gz")
    assert [item.url for item in index(page)] == [
        "https://nginx.example/download/nginx-1.0.tar.gz",
        "https://nginx.example/nginx-1.1.tar.gz",
    ]


# --- JSON

PHP = {
    version: {
        "date": "04 Jul 2026",
        "source": [
            {"filename": f"php-{version}.tar.{kind}", "sha256": digit * 64}
            for kind, digit in (("gz", "a"), ("bz2", "b"), ("xz", "C"))
        ],
    }
    for version in ("8.5.1", "8.4.16")
}


def read(document: object, **rules: Any) -> tuple[Found, ...]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_json(body, "application/json", wanted("json", **rules))


def test_php_is_an_object_keyed_by_version() -> None:
    found = read(
        PHP,
        version_field="@key",
        digest_field="source.sha256",
        artifact="https://php.example/php-{version}.tar.xz",
    )
    assert found == (Found("8.5.1", "", "c" * 64), Found("8.4.16", "", "c" * 64))
    assert read(PHP, version_field="@key", digest_field="source.0.sha256")[0].sha256 == "a" * 64
    assert read(PHP, version_field="@key", digest_field="source.sha256")[0].sha256 == ""


def test_one_release_in_another_shape_is_not_misread() -> None:
    one = {"announcement": {"English": "/a"}, "source": [], "version": "8.5.10", "museum": {}}
    assert read(one, version_field="@key") == ()


def test_items_where_and_match() -> None:
    document = {
        "data": {
            "releases": [
                {"tag": {"name": "v12.3.2"}, "status": "Stable", "lts": True},
                {"tag": {"name": "v13.0.0"}, "status": "Stable", "lts": 1},
                {"tag": {"name": "v13.1.0"}, "status": "RC", "lts": True},
                {"tag": {"name": "nightly"}, "status": "Stable", "lts": True},
                {"tag": "v9"},
                "v10",
                None,
            ]
        }
    }
    rules = {
        "items": "data.releases",
        "version_field": "tag.name",
        "where": (("lts", True), ("status", "Stable")),
        "match": r"v(?P<version>[0-9.]+)",
    }
    assert versions(read(document, **rules)) == ["12.3.2"]
    with pytest.raises(PageError, match=r"at 'data\.gone'"):
        read(document, **(rules | {"items": "data.gone"}))


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": "Unknown version"}',
        b"<!DOCTYPE html><title>Please solve this captcha</title>",
        b"<html><body>hello</body></html>",
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[" + b"{}," * 50_000 + b"{}]",
        b"9" * 10_000,
        b"7",
        b'"text"',
        b"502 Bad Gateway",
    ],
)
def test_situations_16_and_17_bytes_that_are_no_releases(body: bytes) -> None:
    with pytest.raises(PageError):
        read(body, version_field="version")


def test_a_captcha_where_json_should_be_is_a_challenge() -> None:
    page = b"<html><head><title>Captcha check</title></head></html>"
    with pytest.raises(PageError) as caught:
        check_page("json", page, "text/html")
    assert caught.value.fault == "challenge"


def test_odd_strings_are_no_versions() -> None:
    odd = ["", "1.0\n", "../1", "1 0", "\ud800", "1.0\u0661", "1" * 65, "release", "1..2", 1.0, 1]
    document = [{"v": value} for value in odd]
    assert read(document, version_field="v") == ()
    assert read(document, version_field="v", match="(?P<version>.*)") == ()
    group = "(?P<version>1.0)?.*"
    assert versions(read([{"v": "x"}, {"v": "1.0b"}], version_field="v", match=group)) == ["1.0"]


# --- text and tags


def test_lines_of_a_text() -> None:
    rules = wanted(source="text", match=r"release (?P<version>\S+)")
    body = b"release 1.0\r\n release 1.1 \nreleases 1.2\n\nrelease 1.0\n"
    assert versions(read_text(body, "text/plain", rules)) == ["1.0", "1.1"]
    for page in (b"", b"<!doctype html><p>x", b"503 Service Unavailable: release 9.9"):
        with pytest.raises(PageError):
            read_text(page, "text/plain", rules)


def test_tags() -> None:
    rules = wanted(source="git-tags", match=r"v(?P<version>[0-9.]+)")
    assert versions(read_tags(["v1.0", "v1.1-rc1", "x1.2", "v" * 9000], rules)) == ["1.0"]
    assert versions(read_page(b"v1.0\nv1.1\n", "", BASE, rules)) == ["1.0", "1.1"]


def test_garbage_finds_nothing_or_is_told() -> None:
    chance = random.Random(7)
    good = [listing("nginx-1.0.tar.gz", "nginx-1.1.tar.gz").encode(), json.dumps(PHP).encode()]
    rules = [
        wanted("index", NGINX),
        wanted("json", "", version_field="@key", digest_field="source.0.sha256"),
        wanted("text", NGINX),
    ]
    for _ in range(300):
        body = bytearray(chance.choice(good))
        for _ in range(chance.randrange(1, 30)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        for each in rules:
            try:
                found = read_page(bytes(body[: chance.randrange(len(body))]), "", BASE, each)
            except PageError:
                continue
            assert all(item.version.isascii() for item in found)
