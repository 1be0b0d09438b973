"""Who owns a file of an environment: dpkg, apk, merged /usr, diversions, and hostile roots."""

from __future__ import annotations

from pathlib import Path

from minid.formats.package_record import dump_package, parse_package
from minid.host.package_owners import find_owners

STATUS = """\
Package: libz1
Status: install ok installed
Architecture: amd64
Source: zlib (1.2-3)
Version: 1:1.2-3+b1

Package: libold
Status: deinstall ok config-files
Architecture: amd64
Version: 9

Package: tool
Status: install ok installed
Architecture: all
Version: 2

Package: wrapper
Status: install ok installed
Architecture: amd64
Version: 3
"""
APK = "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\n\nP:x\n"


def debian(root: Path) -> Path:
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(STATUS)
    (info / "libz1:amd64.list").write_text("/.\n/lib\n/lib/libz.so.1\n")
    (info / "libold:amd64.list").write_text("/usr/lib/libold.so\n")
    (info / "tool.list").write_text("/usr/bin/tool\n/usr/bin/tools\n")
    (info / "wrapper:amd64.list").write_text("/usr/bin/tool\n")
    (root / "var/lib/dpkg/diversions").write_text("/usr/bin/tool\n/usr/bin/tool.real\nwrapper\n")
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    doc = root / "usr/share/doc"
    (doc / "zdoc").mkdir(parents=True)
    (doc / "libz1").symlink_to("zdoc")
    (doc / "zdoc/copyright").write_text(
        "Format: https://x/copyright-format/1.0/\n\nFiles: *\nLicense: Zlib\n"
    )
    return root


def test_dpkg_knows_the_package_behind_a_merged_usr(tmp_path: Path) -> None:
    found = find_owners(debian(tmp_path), ["usr/lib/libz.so.1", "usr/lib/nobodys.so"])
    (package,) = found.values()
    assert list(found) == ["usr/lib/libz.so.1"]
    assert (package.name, package.version, package.architecture) == ("libz1", "1:1.2-3+b1", "amd64")
    assert (package.source, package.source_version) == ("zlib", "1.2-3")
    assert (package.license, package.distribution) == ("Zlib", "debian 12")
    assert parse_package(dump_package(package)) == package


def test_a_diverted_file_is_still_its_packages(tmp_path: Path) -> None:
    found = find_owners(debian(tmp_path), ["usr/bin/tool", "usr/bin/tool.real", "usr/bin/tools"])
    assert {path: package.name for path, package in found.items()} == {
        "usr/bin/tool": "wrapper",
        "usr/bin/tool.real": "tool",
        "usr/bin/tools": "tool",
    }


def test_what_is_not_installed_owns_nothing(tmp_path: Path) -> None:
    assert find_owners(debian(tmp_path), ["usr/lib/libold.so"]) == {}


def test_apk(tmp_path: Path) -> None:
    (tmp_path / "lib/apk/db").mkdir(parents=True)
    (tmp_path / "lib/apk/db/installed").write_text(APK)
    (package,) = find_owners(tmp_path, ["lib/ld-musl-x86_64.so.1"]).values()
    assert (package.manager, package.name, package.version) == ("apk", "musl", "1.2.5-r0")
    assert package.license == "MIT"


def test_a_root_of_anybodys_leads_nowhere_and_breaks_nothing(tmp_path: Path) -> None:
    outside = debian(tmp_path / "outside")
    root = tmp_path / "root"
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/dpkg").symlink_to(outside / "var/lib/dpkg")
    assert find_owners(root, ["usr/lib/libz.so.1"]) == {}
    broken = tmp_path / "broken"
    info = broken / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (broken / "var/lib/dpkg/status").write_bytes(b"\xff\x00Package: \n\nPackage: x\nVersion\n" * 9)
    (broken / "var/lib/dpkg/diversions").write_bytes(b"\xff\n/a")
    (info / "x.list").write_bytes(b"/usr/lib/libz.so.1\n\xff")
    (info / "y.list").symlink_to("/dev/zero")
    (info / "z.list").mkdir()
    assert find_owners(broken, ["usr/lib/libz.so.1", "\udcff"]) == {}
