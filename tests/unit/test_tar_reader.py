"""Reading members: fields, formats that other programs write, and bytes at random."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterator

import pytest

from minid.errors import UnpackError
from minid.formats.tar_fields import parse_number, parse_pax, show_name
from minid.formats.tar_reader import Member, TarLimits, TarReader
from tests.support.tar_bytes import (
    END,
    MTIME,
    base256,
    file,
    folder,
    header,
    long,
    pax,
    record,
    symlink,
)

LIMITS = TarLimits()


def read_all(archive: bytes, piece: int = 10_000) -> list[tuple[Member, bytes]]:
    chunks = (archive[start : start + piece] for start in range(0, len(archive), piece))
    reader = TarReader(chunks, LIMITS)
    return [(member, b"".join(map(bytes, reader.content()))) for member in reader]


@pytest.mark.parametrize(
    ("field", "number"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"644\0\0\0\0\0", 0o644),
        (b"00000644", 0o644),
        (bytes(8), 0),
        (b" " * 8, 0),
        (base256(1 << 40), 1 << 40),
        (base256(-1), -1),
        (base256(-(1 << 40)), -(1 << 40)),
    ],
)
def test_number(field: bytes, number: int) -> None:
    assert parse_number(field, "size") == number


@pytest.mark.parametrize("field", [b"8", b"6 4", b"0x4", b"+4", b"-4", b"4\x004", b"4_4", b"\t4"])
def test_no_number(field: bytes) -> None:
    with pytest.raises(UnpackError, match="size: expected an octal number"):
        parse_number(field.ljust(8, b"\0"), "size")


def test_pax_records() -> None:
    data = record(b"path", "é=1\n2".encode()) + record(b"mtime", b"1.5")
    assert parse_pax(data) == {b"path": "é=1\n2".encode(), b"mtime": b"1.5"}


def test_shown_names_are_printable() -> None:
    shown = show_name(b"\x1b[2J\xff" + "\u202e".encode() + b"\n" * 300)
    assert shown.isprintable()
    assert shown.isascii() is False  # the mark of what was cut off
    assert len(shown) < 300


def make_tar(form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        deep = "/".join(["folder" * 5] * 5)
        for name in ("short", deep + "/n", "n" * 90, "a" * 99 + "/" + "b" * 99):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.mode = 1000, MTIME, 1234, 0o4755
            tar.addfile(info, io.BytesIO(name[-1:].encode() * 1000))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../" * 50 + "x"
        if form != tarfile.USTAR_FORMAT:
            tar.addfile(link)
        link.name, link.type, link.linkname = "hard", tarfile.LNKTYPE, "short"
        tar.addfile(link)
    return out.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("piece", [1, 511, 512, 513, 100_000])
def test_reads_what_tarfile_writes(form: int, piece: int) -> None:
    archive = make_tar(form)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        wanted = [
            (info.name.encode(), info.mode, info.mtime, info.uid, info.size, info.linkname.encode())
            for info in tar
        ]
    seen = read_all(archive, piece)
    assert [(m.name, m.mode, m.mtime, m.uid, m.size, m.target) for m, _ in seen] == wanted
    assert [data for m, data in seen if m.kind == "file"] == [
        name[-1:] * 1000 for name, _, _, _, size, _ in wanted if size
    ]


def test_content_that_is_not_taken_is_skipped() -> None:
    archive = file(b"a", b"x" * 5000) + file(b"b", b"y" * 512) + folder(b"c") + END
    assert [m.name for m in TarReader(iter([archive]), LIMITS)] == [b"a", b"b", b"c"]


def test_content_that_is_taken_in_part_is_skipped() -> None:
    reader = TarReader(iter([file(b"a", b"x" * 50), bytes(0), file(b"b", b"y"), END]), LIMITS)
    names = []
    for member in reader:
        names.append(member.name)
        next(iter(reader.content()), None)
    assert names == [b"a", b"b"]


def test_extended_attributes() -> None:
    archive = pax(record(b"SCHILY.xattr.security.capability", b"\1\0\n=")) + file(b"n") + END
    assert read_all(archive)[0][0].xattrs == (("security.capability", b"\1\0\n="),)


def test_pax_counts_for_one_member_only() -> None:
    archive = pax(record(b"path", b"a")) + file(b"n") + file(b"m") + END
    assert [member.name for member, _ in read_all(archive)] == [b"a", b"m"]


def test_names_are_cleaned() -> None:
    archive = file(b".//a/./b//c") + folder(b"./d//") + folder(b".") + END
    assert [member.name for member, _ in read_all(archive)] == [b"a/b/c", b"d", b""]


def test_gnu_headers_have_no_prefix() -> None:
    archive = file(b"n", prefix=b"12345670123", magic=b"ustar  \0") + END
    assert read_all(archive)[0][0].name == b"n"


def test_ustar_prefix_is_155_bytes_and_stars_131() -> None:
    prefix = b"p" * 75 + b"/" + b"q" * 79
    assert read_all(file(b"n", prefix=prefix) + END)[0][0].name == prefix + b"/n"
    block = bytearray(header(b"n", prefix=b"p" * 131))
    block[476:488] = b"00000000001 "  # star keeps the access time here
    block[508:512] = b"tar\0"
    mend_checksums(block)
    assert read_all(bytes(block) + END)[0][0].name == b"p" * 131 + b"/n"


def mutants(seed: int, count: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    whole = (
        pax(record(b"path", b"a/b") + record(b"mtime", b"5.5"))
        + file(b"n", b"x" * 700)
        + long("L", b"c" * 150)
        + file(b"m")
        + long("K", b"../" * 50)
        + symlink(b"l", b"x")
        + folder(b"f")
        + END
    )
    for _ in range(count):
        mutant = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            # Half of the changes hit what is not padding.
            place = rng.randrange(len(mutant))
            mutant[place] = rng.choice((0, 0x2F, 0x30, 0x38, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.2:
            del mutant[rng.randrange(len(mutant)) :]
        if rng.random() < 0.7:
            mend_checksums(mutant)
        yield bytes(mutant)


def mend_checksums(archive: bytearray) -> None:
    """Give every block that looks like a header its sum: mutants that no checksum stops."""
    for start in range(0, len(archive) - 511, 512):
        if archive[start + 257 : start + 262] == b"ustar":
            archive[start + 148 : start + 156] = b" " * 8
            total = sum(archive[start : start + 512])
            archive[start + 148 : start + 156] = b"%06o\0 " % total


def test_mutants_give_members_or_unpack_errors() -> None:
    outcomes = {"read": 0, "refused": 0}
    for mutant in mutants(seed=20, count=4000):
        try:
            for member, _ in read_all(mutant):
                assert not member.name.startswith(b"/")
                assert b".." not in member.name.split(b"/")
                assert 0 <= member.mtime < 1 << 32
            outcomes["read"] += 1
        except UnpackError as error:
            assert error.message.isprintable()
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 400, outcomes
