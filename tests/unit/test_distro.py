from __future__ import annotations

import gzip
import lzma
from itertools import islice
from pathlib import Path

import pytest

from minid.config import Fetching
from minid.errors import FetchError
from minid.formats.apt import AptSource
from minid.formats.digest import Digest
from minid.host.distro import (
    Apt,
    load_apt,
    orig_candidates,
    parse_proxies,
    pool_guesses,
    proxied,
    sibling_suites,
)
from tests.support.lying_server import LyingServer, body, status

LIMITS = Fetching(attempts=1, connect_timeout_s=1, read_timeout_s=1)
ORIG = Digest.of(b"orig")

DUMP = """\
APT "";
Acquire::http "";
Acquire::http::Proxy "http://p.example:3128";
Acquire::http::Proxy::Inside.example "DIRECT";
Acquire::https::Proxy::s.example "http://q.example:1";
Acquire::http::Proxy-Auto-Detect "/usr/bin/auto";
Acquire::https::Proxy "";
Acquire::ftp::Proxy "ftp://f.example";
"""

DISTRO_INFO = """\
version,codename,series,created,release,eol
11,Bullseye,bullseye,2019-07-06,2021-08-14,2024-08-14
12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11
13,Trixie,trixie,2023-06-10
,Sid,sid,1993-08-16
"""


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def index(package, version, digest, name):
    return (
        f"Package: {package}\nVersion: {version}-1\nDirectory: pool/main/x/{package}\n"
        f"Checksums-Sha256:\n {digest.hex} 4 {name}\n"
    ).encode()


def test_apt_files_are_read_in_apt_s_order(tmp_path):
    one_line = "deb {} stable main\n"
    deb822 = "Types: deb\nURIs: {}\nSuites: stable\nComponents: main\n"
    write(tmp_path, "etc/apt/sources.list", one_line.format("http://one.example/x"))
    write(tmp_path, "etc/apt/sources.list.d/b.sources", deb822.format("https://b.example/x/"))
    write(tmp_path, "etc/apt/sources.list.d/a.list", one_line.format("file:/srv/x"))
    write(tmp_path, "etc/apt/sources.list.d/c.list.off", one_line.format("http://off.example"))
    for number, uri in enumerate(("cdrom:[x]/", "mirror+file:/x", "http://u:p@h.example/x")):
        write(tmp_path, f"etc/apt/sources.list.d/d{number}.list", one_line.format(uri))
    apt = load_apt(tmp_path)
    uris = [source.uri for source in apt.sources]
    assert uris == ["http://one.example/x", "file:/srv/x", "https://b.example/x"]


def test_a_machine_without_apt(tmp_path):
    complaints = []
    apt = load_apt(tmp_path)
    found = orig_candidates(apt, "zlib", "1", ORIG, LIMITS, complain=complaints.append)
    assert list(found) == []
    assert complaints == ["apt's sources name no package archive"]


def test_proxies_as_apt_chooses_them():
    apt = Apt((), parse_proxies(DUMP))

    def choose(url):
        return proxied(apt, url, LIMITS).proxy

    assert choose("http://a.example/x") == "http://p.example:3128"
    assert choose("http://inside.example/x") == ""
    assert choose("https://s.example/x") == "http://q.example:1"
    assert choose("https://a.example/x") == "http://p.example:3128"
    assert proxied(Apt(()), "http://a.example/x", LIMITS) is LIMITS


def test_pool_guesses():
    apt = Apt(
        (
            AptSource("http://a/debian", ("bookworm", "sid"), ("main", "contrib")),
            AptSource("http://a/debian", ("bookworm-updates",), ("main",)),
            AptSource("http://a/debian-security", ("bookworm-security",), ("main",)),
        )
    )
    urls = [candidate.url for candidate in pool_guesses(apt, "libpng1.6", "1.6.39")]
    assert len(urls) == len(set(urls)) == 16
    assert urls[0] == "http://a/debian/pool/main/libp/libpng1.6/libpng1.6_1.6.39.orig.tar.gz"
    assert urls[-1] == (
        "http://a/debian-security/pool/updates/main/libp/libpng1.6/libpng1.6_1.6.39.orig.tar.zst"
    )
    nginx = next(pool_guesses(apt, "nginx", "1.26.3"))
    assert nginx.url == "http://a/debian/pool/main/n/nginx/nginx_1.26.3.orig.tar.gz"


