"""Reading git's output, and the command line that is safe to run unattended."""

from __future__ import annotations

from minid.formats.url import parse_web_address
from minid.host.git_tags import ls_remote_argv, parse_tags
from minid.host.web_connection import Proxy

OID = b"1" * 40


def test_names_of_tags_each_once() -> None:
    lines = [
        OID + b"\trefs/tags/v1.0",
        OID + b"\trefs/tags/v1.0^{}",
        OID + b"\trefs/tags/release/2.0",
        OID + b"\trefs/heads/main",
        OID + b" refs/tags/no-tab",
        OID + b"\trefs/tags/",
        OID + b"\trefs/tags/\x1b[31m",
        b"",
        b"\xff\xfe\trefs/tags/v1.1\xff",
    ]
    assert parse_tags(b"\n".join(lines)) == ("v1.0", "release/2.0", "v1.1\ufffd")
    assert parse_tags(b"") == ()


def test_the_command_line() -> None:
    address = parse_web_address("https://git.example/app.git")
    argv = ls_remote_argv(address, "git.example:443:192.0.2.1", None)
    assert argv[0] == "git"
    assert argv[-6:] == ["ls-remote", "--tags", "--refs", "--quiet", "--", address.url]
    settings = argv[2:-6:2]
    assert {"protocol.allow=never", "protocol.https.allow=always", "http.proxy="} <= set(settings)
    assert "http.curloptResolve=git.example:443:192.0.2.1" in settings
    assert not any("protocol.http.allow" in word for word in settings)
    proxied = ls_remote_argv(address, "", Proxy("proxy.example", 3128))
    assert "http.proxy=http://proxy.example:3128" in proxied
