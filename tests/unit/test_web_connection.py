from __future__ import annotations

import pytest

from minid.errors import FetchError
from minid.formats.url import parse_web_address
from minid.host.web_connection import Proxy, is_inside, parse_proxy


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example:3128/", Proxy("proxy.example", 3128)),
        ("http://proxy.example", Proxy("proxy.example", 8080)),
        ("proxy.example:3128", Proxy("proxy.example", 3128)),
        ("http://me:a%3Ab@proxy.example:1", Proxy("proxy.example", 1, "Basic bWU6YTpi")),
        ("http://[::1]:3128", Proxy("::1", 3128)),
    ],
)
def test_proxies(url, proxy):
    assert parse_proxy(url) == proxy


@pytest.mark.parametrize(
    "url", ["https://me:secret@proxy:1", "socks5h://me:secret@proxy:1", "http://me:secret@", ""]
)
def test_what_is_no_proxy(url):
    with pytest.raises(FetchError) as caught:
        parse_proxy(url)
    assert "secret" not in caught.value.message


def test_inside_hosts():
    assert is_inside(parse_web_address("http://localhost:1/"), proxied=False)
    assert is_inside(parse_web_address("http://10.1.2.3/"), proxied=False)
    assert not is_inside(parse_web_address("http://151.101.2.132/"), proxied=False)
    assert not is_inside(parse_web_address("http://upstream.invalid/"), proxied=True)
    assert is_inside(parse_web_address("http://localhost/"), proxied=True)
