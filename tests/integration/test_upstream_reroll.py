"""Archives that changed without a new version: what they hold, compared in a child."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from minid.errors import HostError, UnpackError
from minid.formats.digest import Digest
from minid.host import inner_digest as child
from minid.host.inner_digest import inner_digest
from minid.upstream.reroll import compare_archives

pytestmark = pytest.mark.integration


def tarball(text: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("x-1.0/main.c")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return made.getvalue()


@pytest.mark.parametrize(
    "compress",
    [lambda data: gzip.compress(data, 1), lzma.compress, bz2.compress, bytes],
    ids=["gzip", "xz", "bzip2", "plain"],
)
def test_28_same_tar_is_recompressed(tmp_path: Path, compress):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(gzip.compress(tarball(b"int main;")))
    new.write_bytes(compress(tarball(b"int main;")))
    assert compare_archives(old, new) == "recompressed"
    new.write_bytes(compress(tarball(b"int evil;")))
    assert compare_archives(old, new) == "rerolled"


def test_28_damaged_hostile_or_unlike_is_rerolled(tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    packed = gzip.compress(tarball(b"int main;"))
    old.write_bytes(packed)
    for bytes_ in (packed[:-5], packed + b"more", b"PK\x03\x04zip", b"", b"<html>"):
        new.write_bytes(bytes_)
        assert compare_archives(old, new) == "rerolled", bytes_[:10]


def test_inner_digest_is_bounded(tmp_path: Path):
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(50 << 20)))
    assert inner_digest(bomb) == Digest.of(bytes(50 << 20))
    with pytest.raises(UnpackError, match=r"bomb\.gz: .*at most 1048576 bytes"):
        inner_digest(bomb, max_bytes=1 << 20)
    with pytest.raises(HostError, match="none"):
        inner_digest(tmp_path / "none")


def test_child_reads_only_what_it_is_given(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root gives up a user's rights")
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(gzip.compress(b"x"))
    archive.chmod(0o600)
    assert inner_digest(archive) == Digest.of(b"x")
    code = (
        f"import os; from {child.__name__} import _give_up_rights; _give_up_rights()\n"
        f"print(os.getresuid(), os.getgroups(), os.access({str(archive)!r}, os.R_OK))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["(65534,", "65534,", "65534)", "[]", "False"]
