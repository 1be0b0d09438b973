from __future__ import annotations

from minid.formats.apt import AptSource, SourcesScanner, parse_deb822, parse_one_line
from minid.formats.digest import Digest

ONE_LINE = """\
# deb http://off.example/debian stable main
deb http://a.example/debian/ bookworm main contrib  # the archive
deb-src [signed-by=/x.gpg arch=amd64] http://a.example/debian bookworm-updates main
deb [ trusted=yes ] file:/srv/archive local main
deb http://flat.example/repo ./
deb
rpm http://b.example/ x y
deb\thttp://tab.example/debian\tsid\tmain
"""

DEB822 = """\
# Ubuntu's own file begins with comments
Types: deb deb-src
URIs: http://a.example/ubuntu/ http://b.example/ubuntu
Suites: noble noble-updates
 noble-backports
# in the middle of a field
Components: main universe
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFufwdoBEADv
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example/ubuntu
Suites: noble
Components: main

Types: deb
URIs: http://flat.example/repo
Suites: ./


types: deb
uris: http://c.example/security
suites: noble-security
components: main
"""

STANZA = """\
Package: zlib
Binary: zlib1g, zlib1g-dev
Version: 1:1.3.dfsg+really1.3.1-1
Directory: pool/main/z/zlib
Checksums-Sha256:
 {dsc} 2000 zlib_1.3.dfsg+really1.3.1-1.dsc
 {orig} 1300000 zlib_1.3.dfsg+really1.3.1.orig.tar.gz
 {sig} 800 zlib_1.3.dfsg+really1.3.1.orig.tar.gz.asc
 broken line
 xyz 12 zlib_9.orig.tar.gz
 {dsc} 12 ../../zlib_9.orig.tar.gz
Homepage: http://zlib.net/
"""
ORIG, DSC, SIG = Digest.of(b"orig"), Digest.of(b"dsc"), Digest.of(b"sig")
INDEX = "\n".join(
    [
        "Package: aaa\nVersion: 1\n",
        STANZA.format(orig=ORIG.hex, dsc=DSC.hex, sig=SIG.hex),
        "Package: zzz\nVersion: 2\n",
    ]
).encode()


def scan(index, package, version, digest, step=7):
    scanner = SourcesScanner(package, version, digest)
    for start in range(0, len(index), step):
        scanner.feed(index[start : start + step])
    scanner.close()
    return scanner.found


def test_one_line():
    assert parse_one_line(ONE_LINE) == [
        AptSource("http://a.example/debian", ("bookworm",), ("main", "contrib")),
        AptSource("http://a.example/debian", ("bookworm-updates",), ("main",)),
        AptSource("file:/srv/archive", ("local",), ("main",)),
        AptSource("http://tab.example/debian", ("sid",), ("main",)),
    ]


def test_deb822():
    suites = ("noble", "noble-updates", "noble-backports")
    assert parse_deb822(DEB822) == [
        AptSource("http://a.example/ubuntu", suites, ("main", "universe")),
        AptSource("http://b.example/ubuntu", suites, ("main", "universe")),
        AptSource("http://c.example/security", ("noble-security",), ("main",)),
    ]


def test_empty_files():
    assert parse_one_line("") == parse_deb822("") == parse_deb822("\n\n") == []


def test_found_by_name():
    (file,) = scan(INDEX, "zlib", "1.3.dfsg+really1.3.1", Digest.of(b"other"))
    assert file.name == "zlib_1.3.dfsg+really1.3.1.orig.tar.gz"
    assert file.directory == "pool/main/z/zlib"
    assert (file.package, file.version, file.digest) == ("zlib", "1:1.3.dfsg+really1.3.1-1", ORIG)


def test_found_by_digest_under_another_version():
    (file,) = scan(INDEX, "zlib", "1.3.1", ORIG)
    assert file.digest == ORIG


def test_not_found():
    assert scan(INDEX, "zlib", "1.3.1", Digest.of(b"other")) == []
    assert scan(b"", "zlib", "1.3.1", ORIG) == []


def test_names_with_a_slash_and_bad_digests_are_left_out():
    assert scan(INDEX, "zlib", "9", Digest.of(b"other")) == []


def test_the_last_stanza_needs_no_empty_line():
    index = STANZA.format(orig=ORIG.hex, dsc=DSC.hex, sig=SIG.hex).rstrip().encode()
    assert len(scan(index, "zlib", "1.3.1", ORIG)) == 1


def test_an_endless_stanza_is_dropped():
    scanner = SourcesScanner("zlib", "1.3.1", ORIG)
    for _ in range(40):
        scanner.feed(b"x" * (1 << 20))
    scanner.feed(b"\n\n" + INDEX)
    scanner.close()
    assert [file.digest for file in scanner.found] == [ORIG]
