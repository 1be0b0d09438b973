"""Requests, records and package sources: what can be tried without making a tree."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from minid.config import EnvironmentSpec
from minid.errors import HostError, RecipeError
from minid.host import apt_sources, environment
from minid.host.apt_sources import AptSource, parse_deb822, parse_one_line, select_sources
from minid.host.environment import find_environment, make_environment, request_key
from minid.host.namespace import BuildIdentity

DEBIAN = EnvironmentSpec("debian", "debian", suite="bookworm")
HOST = EnvironmentSpec("host", "host", packages=())

STATUS = """\
Package: zlib1g
Status: install ok installed
Version: 1:1.2.13

Package: gone
Status: deinstall ok config-files
Version: 1

Package: gcc
Status: install ok installed
Description: a compiler
 Version: 9 of nothing
Version: 12.2.0-1
"""


def make(spec: EnvironmentSpec, packages: tuple[str, ...], folder: Path, **more):
    return make_environment(
        spec, packages, folder, identity=BuildIdentity(), output=lambda line: None, **more
    )


# Keys


def test_equal_requests_share_a_folder():
    one = request_key(DEBIAN, ("zlib1g-dev", "libssl-dev"))
    assert one == request_key(DEBIAN, ("libssl-dev", "zlib1g-dev", "gcc"))


@pytest.mark.parametrize(
    "other",
    [
        EnvironmentSpec("debian", "debian", suite="trixie"),
        EnvironmentSpec("debian", "debian", suite="bookworm", packages=("gcc",)),
        EnvironmentSpec("debian", "debian", suite="bookworm", mirror="http://mirror.test/debian"),
        EnvironmentSpec("debian", "image", image="debian:12"),
    ],
)
def test_other_requests_have_other_folders(other: EnvironmentSpec):
    assert request_key(other, ()) != request_key(DEBIAN, ())


def test_the_name_of_an_environment_does_not_matter():
    other = EnvironmentSpec("builder", "debian", suite="bookworm")
    assert request_key(other, ()) == request_key(DEBIAN, ())


@pytest.mark.parametrize("name", ["", "-o", "a b", "a,b", "../x", "$(id)", "Upper", "a\nb", "a;b"])
def test_a_package_name_is_one(name: str):
    with pytest.raises(RecipeError, match="expected a package name"):
        request_key(DEBIAN, (name,))


def test_an_image_brings_its_own_packages():
    with pytest.raises(RecipeError, match="expected none in environment 'centos'"):
        request_key(EnvironmentSpec("centos", "image", image="centos:7"), ("zlib1g-dev",))


# Records


def write_record(folder: Path, spec: EnvironmentSpec, **changed) -> Path:
    place = folder / request_key(spec, ())
    (place / "root").mkdir(parents=True)
    record = {"schema": 1, "kind": "debian", "packages": ["gcc=12"], "digest": "ab" * 32}
    (place / "environment.json").write_text(json.dumps(record | changed))
    return place


def test_a_record_is_read(tmp_path: Path):
    place = write_record(tmp_path, DEBIAN)
    found = find_environment(DEBIAN, (), tmp_path)
    assert found is not None
    assert (found.name, found.kind, found.root) == ("debian", "debian", str(place / "root"))
    assert (found.digest.hex, found.packages) == ("ab" * 32, ("gcc=12",))


def test_finding_costs_less_than_three_milliseconds(tmp_path: Path):
    write_record(tmp_path, DEBIAN)
    started = time.perf_counter()
    for _ in range(20):
        find_environment(DEBIAN, (), tmp_path)
    assert (time.perf_counter() - started) / 20 < 0.003


@pytest.mark.parametrize("changed", [{"schema": 0}, {"digest": "none"}, {"digest": 7}])
def test_a_record_from_elsewhere_is_no_environment(tmp_path: Path, changed):
    write_record(tmp_path, DEBIAN, **changed)
    assert find_environment(DEBIAN, (), tmp_path) is None


def test_half_an_environment_is_none(tmp_path: Path):
    place = write_record(tmp_path, DEBIAN)
    (place / "environment.json").write_text('{"schema": 1, "ki')
    assert find_environment(DEBIAN, (), tmp_path) is None
    (place / "environment.json").unlink()
    assert find_environment(DEBIAN, (), tmp_path) is None


def test_waiting_for_another_maker_can_be_cancelled(tmp_path: Path):
    cancel = threading.Event()
    lock = tmp_path / f"{request_key(DEBIAN, ())}.lock"
    with environment._exclusive(lock, None):
        threading.Timer(0.2, cancel.set).start()
        with pytest.raises(HostError, match="got cancelled"):
            make(DEBIAN, (), tmp_path, cancel=cancel)


def test_who_waited_takes_what_the_other_made(tmp_path: Path):
    lock = tmp_path / f"{request_key(DEBIAN, ())}.lock"
    made = []
    with environment._exclusive(lock, None):
        thread = threading.Thread(target=lambda: made.append(make(DEBIAN, (), tmp_path)))
        thread.start()
        time.sleep(0.2)
        assert not made
        write_record(tmp_path, DEBIAN)
    thread.join(5)
    assert made[0].packages == ("gcc=12",)


# The machine itself


@pytest.fixture
def status(tmp_path: Path, monkeypatch) -> Path:
    file = tmp_path / "status"
    file.write_text(STATUS)
    monkeypatch.setattr(environment, "_DPKG_STATUS", file)
    return file


def test_installed_packages_are_read(status: Path):
    assert environment.load_dpkg_packages(status) == ("gcc=12.2.0-1", "zlib1g=1:1.2.13")


def test_the_machines_digest_follows_its_packages(status: Path, tmp_path: Path):
    first = find_environment(HOST, (), tmp_path / "envs")
    assert first == find_environment(HOST, (), tmp_path / "envs")
    status.write_text(STATUS.replace("12.2.0-1", "12.2.0-2"))
    second = find_environment(HOST, (), tmp_path / "envs")
    assert first is not None
    assert second is not None
    assert first.digest != second.digest
    assert second.packages[0] == "gcc=12.2.0-2"


def test_a_damaged_cache_is_made_again(status: Path, tmp_path: Path):
    first = find_environment(HOST, (), tmp_path / "envs")
    (tmp_path / "envs/host.json").write_text("{")
    assert find_environment(HOST, (), tmp_path / "envs") == first


def test_packages_that_the_machine_lacks_are_named(status: Path, tmp_path: Path):
    assert find_environment(HOST, ("gcc",), tmp_path) is not None
    assert find_environment(HOST, ("gcc", "libssl-dev"), tmp_path) is None
    with pytest.raises(HostError, match="libssl-dev") as caught:
        make(HOST, ("gcc", "libssl-dev"), tmp_path)
    assert caught.value.hint == "apt-get install libssl-dev"


# Package sources


def test_one_line_sources_are_read():
    text = """\
