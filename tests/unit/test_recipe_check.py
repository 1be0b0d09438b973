"""The checks of a recipe: what each kind of line is read as, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.errors import RecipeError
from minid.recipe import Certificate, Check, Start, StartFile
from minid.recipe_reader import parse_recipe

HEAD = f"""
[source]
version = "1.2.3"
url = "https://example.org/x-{{version}}.tar.gz"
sha256 = "{"1" * 64}"

[build]
steps = ["make"]

[[check]]
"""


def read(line: str) -> Check:
    (check,) = parse_recipe((HEAD + line).encode(), Path("x.toml")).checks
    return check


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ("http = {}", Check("http", port=80)),
        ("http = { tls = true }", Check("http", port=443, tls=True)),
        ("http = { tls = true, port = 8443 }", Check("http", port=8443, tls=True)),
        ("tcp = 1\ncontains = 'a'", Check("tcp", port=1, contains="a")),
        ("start = {}", Check("start", start=Start())),
        (
            "start = { env = ['B=2', 'A=1'], cmd = [] }\ndeadline = '1 min'",
            Check("start", start=Start((("A", "1"), ("B", "2")), ()), deadline_s=60),
        ),
        (
            "start = { files = [{ path = '/a', content = 'x', mode = '0600', owner = 'web' }] }",
            Check("start", start=Start(files=(StartFile("/a", "x", "web", 0o600),))),
        ),
        (
            "start.certificate = { cert = '/c', key = '/k', names = ['*.a.example', '127.0.0.1'] }",
            Check(
                "start",
                start=Start(certificate=Certificate("/c", "/k", ("*.a.example", "127.0.0.1"))),
            ),
        ),
        ("restart = true", Check("restart")),
        ("stop = {}", Check("stop")),
        ("stop = { exit_code = 137 }", Check("stop", exit_code=137)),
        ("process = { name = 'redis-server' }", Check("process", name="redis-server")),
        ("process = { name = 'a', user = '100' }", Check("process", name="a", user="100")),
        ("log = { contains = 'ready' }", Check("log", contains="ready")),
        (
            "log = { stream = 'stderr' }\ncontains = 'x'",
            Check("log", stream="stderr", contains="x"),
        ),
        ("fastcgi = { script = '/a.php' }", Check("fastcgi", port=9000, script="/a.php")),
        (
            "fastcgi = { script = '/a', port = 1, query = 'b', params.A = 'x', status = 404 }",
            Check("fastcgi", port=1, script="/a", query="b", params=(("A", "x"),), status=404),
        ),
    ],
)
def test_line_is_read_as_a_check(line: str, check: Check) -> None:
    assert read(line) == check


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("restart = false", "check[0].restart: expected true, got false"),
        ("stop = true", "check[0].stop: expected a table"),
        ("stop = {}\nexit_code = 1", 'check[0].exit_code: expected no such key without "exec"'),
        (
            "restart = true\ncontains = 'x'",
            "check[0].contains: expected no such key beside restart",
        ),
        (
            "log = { contains = 'a' }\ncontains = 'b'",
            "check[0].contains: expected either contains or log.contains, got both",
        ),
        ("log = {}", "check[0].log: expected a text to look for as contains, got none"),
        (
            "log = { stream = 'stdout' }\ncontains = ''",
            "check[0].log: expected a text to look for as contains, got none",
        ),
        ("log = { stream = 'out' }", 'check[0].log.stream: expected "stdout" or "stderr"'),
        ("process = { user = 'a' }", "check[0].process.name: expected the name of a program"),
        ("process = { name = '/bin/a' }", "check[0].process.name: expected the name of a program"),
        ("fastcgi = {}", "check[0].fastcgi.script: expected an absolute"),
        ("fastcgi = { script = '/a', query = 'a b' }", "check[0].fastcgi.query: expected a query"),
        (
            "start.files = [{ path = '/a', content = '' }, { path = '/a', content = '' }]",
            'check[0].start: expected each path once, got "/a" again',
        ),
        (
            "start.certificate = { cert = '/a', key = '/a' }",
            'check[0].start: expected each path once, got "/a" again',
        ),
        ("start.files = [{ path = '/../a', content = '' }]", "check[0].start.files[0].path: expec"),
        (
            "start.certificate = { cert = '/a', key = '/b', names = ['a,DNS:b'] }",
            "check[0].start.certificate.names[0]: expected a DNS name",
        ),
        ("start.env = { '1 X' = 'a' }", 'check[0].start.env."1 X": expected a variable name'),
    ],
)
def test_what_does_not_fit_is_said(line: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(line)
    assert caught.value.message.startswith(f"x.toml: {expected}")
