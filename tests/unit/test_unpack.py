"""The hostile corpus against the extractor, in this process: the child is tested as integration."""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.errors import HostError, UnpackError
from minid.formats.compression import HEAD_BYTES, decompress, detect_compression
from minid.formats.tar_reader import TarLimits
from minid.host import beneath
from minid.host.extract import Profile, Unpacked, extract
from minid.host.unpack import unpack_archive
from tests.support.canary import make_canaries, picture
from tests.support.hostile_archives import all_cases
from tests.support.hostile_case import Case, assert_holds
from tests.support.tar_bytes import END, MTIME, base256, file, folder, hardlink, header, symlink

CASES = all_cases()


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def unpack_here(
    archive: bytes, target: Path, profile: Profile = "source", limits: TarLimits | None = None
) -> Unpacked:
    limits = limits or TarLimits(total_bytes=64 << 20)
    compression = detect_compression(archive[:HEAD_BYTES])
    root_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        chunks = decompress(io.BytesIO(archive).read, compression, limits.total_bytes)
        return extract(chunks, root_fd, limits=limits, profile=profile)
    finally:
        os.close(root_fd)


def run_case(case: Case, box: Path) -> None:
    target = make_canaries(box)
    before = picture(box, target)
    if case.refused:
        with pytest.raises(UnpackError) as caught:
            unpack_here(case.archive, target)
        assert re.search(case.refused, caught.value.message), caught.value.message
        assert caught.value.message.isprintable()
    else:
        unpack_here(case.archive, target)
        assert_holds(case, target)
    assert picture(box, target) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_archive(case: Case, tmp_path: Path) -> None:
    run_case(case, tmp_path)


def test_corpus_without_openat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "openat2_works", lambda: False)
    for number, case in enumerate(CASES):
        run_case(case, tmp_path / str(number))


@pytest.mark.parametrize(
    ("limits", "archive", "refused"),
    [
        (TarLimits(members=5), b"".join(file(b"%d" % n) for n in range(6)) + END, "5 members"),
        (TarLimits(members=9), file(b"a/b/c/d/e/n") + file(b"f/g/h/i/j/n") + END, "9 folders"),
        (TarLimits(members=1), header(b"g", b"g") * 5 + file(b"n") + END, "1 members"),
        (TarLimits(file_bytes=3), file(b"n") + END, "at most 3 bytes, got 4"),
        (TarLimits(total_bytes=4096), file(b"n", bytes(4096)) + END, "at most 4096 bytes"),
        (TarLimits(depth=2), file(b"a/b/n") + END, "depth of 2, got 3"),
        (TarLimits(path_bytes=4), file(b"abcde") + END, "at most 4 bytes, got 5"),
    ],
)
def test_limits(limits: TarLimits, archive: bytes, refused: str, tmp_path: Path) -> None:
    with pytest.raises(UnpackError, match=refused):
        unpack_here(archive, tmp_path, limits=limits)


def test_zeros_behind_the_end_count_as_bytes(tmp_path: Path) -> None:
    bomb = gzip.compress(file(b"n") + END + bytes(32 << 20))
    with pytest.raises(UnpackError, match="at most 16777216 bytes"):
        unpack_here(bomb, tmp_path, limits=TarLimits(total_bytes=16 << 20))


def test_report_and_times(tmp_path: Path) -> None:
    archive = folder(b"top") + file(b"top/a", b"12345") + file(b"top/b", mtime=MTIME + 9) + END
    assert unpack_here(archive, tmp_path) == Unpacked(
        members=3, bytes=9, newest_mtime=MTIME + 9, top_folder="top"
    )
    assert (tmp_path / "a").stat().st_mtime_ns == MTIME * 10**9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_times_are_clamped(tmp_path: Path) -> None:
    archive = file(b"early", mtime=base256(-5)) + file(b"late", mtime=base256(1 << 60)) + END
    assert unpack_here(archive, tmp_path).newest_mtime == (1 << 32) - 1
    assert (tmp_path / "early").stat().st_mtime == 0
    assert (tmp_path / "late").stat().st_mtime == (1 << 32) - 1


def test_hard_links_share_one_inode(tmp_path: Path) -> None:
    unpack_here(file(b"d/a") + hardlink(b"e/b", b"d/a") + END, tmp_path)
    assert (tmp_path / "d/a").stat().st_ino == (tmp_path / "e/b").stat().st_ino


def test_symlink_at_the_top_is_no_top_folder(tmp_path: Path) -> None:
    assert unpack_here(symlink(b"top", b"x") + END, tmp_path).top_folder == ""


def test_rootfs_profile(tmp_path: Path) -> None:
    archive = (
        folder(b"./", 0o700)
        + header(b"./dev/null", b"3", mode=0o666)
        + header(b"./run/initctl", b"6")
        + file(b"./usr/bin/su", mode=0o4111)
        + symlink(b"./bin", b"usr/bin")
        + symlink(b"./etc", b"/etc")
        + END
    )
    unpacked = unpack_here(archive, tmp_path, "rootfs")
    assert (unpacked.skipped, unpacked.top_folder, unpacked.members) == (2, "", 6)
    assert stat.S_IMODE((tmp_path / "usr/bin/su").stat().st_mode) == 0o711
    assert (tmp_path / "etc").readlink() == Path("/etc")
    assert not (tmp_path / "dev").exists()


def test_rootfs_keeps_its_one_folder(tmp_path: Path) -> None:
    assert unpack_here(file(b"usr/n") + END, tmp_path, "rootfs").top_folder == ""
    assert (tmp_path / "usr/n").read_bytes() == b"data"


def test_target_must_be_empty(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(file(b"n") + END)
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(HostError, match=r"a\.tar: target: expected an empty folder"):
        unpack_archive(archive, target, uid=None, gid=None)


def test_archive_must_be_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    (tmp_path / "target").mkdir()
    with pytest.raises(HostError, match="regular file"):
        unpack_archive(tmp_path / "a.tar", tmp_path / "target", uid=None, gid=None)
