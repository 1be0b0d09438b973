"""The distribution as a source, on archives that dpkg's own tools made and on this machine's."""

from __future__ import annotations

import lzma
import os
import subprocess
from pathlib import Path

import pytest

from minid.config import Fetching
from minid.errors import DigestMismatchError
from minid.formats.digest import Digest
from minid.host.distro import load_apt
from minid.recipe import Distro, Source
from minid.steps.fetch import fetch_archive
from minid.store.blobs import Blobs
from tests.support.require import require

pytestmark = pytest.mark.integration

CONTROL = """\
Source: {name}
Maintainer: Nobody <nobody@example.org>
Standards-Version: 4.6.2

Package: {name}
Architecture: all
Description: a package
"""
CHANGELOG = """\
{name} ({version}) unstable; urgency=low

  * Nothing.

 -- Nobody <nobody@example.org>  Sat, 01 Jan 2022 00:00:00 +0000
"""


@pytest.fixture
def blobs(tmp_path):
    store = Blobs(tmp_path / "store")
    store.prepare()
    return store


@pytest.fixture
def machine(tmp_path):
    """A root folder with apt set up for an empty archive in `archive`, suite `sid`."""
    apt = tmp_path / "root/etc/apt/sources.list.d"
    apt.mkdir(parents=True)
    uri = f"file:{tmp_path}/archive"
    text = f"Types: deb\nURIs: {uri}\nSuites: sid\nComponents: main\n"
    (apt / "local.sources").write_text(text)
    return tmp_path


def add_package(archive: Path, name: str, version: str, pool: str) -> Digest:
    """Make a source package with dpkg-source, put it into `pool`, and index the archive."""
    upstream, _, _ = version.rpartition("-")
    folder = archive / pool
    tree = folder / f"{name}-{upstream}"
    (tree / "debian/source").mkdir(parents=True)
    (tree / "hello.c").write_text(f"/* {name} */\n")
    orig = folder / f"{name}_{upstream}.orig.tar.xz"
    run(["tar", "-cJf", orig.name, "--exclude=debian", tree.name], folder)
    (tree / "debian/control").write_text(CONTROL.format(name=name))
    (tree / "debian/changelog").write_text(CHANGELOG.format(name=name, version=version))
    (tree / "debian/source/format").write_text("3.0 (quilt)\n")
    run(["dpkg-source", "-b", tree.name], folder)
    index = archive / "dists/sid/main/source/Sources.xz"
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_bytes(lzma.compress(run(["dpkg-scansources", "."], archive)))
    return Digest.of(orig.read_bytes())


def run(argv: list[str], cwd: Path) -> bytes:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def fetch(blobs, digest, package, version, root):
    source = Source(
        version="1.0",
        url="http://127.0.0.1:1/x-{version}.tar.gz",
        sha256=digest,
        distro=Distro(package, version, digest),
    )
    limits = Fetching(attempts=1)
    return fetch_archive(source, blobs, (), limits, load_distro=lambda: load_apt(root))


def test_the_pool(machine, blobs):
    require("dpkg-source", "dpkg-scansources")
    digest = add_package(machine / "archive", "greet", "1.0-1", "pool/main/g/greet")
    archive = fetch(blobs, digest, "greet", "{version}", machine / "root")
    assert archive.file_name == "greet_1.0.orig.tar.xz"
    assert blobs.has(digest)


@pytest.mark.parametrize("version", ["{version}", "2.0"], ids=["by name", "by digest"])
def test_an_archive_with_a_layout_of_its_own(machine, blobs, version):
    require("dpkg-source", "dpkg-scansources")
    digest = add_package(machine / "archive", "greet", "1.0-1", "odd/place")
    archive = fetch(blobs, digest, "greet", version, machine / "root")
    assert archive.origin.endswith("/odd/place/greet_1.0.orig.tar.xz")


def test_an_archive_with_other_bytes(machine, blobs):
    require("dpkg-source", "dpkg-scansources")
    add_package(machine / "archive", "greet", "1.0-1", "pool/main/g/greet")
    with pytest.raises(DigestMismatchError) as caught:
        fetch(blobs, Digest.of(b"upstream's own"), "greet", "{version}", machine / "root")
    assert caught.value.retryable  # upstream did not answer, and may have the right ones
    assert "by its index" in caught.value.message
    assert not list(blobs.folder.iterdir())


def test_this_machine_s_archives_are_apt_s():
    require("apt-get")
    asked = run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], Path("/"))
    known = {line.rstrip("/") for line in asked.decode().splitlines()}
    usable = {uri for uri in known if uri.startswith(("http:", "https:", "file:"))}
    if not usable:
        pytest.skip("apt has no archive here whose lists were ever fetched")
    assert usable <= {source.uri for source in load_apt().sources}


def test_nginx_out_of_this_machine_s_archive(blobs):
    if not {"archive", "all"} & set(os.environ.get("MINID_REQUIRE", "").split(",")):
        pytest.skip("asks this machine's package archive: set MINID_REQUIRE=archive")
    digest = Digest("69ee2b237744036e61d24b836668aad3040dda461fe6f570f1787eab570c75aa")
    archive = fetch(blobs, digest, "nginx", "1.26.3", Path("/"))
    assert archive.file_name == "nginx_1.26.3.orig.tar.gz"
