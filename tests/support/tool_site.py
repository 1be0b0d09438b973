"""A small recipe whose upstream is a test's own site, and a config.toml that asks it often."""

from __future__ import annotations

import hashlib

from tests.support.line import GROUND_FILES, GROUND_TABLES, Line, source_archive
from tests.support.upstream_site import Page, UpstreamSite, index_page

CONFIG = """\
[fetch]
allow_private = true
distro = false
[track]
inside = ["127.0.0.1"]
gap = 0
every = "1 s"
settle = 0
[publish]
docker = "off"
[daemon]
min_free = "1 kB"
"""
PAGE = "/releases/"
TRACK = """
[track]
from = "index"
url = "{page}"
match = 'tool-(?P<version>[0-9.]+)\\.tar\\.gz'
[track.verify]
unsigned = true
"""
BROKEN = {**GROUND_FILES, "tool.c": "#error broken\n" + GROUND_FILES["tool.c"]}


def put_release(site: UpstreamSite, version: str, files: dict[str, str]) -> str:
    """An archive on the site; its SHA-256."""
    data = source_archive(f"tool-{version}", files)
    site.put(f"{PAGE}tool-{version}.tar.gz", Page(data, "application/octet-stream"))
    return hashlib.sha256(data).hexdigest()


def put_tool(line: Line, site: UpstreamSite) -> None:
    """A recipe at 1.0.0, the only release on the page."""
    digest = put_release(site, "1.0.0", GROUND_FILES)
    site.put(PAGE, index_page("tool-1.0.0.tar.gz"))
    text = f"""\
[source]
version = "1.0.0"
url = "{site.url(PAGE)}tool-{{version}}.tar.gz"
sha256 = "{digest}"
[build]
environment = "host"
steps = ["make", "make DESTDIR=$DESTDIR install"]
"""
    line.recipe("tool").write_text(text + TRACK.format(page=site.url(PAGE)) + GROUND_TABLES)
