"""Layers in a cache folder: unpacked as they say, refused as a whole, removed when idle."""

from __future__ import annotations

import fcntl
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from minid.errors import UnpackError
from minid.formats.digest import Digest
from minid.host import layer_folder
from minid.model import Entry
from tests.support.tiny_image import file, folder, layer_bytes, link

ME = (os.getuid(), os.getgid())


def unpack(cache: Path, data: bytes, diff_id: str = "") -> Path:
    diff_id = diff_id or Digest.of(data).hex
    tar = cache.parent / "layer.tar"
    tar.write_bytes(data)
    cache.mkdir(exist_ok=True)
    descriptor = os.open(tar, os.O_RDONLY)
    try:
        layer_folder.unpack_layers([diff_id], {diff_id: descriptor}, str(cache))
    finally:
        os.close(descriptor)
    return cache / diff_id


def layer(*entries: Entry) -> bytes:
    return layer_bytes([folder("", 0o755, *ME), *entries])


def test_members_look_as_the_layer_says(tmp_path: Path) -> None:
    long = "d/" + "x" * 180
    entries: Iterable[Entry] = (
        folder("d", 0o500, *ME),
        file("d/f", b"abc" * 100000, 0o2755, *ME),
        file(long, b"long", 0o600, *ME),
        Entry("d/h", "hardlink", 0o755, 0, *ME, target="d/f"),
        Entry("d/l", "symlink", 0o777, 0, *ME, target="/nowhere"),
    )
    made = unpack(tmp_path / "cache", layer(*entries))
    seen = (made / "d" / "f").stat()
    assert (seen.st_mode & 0o7777, seen.st_size, seen.st_nlink) == (0o2755, 300000, 2)
    assert seen.st_mtime == 1700000000
    assert (made / "d").stat().st_mode & 0o7777 == 0o500
    assert (made / "d").stat().st_mtime == 1700000000
    assert (made / "d" / "l").readlink() == Path("/nowhere")
    assert (made / long).read_text() == "long"
    (made / "d").chmod(0o700)


def _special(kind: bytes) -> bytes:
    info = tarfile.TarInfo("special")
    info.type = kind
    return layer()[:512] + info.tobuf() + bytes(1024)


def _pax(**headers: str) -> bytes:
    info = tarfile.TarInfo("f")
    info.pax_headers = headers
    info.uid, info.gid = ME
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (layer(file("a/../b", b"")), "below the root"),
        (layer(file("/b", b"")), "below the root"),
        (layer(file("a//b", b"")), "below the root"),
        (layer(file(".wh..wh..opq", b"")), "no whiteout"),
        (layer(Entry("h", "hardlink", 0o644, 0, target="/etc/passwd")), "below the root"),
        (layer(file("twice", b"", 0o644, *ME), file("twice", b"")), "File exists"),
        (layer(file("absent/f", b"")), "No such file"),
        (_special(tarfile.CHRTYPE), "expected files, folders and links, got 'special'"),
        (_special(tarfile.FIFOTYPE), "expected files, folders and links"),
        (_pax(**{"SCHILY.xattr.trusted.overlay.opaque": "y"}), "expected no xattr but"),
        (layer(file("f", b"x" * 2000))[:1500], "layer: expected"),
        (b"no tar" * 200, "expected a tar archive"),
    ],
)
def test_what_has_no_business_in_a_layer(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UnpackError, match=message):
        unpack(tmp_path / "cache", data)
    assert list((tmp_path / "cache").iterdir()) == []


def test_other_bytes_than_the_diff_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnpackError, match=f"expected the bytes of '{'0' * 64}'"):
        unpack(tmp_path / "cache", layer(), "0" * 64)
    assert list((tmp_path / "cache").iterdir()) == []


def test_file_through_a_symlink_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnpackError, match=r"layer \w+: (Not a directory|Too many levels)"):
        unpack(tmp_path / "cache", layer(link("out", str(tmp_path)), file("out/f", b"")))
    assert not (tmp_path / "f").exists()


def test_leftovers_go_and_layers_in_use_stay(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / ".new-abandoned" / "deep").mkdir(parents=True)
    made = unpack(cache, layer())
    assert layer_folder.list_layers(str(cache)) == [made.name]
    assert list(cache.iterdir()) == [made]
    user = os.open(made, os.O_RDONLY)
    fcntl.flock(user, fcntl.LOCK_SH)
    # unpack_layers itself holds the layer until its process ends; so does this descriptor.
    assert layer_folder.remove_layer(str(cache), made.name) is False
    os.close(user)
    assert made.is_dir()
    assert layer_folder.remove_layer(str(cache), "0" * 64) is False


def test_idle_layer_is_removed(tmp_path: Path) -> None:
    (tmp_path / ("1" * 64) / "deep").mkdir(parents=True)
    assert layer_folder.remove_layer(str(tmp_path), "1" * 64) is True
    assert list(tmp_path.iterdir()) == []
