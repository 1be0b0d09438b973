"""Blobs: whatever has a name is whole, and damage is seen."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.model import Content, Entry
from minid.store.blobs import Blobs
from minid.store.contents import read_content, store_tree

DATA = b"some bytes"
DIGEST = Digest.of(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "store")
    made.prepare()
    return made


def files(blobs: Blobs) -> list[str]:
    return [path.name for path in blobs.root.rglob("*") if path.is_file()]


def damage(blobs: Blobs, data: bytes) -> None:
    path = blobs.path(DIGEST)
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_blob_has_the_name_of_its_bytes(blobs: Blobs) -> None:
    assert blobs.add(iter([b"some ", b"bytes"])) == DIGEST
    assert files(blobs) == [DIGEST.hex]
    assert blobs.read(DIGEST) == b"".join(blobs.iterate(DIGEST)) == DATA
    assert blobs.read_range(DIGEST, 5, 3) == b"byt"
    assert blobs.size(DIGEST) == len(DATA)
    assert stat.S_IMODE(blobs.path(DIGEST).stat().st_mode) == 0o444


def test_nothing_is_visible_before_commit(blobs: Blobs) -> None:
    with blobs.receive() as sink:
        sink.write(DATA)
        assert sink.digest_so_far() == DIGEST
        assert not blobs.has(DIGEST)
        assert list(blobs.folder.iterdir()) == []
    assert files(blobs) == []


def test_an_error_while_receiving_leaves_nothing(blobs: Blobs) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.add(broken())
    assert files(blobs) == []


def test_other_bytes_than_expected_are_kept_out(blobs: Blobs) -> None:
    with pytest.raises(StoreError, match=f"expected {DIGEST}, got {Digest.of(b'other')}"):
        blobs.add(b"other", DIGEST)
    assert files(blobs) == []


def test_the_same_blob_twice_is_one_file(blobs: Blobs) -> None:
    blobs.add(DATA)
    inode = blobs.path(DIGEST).stat().st_ino
    assert blobs.add([DATA], DIGEST) == DIGEST
    assert blobs.path(DIGEST).stat().st_ino == inode
    assert files(blobs) == [DIGEST.hex]


@pytest.mark.parametrize("other", [b"", DATA[:-1], b"some Bytes", DATA + b"\0"])
def test_damage_is_seen(blobs: Blobs, other: bytes) -> None:
    blobs.add(DATA)
    damage(blobs, other)
    with pytest.raises(StoreError, match="got other bytes") as caught:
        blobs.read(DIGEST)
    assert "verify --contents --repair" in caught.value.hint
    with pytest.raises(StoreError, match="got other bytes"):
        list(blobs.iterate(DIGEST))


def test_a_lost_blob_is_seen(blobs: Blobs) -> None:
    with pytest.raises(StoreError, match="got nothing"):
        blobs.read(DIGEST)
    with pytest.raises(StoreError, match="got nothing"):
        list(blobs.iterate(DIGEST))
    with pytest.raises(StoreError, match="got nothing"):
        blobs.read_range(DIGEST, 0, 1)
    with pytest.raises(StoreError, match="got nothing"):
        blobs.size(DIGEST)


def test_a_killed_writer_leaves_a_leftover_and_no_blob(blobs: Blobs) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from minid.store.blobs import Blobs\n"
        "with Blobs(Path(sys.argv[1])).receive() as sink:\n"
        "    sink.write(b'x' * (2 << 20))\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, blobs.root], check=False, env=dict(os.environ)
    )
    assert ended.returncode == -signal.SIGKILL
    assert list(blobs.folder.iterdir()) == []
    assert blobs.remove_leftovers() == 1
    assert files(blobs) == []


def test_a_tree_points_into_its_tar(blobs: Blobs) -> None:
    entries = [
        Entry("a", "file", 0o644, 0, content=Content.inline(b"first")),
        Entry("b", "file", 0o644, 0, content=Content.inline(b"second")),
    ]
    digest, tree = store_tree(entries, read_content(blobs), blobs)
    read = read_content(blobs)
    contents = [entry.content for entry in tree.entries if entry.content]
    assert [content.blob for content in contents] == [digest, digest]
    assert [read(content) for content in contents] == [b"first", b"second"]
    # Written again from the store it is the same blob.
    assert store_tree(tree.entries, read, blobs)[0] == digest


def test_damage_of_one_file_is_seen_by_who_reads_it(blobs: Blobs) -> None:
    entry = Entry("a", "file", 0o644, 0, content=Content.inline(DATA))
    digest, tree = store_tree([entry], read_content(blobs), blobs)
    path = blobs.path(digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(DATA, b"SOME BYTES"))
    content = tree.entries[0].content
    assert content is not None
    with pytest.raises(StoreError, match="got other bytes"):
        read_content(blobs)(content)
