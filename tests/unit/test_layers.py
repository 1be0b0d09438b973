"""Layers: the tar, its gzip, and the key that says when neither has to be written again."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.formats.gzip_stream import LARGE_BYTES, PIECE_BYTES, deflate_piece, gzip_chunks
from minid.model import Content, Entry
from minid.steps.layers import compress_layer, layer_key, squeeze_files, write_layer
from minid.store.blobs import Blobs
from minid.store.contents import read_content, store_tree
from tests.support.require import require

ENTRIES = (
    Entry("bin", "directory", 0o755, 5),
    Entry("bin/tool", "file", 0o755, 5, content=Content.inline(b"tool" * 1000)),
    Entry("bin/tool2", "hardlink", 0o755, 5, target="bin/tool"),
    Entry("etc", "symlink", 0o777, 5, target="bin"),
)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "store")
    made.prepare()
    return made


def test_a_layer_is_a_tar_and_its_gzip(blobs: Blobs) -> None:
    layer, tree = write_layer(ENTRIES, read_content(blobs), blobs, created_by="test", comment="c")
    packed = blobs.read(layer.digest)
    assert Digest.of(gzip.decompress(packed)) == layer.diff_id
    assert (layer.size, layer.unpacked_size) == (len(packed), 4000)
    assert (layer.created_by, layer.comment) == ("test", "c")
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        assert tar.getnames() == ["bin", "bin/tool", "bin/tool2", "etc"]
    content = tree.entries[1].content
    assert content is not None
    assert content.blob == layer.diff_id
    assert read_content(blobs)(content) == b"tool" * 1000


def test_equal_entries_give_equal_layers_wherever_their_bytes_lie(blobs: Blobs) -> None:
    read = read_content(blobs)
    first, tree = write_layer(ENTRIES, read, blobs, created_by="test")
    _, elsewhere = store_tree(
        (Entry("a", "file", 0o644, 0, content=Content.inline(b"other")), *ENTRIES), read, blobs
    )
    for entries in (tree.entries, elsewhere.entries[1:]):
        assert layer_key(entries) == layer_key(ENTRIES)
        assert write_layer(entries, read, blobs, created_by="test")[0] == first


TOOL = ENTRIES[1]


@pytest.mark.parametrize(
    "other",
    [
        replace(TOOL, image_path="bin/tool0"),
        replace(TOOL, mode=0o700),
        replace(TOOL, mtime=6),
        replace(TOOL, uid=1),
        replace(TOOL, gid=1),
        replace(TOOL, content=Content.inline(b"other")),
        replace(TOOL, xattrs=(("user.a", b"1"),)),
        replace(TOOL, kind="symlink", content=None, target="x"),
    ],
    ids=["path", "mode", "mtime", "uid", "gid", "content", "xattrs", "kind"],
)
def test_whatever_shapes_the_tar_shapes_the_key(other: Entry, blobs: Blobs) -> None:
    entries = (ENTRIES[0], other)
    assert layer_key(entries) != layer_key(ENTRIES[:2])
    read = read_content(blobs)
    assert store_tree(entries, read, blobs)[0] != store_tree(ENTRIES[:2], read, blobs)[0]


@pytest.mark.parametrize("size", [0, 1, 511, 70_000, 3_000_000])
def test_gzip_is_read_by_others_and_does_not_depend_on_chunks(size: int) -> None:
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    whole = b"".join(gzip_chunks([data]))
    pieces = b"".join(gzip_chunks(data[at : at + 4099] for at in range(0, size, 4099)))
    assert whole == pieces
    assert gzip.decompress(whole) == data
    require("gzip")
    done = subprocess.run(["gzip", "-dc"], input=whole, capture_output=True, check=True)
    assert done.stdout == data
    assert done.stderr == b""


def test_gzip_says_nothing_of_when_and_where() -> None:
    header = b"".join(gzip_chunks([b"x"]))[:10]
    assert header == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 255])


def large_entries() -> tuple[Entry, ...]:
    """Files below, at and above the sizes from which files are compressed in pieces."""
    sizes = [100, LARGE_BYTES - 1, LARGE_BYTES, PIECE_BYTES, 2 * PIECE_BYTES + 1, 7, LARGE_BYTES]
    source = random.Random(1)
    return tuple(
        Entry(
            f"f{number}",
            "file",
            0o644,
            0,
            content=Content.inline(source.randbytes(size // 3) + bytes(size - size // 3)),
        )
        for number, size in enumerate(sizes)
    )


def test_a_layer_in_pieces_is_one_gzip_of_its_tar(blobs: Blobs) -> None:
    entries = large_entries()
    layer, _ = write_layer(entries, read_content(blobs), blobs, created_by="test")
    assert gzip.decompress(blobs.read(layer.digest)) == blobs.read(layer.diff_id)
    require("gzip")
    path = blobs.path(layer.digest)
    unpacked = subprocess.run(["gzip", "-dc"], stdin=path.open(), capture_output=True, check=True)
    assert Digest.of(unpacked.stdout) == layer.diff_id


@pytest.mark.parametrize("processors", [1, 2, 64])
def test_neither_processors_nor_what_was_squeezed_change_a_byte(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    entries, read = large_entries(), read_content(blobs)
    plain, _ = write_layer(entries, read, blobs, created_by="test")
    blobs.path(plain.digest).unlink()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    squeezed = squeeze_files(entries, read)
    assert {key[1] for key in squeezed} == {0, PIECE_BYTES, 2 * PIECE_BYTES}
    for known in (None, squeezed):
        again, _ = write_layer(entries, read, blobs, created_by="test", squeezed=known)
        assert again == plain
        assert Digest.of(blobs.read(again.digest)) == plain.digest
        blobs.path(plain.digest).unlink()


def test_a_piece_that_cannot_be_compressed_is_an_error(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(plain: bytes) -> bytes:
        if len(plain) == PIECE_BYTES:
            raise MemoryError
        return deflate_piece(plain)

    monkeypatch.setattr("minid.steps.layers.deflate_piece", fail)
    with pytest.raises(MemoryError):
        write_layer(large_entries(), read_content(blobs), blobs, created_by="test")


@pytest.mark.parametrize(
    "sizes",
    [
        (),
        (LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1),
        (PIECE_BYTES, 10, 2 * PIECE_BYTES + 1),
        (3, 0, LARGE_BYTES, 0, 700),
    ],
)
def test_the_gzip_can_be_made_of_the_tar_alone(blobs: Blobs, sizes: tuple[int, ...]) -> None:
    chance = random.Random(4)
    entries = tuple(
        Entry(
            f"{'long/' * (40 * (place % 2))}{place}", "file", 0o644, 5, content=Content.inline(data)
        )
        for place, data in enumerate(chance.randbytes(size) for size in sizes)
    )
    layer, _ = write_layer(entries, read_content(blobs), blobs, created_by="test")
    assert b"".join(compress_layer(layer.diff_id, blobs)) == blobs.read(layer.digest)
