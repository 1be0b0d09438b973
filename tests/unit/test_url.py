from __future__ import annotations

import pytest

from minid.errors import FetchError
from minid.formats.url import (
    file_name,
    is_inside_name,
    is_public,
    parse_web_address,
    redirected,
    shown,
)


def test_an_address_in_parts():
    address = parse_web_address("https://Example.org/a/b.tar.gz?x=1#top")
    assert (address.scheme, address.host, address.port) == ("https", "example.org", 443)
    assert address.target == "/a/b.tar.gz?x=1"
    assert address.authority == "example.org"


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://example.org", "example.org", "/"),
        ("http://example.org:8080/x", "example.org:8080", "/x"),
        ("http://[2001:db8::1]:80/x", "[2001:db8::1]", "/x"),
        ("https://[2001:db8::1]:80/x", "[2001:db8::1]:80", "/x"),
    ],
)
def test_authority_and_target(url, authority, target):
    address = parse_web_address(url)
    assert (address.authority, address.target) == (authority, target)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "gopher://example.org/x",
        "//example.org/x",
        "/x",
        "",
        "http://",
        "http:///x",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://example.org\\@evil.org/",
        "http://example.org:99999/",
        "http://example.org:port/",
        "http://exa mple.org/",
        "http://example.org/a b",
        "http://example.org/\r\nHost: evil.org",
        "http://example.org/\t",
        "http://example.org/ü",
        "http://exämple.org/",
        "http://[::1/",
        "http://-x/",
        "http://a%00b/",
    ],
)
def test_what_is_no_web_address(url):
    with pytest.raises(FetchError) as caught:
        parse_web_address(url)
    assert caught.value.retryable is False
    assert "secret" not in caught.value.message


def test_shown_holds_no_secrets():
    assert shown("https://u:secret@h:1/p?sig=secret#secret") == "https://h:1/p?…"
    assert "secret" not in shown("http://u:secret@[::1/x")


@pytest.mark.parametrize(
    ("origin", "location", "target"),
    [
        ("http://a.org/x/y", "z", "http://a.org/x/z"),
        ("http://a.org/x/y", "/z", "http://a.org/z"),
        ("http://a.org/x", "https://b.org/y", "https://b.org/y"),
        ("https://a.org/x", "//b.org/y", "https://b.org/y"),
    ],
)
def test_redirects_that_are_followed(origin, location, target):
    assert redirected(parse_web_address(origin), location).url == target


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://a.org/x",
        "file:///etc/passwd",
        "ftp://a.org/x",
        "data:,x",
        "https://u:p@a.org/x",
        "/x\r\ny",
    ],
)
def test_redirects_that_are_refused(location):
    with pytest.raises(FetchError) as caught:
        redirected(parse_web_address("https://a.org/y"), location)
    assert caught.value.retryable is False


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::1",
        "ff02::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "fec0::1",
    ],
)
def test_inside_addresses(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "151.101.2.132",
        "2a04:4e42::644",
        "::ffff:151.101.2.132",
        "64:ff9b::151.101.2.132",
    ],
)
def test_public_addresses(address):
    assert is_public(address)


def test_inside_names():
    assert all(map(is_inside_name, ["localhost", "a.localhost.", "intranet", "10.0.0.1", "::1"]))
    assert not any(map(is_inside_name, ["example.org", "151.101.2.132"]))


def test_file_names():
    assert file_name("https://a.org/x/libc%2B%2B_1.0~rc1.tar.gz?download=1") == (
        "libc++_1.0~rc1.tar.gz"
    )
    assert file_name("https://a.org/..%2f..%2fetc%2fpasswd") == "passwd"


@pytest.mark.parametrize(
    "path", ["", "/", "/x/", "/x/..", "/%2e%2e", "/.x", "/-rf", "/a%00b", "/a%0Ab", "/" + "x" * 300]
)
def test_paths_without_a_file_name(path):
    with pytest.raises(FetchError):
        file_name(f"https://a.org{path}")
