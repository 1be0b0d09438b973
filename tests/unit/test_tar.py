"""Tar archives as Python's tarfile and GNU tar read them back."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from minid.formats.tar import TarWriter
from minid.model import Content, Entry
from tests.support.require import require

MTIME = 1_700_000_000


def entry(path: str, data: bytes = b"", **fields: object) -> tuple[Entry, bytes]:
    values = {"kind": "file", "mode": 0o644, "mtime": MTIME, **fields}
    content = Content.inline(data) if values["kind"] == "file" else None
    return Entry(path, content=content, **values), data  # type: ignore[arg-type]


def archive(members: Iterable[tuple[Entry, bytes]]) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out.write)
    for item, data in members:
        start = writer.add(item, (data,) if data else ())
        assert out.getvalue()[start : start + len(data)] == data
    writer.close()
    assert writer.offset == len(out.getvalue())
    return out.getvalue()


def read_back(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return tar.getmembers()


def list_with_gnu(data: bytes) -> list[str]:
    require("tar")
    argv = ["tar", "--list", "--quoting-style=literal", "--file=-"]
    environ = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, input=data, capture_output=True, check=True, env=environ)
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


PATHS = {
    "short": "bin/sh",
    "exactly 100": "a" * 100,
    "101 in one part": "a" * 101,
    "255 in one part": "a" * 255,
    "prefix and name": "d" * 120 + "/" + "n" * 90,
    "prefix of 155": "d" * 155 + "/" + "n" * 100,
    "prefix of 156": "d" * 156 + "/" + "n" * 100,
    "deep": "/".join(["folder"] * 60) + "/file",
    "non-ASCII": "usr/share/größe/日本.txt",
    "long non-ASCII": "é" * 60,
    "cut inside a character": "é" * 49 + "x" + "é" * 3,
    "space and quotes": "a b/'c' \"d\"",
    "looks like an option": "--checkpoint-action=exec=sh",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_names_are_read_back(path: str) -> None:
    data = archive([entry(path, b"x")])
    (member,) = read_back(data)
    assert (member.name, member.size, member.type) == (path, 1, tarfile.REGTYPE)
    assert list_with_gnu(data) == [path]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_folders_end_in_a_slash(path: str) -> None:
    data = archive([entry(path, kind="directory", mode=0o755)])
    (member,) = read_back(data)
    assert (member.name, member.type) == (path, tarfile.DIRTYPE)
    assert list_with_gnu(data) == [path + "/"]


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
@pytest.mark.parametrize("target", PATHS.values(), ids=PATHS)
def test_link_targets_are_read_back(kind: str, target: str) -> None:
    data = archive([entry("link", kind=kind, target=target)])
    (member,) = read_back(data)
    assert member.linkname == target
    assert member.size == 0
    assert member.issym() if kind == "symlink" else member.islnk()
    assert list_with_gnu(data) == ["link"]


def test_long_link_at_a_long_path() -> None:
    data = archive([entry("p" * 300, kind="symlink", target="t" * 300)])
    (member,) = read_back(data)
    assert (member.name, member.linkname) == ("p" * 300, "t" * 300)


@pytest.mark.parametrize("number", [0, 33, 0o7777777, 0o7777777 + 1, 2**31, 2**32 - 2])
def test_owners_of_any_size(number: int) -> None:
    data = archive([entry("file", uid=number, gid=number), entry("next")])
    first, second = read_back(data)
    assert (first.uid, first.gid, second.uid) == (number, number, 0)
    assert (first.uname, first.gname) == ("", "")
    assert list_with_gnu(data) == ["file", "next"]


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o4755, 0o2755, 0o1777, 0])
def test_modes(mode: int) -> None:
    (member,) = read_back(archive([entry("file", mode=mode)]))
    assert member.mode == mode


@pytest.mark.parametrize("mtime", [0, 1, MTIME, 2**31, 2**32])
def test_times_are_whole_seconds(mtime: int) -> None:
    (member,) = read_back(archive([entry("file", mtime=mtime)]))
    assert member.mtime == mtime
    assert not member.pax_headers


def test_times_that_no_field_holds_are_clamped() -> None:
    early, late = read_back(archive([entry("early", mtime=-5), entry("late", mtime=2**40)]))
    assert early.mtime == 0
    assert late.mtime == 0o77777777777


def test_extended_attributes() -> None:
    capability = bytes([1, 0, 0, 2, 0, 4, 0, 0]) + bytes(12)
    xattrs = (("user.note", b"line\n=\xff"), ("security.capability", capability))
    (member,) = read_back(archive([entry("bin/ping", b"elf", xattrs=xattrs)]))
    # tarfile decodes values as UTF-8 with surrogates for what is none.
    values = {
        key: value.encode("utf-8", "surrogateescape") for key, value in member.pax_headers.items()
    }
    assert values == {"SCHILY.xattr." + key: value for key, value in xattrs}


def test_gnu_tar_restores_an_extended_attribute(tmp_path: Path) -> None:
    require("tar")
    try:
        os.setxattr(tmp_path, "user.probe", b"1")
    except OSError:
        pytest.skip("the file system has no user attributes")
    data = archive([entry("file", b"x", xattrs=(("user.note", b"hello"),))])
    argv = ["tar", "-C", str(tmp_path), "--xattrs", "--xattrs-include=*", "-xf", "-"]
    subprocess.run(argv, input=data, check=True)
    assert os.getxattr(tmp_path / "file", "user.note") == b"hello"


def test_pax_records_count_their_own_digits() -> None:
    # Around these lengths the number of digits of LENGTH changes.
    for length in [*range(80, 110), *range(975, 1005), *range(9975, 10005)]:
        (member,) = read_back(archive([entry("f", kind="symlink", target="t" * length)]))
        assert len(member.linkname) == length


def test_gnu_tar_unpacks_what_was_written(tmp_path: Path) -> None:
    require("tar")
    long = "x" * 120
    members = [
        entry("usr", kind="directory", mode=0o755),
        entry(f"usr/{long}", b"A" * 513, mode=0o750),
        entry("usr/hard", kind="hardlink", target=f"usr/{long}"),
        entry("usr/soft", kind="symlink", target=long),
        entry("usr/zero"),
    ]
    subprocess.run(["tar", "-C", str(tmp_path), "-xpf", "-"], input=archive(members), check=True)
    assert (tmp_path / "usr/hard").read_bytes() == b"A" * 513
    assert (tmp_path / "usr/hard").samefile(tmp_path / "usr" / long)
    assert (tmp_path / "usr/soft").resolve() == (tmp_path / "usr" / long)
    assert (tmp_path / "usr" / long).stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "usr" / long).stat().st_mtime == MTIME
    assert (tmp_path / "usr/zero").stat().st_size == 0


def test_equal_entries_give_equal_bytes() -> None:
    members = [entry("a", b"1", xattrs=(("user.b", b"2"), ("user.a", b"1"))), entry("b" * 200)]
    swapped = [entry("a", b"1", xattrs=(("user.a", b"1"), ("user.b", b"2"))), entry("b" * 200)]
    assert archive(members) == archive(members) == archive(swapped)
    assert archive(members) != archive([entry("a", b"2"), entry("b" * 200)])


def test_content_in_pieces_is_the_same_as_at_once() -> None:
    item, data = entry("file", b"0123456789" * 100)
    out = io.BytesIO()
    writer = TarWriter(out.write)
    writer.begin(item)
    for position in range(0, len(data), 7):
        writer.put_content(data[position : position + 7])
    writer.finish()
    writer.close()
    assert out.getvalue() == archive([(item, data)])


@pytest.mark.parametrize("data", [b"", b"ab", b"abcd"])
def test_content_of_another_size_is_refused(data: bytes) -> None:
    item, _ = entry("usr/file", b"abc")
    with pytest.raises(ValueError, match="usr/file: expected 3 bytes of content"):
        TarWriter(io.BytesIO().write).add(item, (data,))


def test_size_beyond_eight_gigabytes_stands_in_a_pax_record() -> None:
    size = 0o77777777777 + 1
    out = io.BytesIO()
    writer = TarWriter(out.write)
    digest = Content.inline(b"").digest
    writer.begin(Entry("big", "file", 0o644, MTIME, content=Content(digest, size)))
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        member = tar.next()
    assert member is not None
    assert member.size == size


def test_the_root_itself_can_be_a_member() -> None:
    data = archive([entry("", kind="directory", mode=0o755)])
    assert [member.name for member in read_back(data)] == ["."]
    assert list_with_gnu(data) == ["./"]


def test_archive_ends_with_two_blocks_of_zeros() -> None:
    assert archive([]) == bytes(1024)
    assert len(archive([entry("a", b"x" * 512)])) == 512 + 512 + 1024
