"""The unpacking child as it is used: with a user to drop to, on bombs and on real releases."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import stat
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from minid.errors import HostError, UnpackError
from minid.formats.compression import HEAD_BYTES, decompress, detect_compression
from minid.formats.tar_reader import TarLimits
from minid.host.extract import extract
from minid.host.unpack import SOURCE_CAPS, UnpackCaps, unpack_archive
from tests.support.canary import make_canaries, picture
from tests.support.hostile_archives import all_cases
from tests.support.hostile_case import Case, assert_holds
from tests.support.require import require
from tests.support.tar_bytes import END, file, folder, header

pytestmark = pytest.mark.integration

# Nobody's number: it owns nothing and is no account.
STRANGER = 64321
UPSTREAM = Path(
    os.environ.get("MINID_TEST_UPSTREAM", Path(__file__).parents[3] / "shared" / "upstream")
)
SMALL = UnpackCaps(tar=TarLimits(total_bytes=256 << 20), wall_s=120)
MB = 1 << 20


def builder() -> int | None:
    """The user to drop to, None where the tests have no right to."""
    return STRANGER if os.geteuid() == 0 else None


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_corpus_through_the_child(case: Case, tmp_path: Path) -> None:
    target = make_canaries(tmp_path / "box")
    archive = tmp_path / "hostile.tar"
    archive.write_bytes(case.archive)
    archive.chmod(0o600)
    before = picture(tmp_path / "box", target)
    if case.refused:
        with pytest.raises(UnpackError, match=r"^hostile\.tar: ") as caught:
            unpack_archive(archive, target, uid=builder(), gid=builder())
        assert re.search(case.refused, caught.value.message), caught.value.message
    else:
        unpack_archive(archive, target, uid=builder(), gid=builder())
        assert_holds(case, target)
        owner = os.geteuid() if builder() is None else builder()
        assert {path.lstat().st_uid for path in target.rglob("*")} <= {owner}
    assert picture(tmp_path / "box", target) == before


def as_stranger(work: Callable[[], list[str]]) -> list[str]:
    """What `work` returns in a fork that is an ordinary user; fails with its traceback."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        report: object = None
        try:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            report = work()
        except BaseException:  # a fork of pytest must end here, whatever happens
            report = traceback.format_exc()
        finally:
            os.write(writing, json.dumps(report).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert isinstance(told, list), told
    return told


def test_corpus_as_an_ordinary_user(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("the whole suite is an ordinary user's")
    cases = all_cases()
    boxes = [tmp_path / str(number) for number in range(len(cases))]
    for box in boxes:
        make_canaries(box)
        for path in (box, *box.rglob("*")):
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    pictures = [picture(box, box / "target") for box in boxes]
    # Folders above may be closed to the stranger: descriptors are what the child gets too.
    roots = [os.open(box / "target", os.O_RDONLY | os.O_DIRECTORY) for box in boxes]

    def work() -> list[str]:
        os.umask(0)
        return [unpack_here(case, root) for case, root in zip(cases, roots, strict=True)]

    messages = as_stranger(work)
    for case, box, before, message in zip(cases, boxes, pictures, messages, strict=True):
        assert re.search(case.refused, message), (case.name, message)
        assert bool(case.refused) == bool(message), (case.name, message)
        assert_holds(case, box / "target")
        assert {path.lstat().st_uid for path in (box / "target").rglob("*")} <= {STRANGER}
        assert picture(box, box / "target") == before, case.name
    for root in roots:
        os.close(root)


def unpack_here(case: Case, root_fd: int) -> str:
    try:
        kind = detect_compression(case.archive[:HEAD_BYTES])
        chunks = decompress(io.BytesIO(case.archive).read, kind, 64 * MB)
        extract(chunks, root_fd, limits=TarLimits(), profile="source")
    except UnpackError as error:
        return error.message
    return ""


class _Plain:
    """A compressor that does not compress."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


COMPRESSORS: dict[str, Callable[[], object]] = {
    "gz": lambda: zlib.compressobj(6, wbits=31),
    "bz2": bz2.BZ2Compressor,
    "xz": lambda: lzma.LZMACompressor(preset=0),
    "zst": lambda: zstandard.ZstdCompressor(level=3).compressobj(),
}


def write_archive(path: Path, kind: str, pieces: Iterator[bytes]) -> Path:
    packer = COMPRESSORS.get(kind, _Plain)()
    with path.open("wb") as out:
        for piece in pieces:
            out.write(packer.compress(piece))  # type: ignore[attr-defined]
        out.write(packer.flush())  # type: ignore[attr-defined]
    return path


def zeros(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(MB)


@pytest.mark.parametrize("kind", sorted(COMPRESSORS))
@pytest.mark.parametrize("place", ["in a file", "behind the end"])
def test_bomb(kind: str, place: str, tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield header(b"n", size=600 * MB) if place == "in a file" else file(b"n") + END
        yield from zeros(600)
        yield END

    target = make_canaries(tmp_path / "box")
    bomb = write_archive(tmp_path / f"bomb.{kind}", kind, pieces())
    assert bomb.stat().st_size < 2 * MB
    with pytest.raises(UnpackError, match="expected at most 268435456 bytes unpacked, got more"):
        unpack_archive(bomb, target, uid=builder(), gid=builder(), caps=SMALL)
    assert sum(path.stat().st_size for path in target.iterdir()) <= SMALL.tar.total_bytes


def test_bomb_of_bombs_in_one_block(tmp_path: Path) -> None:
    """zstd blocks of four bytes that stand for 128 KiB each: one read of input makes 2 GiB."""
    block = ((128 * 1024) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([10 << 3]) + block * 100_000
    (tmp_path / "bomb.zst").write_bytes(frame)
    target = make_canaries(tmp_path / "box")
    with pytest.raises(UnpackError, match="at most 268435456 bytes"):
        unpack_archive(tmp_path / "bomb.zst", target, uid=builder(), gid=builder(), caps=SMALL)


def test_a_million_members(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield folder(b"top")
        for start in range(0, 1_000_000, 10_000):
            prefix = b"top/%d/" % start
            # Each thousand names come ten times: names differ, and duplicates are met too.
            yield b"".join(header(prefix + b"%d" % n) for n in range(1000)) * 10
        yield END

    target = make_canaries(tmp_path / "box")
    archive = write_archive(tmp_path / "million.tar.gz", "gz", pieces())
    caps = replace(SMALL, tar=TarLimits(members=20_000))
    with pytest.raises(UnpackError, match="expected at most 20000 members, got more"):
        unpack_archive(archive, target, uid=builder(), gid=builder(), caps=caps)
    assert len(list(target.rglob("*"))) <= 20_000


def test_endless_headers(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(500):
            yield header(b"g", b"g") * 1000

    target = make_canaries(tmp_path / "box")
    archive = write_archive(tmp_path / "headers.tar.gz", "gz", pieces())
    caps = replace(SMALL, tar=TarLimits(members=1000))
    with pytest.raises(UnpackError, match="expected at most 1000 members"):
        unpack_archive(archive, target, uid=builder(), gid=builder(), caps=caps)


@pytest.mark.parametrize(
    ("caps", "told"),
    [
        (replace(SOURCE_CAPS, cpu_s=1), "exit status -(9|24)"),
        (replace(SOURCE_CAPS, wall_s=0.5), "expected to end within 0.5 s"),
        (replace(SOURCE_CAPS, memory_bytes=1 * MB), "memory|exit status"),
    ],
    ids=["cpu", "wall", "memory"],
)
def test_a_child_that_dies_is_an_error(caps: UnpackCaps, told: str, tmp_path: Path) -> None:
    archive = tmp_path / "slow.tar.bz2"
    archive.write_bytes(bz2.compress(file(b"n") + END) + bz2.compress(bytes(64 * MB)) * 60)
    target = make_canaries(tmp_path / "box")
    started = time.monotonic()
    with pytest.raises(UnpackError, match=f"slow.tar.bz2: .*({told})"):
        unpack_archive(archive, target, uid=builder(), gid=builder(), caps=caps)
    assert time.monotonic() - started < 20


def test_full_disk_is_the_machines_fault(tmp_path: Path) -> None:
    require("mount")
    target = tmp_path / "target"
    target.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", target], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small tmpfs")
    try:
        archive = write_archive(tmp_path / "a.tar", "", iter([file(b"n", bytes(3 * MB)), END]))
        with pytest.raises(HostError, match="room on the disk"):
            unpack_archive(archive, target, uid=builder(), gid=builder())
    finally:
        subprocess.run(["umount", target], check=True)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Names, kinds, sizes, bytes, link texts and permission to execute."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        name = str(path.relative_to(root))
        if stat.S_ISLNK(status.st_mode):
            seen[name] = ("link", path.readlink())
        elif stat.S_ISDIR(status.st_mode):
            seen[name] = ("folder",)
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            executable = bool(status.st_mode & 0o100)
            seen[name] = ("file", status.st_size, digest, int(status.st_mtime), executable)
    return seen


@pytest.mark.parametrize(
    "archive",
    sorted(p for p in UPSTREAM.glob("*.tar.*") if p.suffix != ".asc"),
    ids=lambda path: path.name,
)
def test_real_release_equals_tar(archive: Path, tmp_path: Path) -> None:
    require("tar")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    unpacked = unpack_archive(archive, ours, uid=builder(), gid=builder())
    subprocess.run(["tar", "xf", archive, "--no-same-owner", "-C", theirs], check=True)
    assert [path.name for path in theirs.iterdir()] == [unpacked.top_folder]
    wanted = listing(theirs / unpacked.top_folder)
    assert listing(ours) == wanted
    assert unpacked.newest_mtime == max(int(str(w[3])) for w in wanted.values() if w[0] == "file")


def test_large_rootfs_is_fast(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        data = os.urandom(25_000)
        for number in range(10_000):
            yield file(b"usr/lib/%d/%d" % (number // 100, number), data)
        yield END

    archive = write_archive(tmp_path / "rootfs.tar", "", pieces())
    target = tmp_path / "target"
    target.mkdir()
    started = time.monotonic()
    unpacked = unpack_archive(archive, target, uid=builder(), gid=builder(), profile="rootfs")
    assert time.monotonic() - started < 8
    assert (unpacked.members, unpacked.bytes) == (10_000, 250_000_000)


def test_child_takes_no_other_module_path(tmp_path: Path) -> None:
    """Neither the working directory nor PYTHONPATH can put code into the child."""
    (tmp_path / "json.py").write_text("raise SystemExit('planted')")
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(file(b"n") + END))
    (tmp_path / "target").mkdir()
    program = (
        "from pathlib import Path; from minid.host.unpack import unpack_archive;"
        "print(unpack_archive(Path('a.tar.gz'), Path('target'), uid=None, gid=None).members)"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, env=environ, capture_output=True
    )
    assert done.stdout == b"1\n", done.stderr