# deb http://commented.test/debian bookworm main
deb http://mirror.test/debian bookworm main contrib # trailing
deb-src http://mirror.test/debian bookworm main
deb [ signed-by=/usr/share/keyrings/k.gpg trusted=yes ] https://x.test bookworm-updates main
"""
    assert parse_one_line(text) == [
        AptSource("http://mirror.test/debian", "bookworm", ("main", "contrib")),
        AptSource(
            "https://x.test", "bookworm-updates", ("main",), "/usr/share/keyrings/k.gpg", "yes"
        ),
    ]


def test_stanza_sources_are_read():
    text = """\
Types: deb deb-src
# URIs: http://commented.test/
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
Enabled: no
URIs: http://disabled.test
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.test
Suites: bookworm
"""
    found = parse_deb822(text)
    assert [source.suite for source in found] == ["bookworm", "bookworm-updates"]
    assert found[0].components == ("main", "contrib")
    assert found[0].signed_by == "/usr/share/keyrings/k.gpg"


def test_a_key_inside_a_stanza_becomes_a_file(tmp_path: Path):
    text = """\
Types: deb
URIs: http://mirror.test/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY
 -----END PGP PUBLIC KEY BLOCK-----
"""
    (line,) = apt_sources.write_lines(tuple(parse_deb822(text)), tmp_path)
    key = tmp_path / "source-0.asc"
    assert line == f"deb [signed-by={key}] http://mirror.test/debian bookworm main"
    assert key.read_text().splitlines()[:3] == [
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        "",
        "mDMEY",
    ]


def test_files_are_read_in_apts_order(tmp_path: Path):
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.test s main\n")
    (parts / "b.list").write_text("deb http://b.test s main\n")
    (parts / "c.sources").write_text("Types: deb\nURIs: http://c.test\nSuites: s\n")
    (parts / "d.save").write_text("deb http://d.test s main\n")
    found = [source.uri for source in apt_sources.load_sources(tmp_path)]
    assert found == ["http://a.test", "http://b.test", "http://c.test"]


OWN = (
    AptSource("http://mirror.test/debian", "bookworm", ("main",)),
    AptSource("http://mirror.test/debian", "bookworm-updates", ("main",)),
    AptSource("http://security.test", "bookworm-security", ("main",)),
    AptSource("http://vendor.test", "nodistro", ("main",)),
)


def test_only_sources_of_the_suite_are_used():
    assert select_sources(OWN, "bookworm", "bookworm") == OWN[:3]


def test_another_suite_comes_from_the_same_archives():
    found = select_sources(OWN, "trixie", "bookworm")
    assert [source.suite for source in found] == ["trixie", "trixie-updates", "trixie-security"]


def test_no_source_at_all_is_an_error():
    with pytest.raises(HostError, match="expected a source of suite 'trixie'"):
        select_sources(OWN[3:], "trixie", "bookworm")