def test_an_epoch_is_no_part_of_the_name():
    apt = Apt((AptSource("http://a/debian", ("sid",), ("main",)),))
    first = next(orig_candidates(apt, "busybox", "1:1.37.0", ORIG, LIMITS, complain=print))
    assert first.url.endswith("/b/busybox/busybox_1.37.0.orig.tar.gz")


@pytest.mark.parametrize(
    ("package", "version"),
    [("../x", "1"), ("X", "1"), ("", "1"), ("zlib", "../1"), ("zlib", ""), ("zlib", "1 2")],
)
def test_names_that_could_leave_the_pool(package, version):
    with pytest.raises(FetchError):
        next(orig_candidates(Apt(()), package, version, ORIG, LIMITS, complain=print))


def test_sibling_suites(tmp_path):
    assert sibling_suites("bookworm", tmp_path) == ["stable", "testing", "unstable", "oldstable"]
    write(tmp_path, "usr/share/distro-info/debian.csv", DISTRO_INFO)
    assert sibling_suites("bookworm", tmp_path) == ["sid", "trixie", "bullseye"]
    assert sibling_suites("bookworm-security", tmp_path)[:2] == ["sid-security", "trixie-security"]
    assert sibling_suites("stable", tmp_path) == ["sid", "trixie", "bookworm", "bullseye"]
    assert sibling_suites("bookworm-updates", tmp_path) == []
    assert sibling_suites("nodistro", tmp_path) == []


def candidates_of_indexes(archive, suites, version, tmp_path):
    """What the indexes say, the guesses left out, and the complaints."""
    write(tmp_path, "usr/share/distro-info/debian.csv", DISTRO_INFO)
    apt = Apt((AptSource(archive, suites, ("main",)),), root=tmp_path)
    complaints: list[str] = []
    found = orig_candidates(apt, "zlib", version, ORIG, LIMITS, complain=complaints.append)
    return [candidate.url for candidate in islice(found, 4, None)], complaints


def test_indexes_of_the_suite_and_of_its_siblings(tmp_path):
    by_name = index("zlib", "1.3", ORIG, "zlib_1.3.orig.tar.xz")
    by_digest = index("zlib", "1.3~odd", ORIG, "zlib_1.3~odd.orig.tar.gz")
    paths = {
        "/d/dists/bookworm/main/source/Sources.xz": body(lzma.compress(by_name)),
        "/d/dists/trixie/main/source/Sources.gz": body(gzip.compress(by_digest)),
    }
    with LyingServer(paths) as server:
        urls, complaints = candidates_of_indexes(server.url("/d"), ("bookworm",), "1.3", tmp_path)
        assert urls == [
            server.url("/d/pool/main/x/zlib/zlib_1.3.orig.tar.xz"),
            server.url("/d/pool/main/x/zlib/zlib_1.3~odd.orig.tar.gz"),
        ]
    assert complaints == []


def test_an_index_that_knows_other_bytes(tmp_path):
    other = index("zlib", "1.3", Digest.of(b"repacked"), "zlib_1.3.orig.tar.gz")
    paths = {"/d/dists/bookworm/main/source/Sources.xz": body(lzma.compress(other))}
    with LyingServer(paths) as server:
        urls, complaints = candidates_of_indexes(server.url("/d"), ("bookworm",), "1.3", tmp_path)
    assert urls == []
    assert str(Digest.of(b"repacked")) in complaints[0]


def test_damaged_indexes_are_told_and_passed_over(tmp_path):
    good = lzma.compress(index("zlib", "1.3", ORIG, "zlib_1.3.orig.tar.xz"))
    paths = {
        "/d/dists/one/main/source/Sources.xz": body(good[:-20]),
        "/d/dists/two/main/source/Sources.xz": body(b"<html>"),
        "/d/dists/three/main/source/Sources.xz": status(500),
        "/d/dists/four/main/source/Sources.xz": body(good),
    }
    suites = ("one", "two", "three", "four")
    with LyingServer(paths) as server:
        urls, complaints = candidates_of_indexes(server.url("/d"), suites, "1.3", tmp_path)
    assert urls[-1].endswith("/pool/main/x/zlib/zlib_1.3.orig.tar.xz")
    assert len(complaints) == 3


def test_a_bomb_for_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr("minid.host.distro._INDEX_UNPACKED_BYTES", 1 << 20)
    bomb = lzma.compress(b"x" * (2 << 20))
    with LyingServer({"/d/dists/one/main/source/Sources.xz": body(bomb)}) as server:
        urls, complaints = candidates_of_indexes(server.url("/d"), ("one",), "1.3", tmp_path)
    assert urls == []
    assert "1048576" in complaints[0]
