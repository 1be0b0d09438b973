"""A folder as a tar: what is there, as data, whoever asks and wherever links point."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from minid.errors import HostError
from minid.formats.tar_reader import Member, TarLimits, TarReader
from minid.host.folder_tar import write_folder


def pack(folder: Path) -> bytes:
    out = io.BytesIO()
    write_folder(folder, out.write)
    return out.getvalue()


def members(data: bytes) -> dict[bytes, Member]:
    return {member.name: member for member in TarReader([data], TarLimits())}


def test_files_folders_links_and_modes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir(mode=0o711)
    (tmp_path / "b/x").write_bytes(b"x" * 3000)
    (tmp_path / "b/x").chmod(0o4750)
    (tmp_path / "a").symlink_to("/etc/shadow")
    os.link(tmp_path / "b/x", tmp_path / "b/y")
    for path in ("b/x", "b"):
        os.utime(tmp_path / path, (5, 7))
    found = members(pack(tmp_path))
    assert list(found) == [b"a", b"b", b"b/x", b"b/y"]
    assert (found[b"a"].kind, found[b"a"].target) == ("symlink", b"/etc/shadow")
    assert (found[b"b"].mode, found[b"b"].mtime) == (0o711, 7)
    file = found[b"b/x"]
    assert (file.kind, file.mode, file.size, file.mtime) == ("file", 0o4750, 3000, 7)
    assert (found[b"b/y"].kind, found[b"b/y"].target) == ("hardlink", b"b/x")
    assert {(member.uid, member.gid) for member in found.values()} <= {(0, 0)}
    with tarfile.open(fileobj=io.BytesIO(pack(tmp_path))) as other:
        assert other.getnames() == ["a", "b", "b/x", "b/y"]


def test_a_link_to_a_folder_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("..")
    assert members(pack(tmp_path))[b"up"].kind == "symlink"


def test_what_has_no_place_in_a_layer_is_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    (tmp_path / "file").touch()
    out = io.BytesIO()
    assert write_folder(tmp_path, out.write) == 2
    assert list(members(out.getvalue())) == [b"file"]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff")).touch()
    with pytest.raises(HostError, match="UTF-8"):
        pack(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="missing"):
        pack(tmp_path / "missing")
