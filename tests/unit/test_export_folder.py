"""Archives in a folder, and what lies beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.config import Publishing, Signing
from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.host.export_folder import (
    companion_path,
    is_exported,
    no_files,
    remove_export,
    write_export,
)

NAMES = {"web_1-image.spdx.json", "web_1-image.provenance.json", "web_1-image.tar.gz.minisig"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "web_1-image.tar.gz"


def beside(archive: Path, digest: Digest) -> dict[str, bytes]:
    told = f"{archive.name} {digest}".encode()
    return dict.fromkeys((".spdx.json", ".provenance.json", ".tar.gz.minisig"), told)


def test_documents_lie_beside_and_tell_of_the_archive(archive: Path) -> None:
    write_export(archive, [b"one", b"two"], beside)
    assert {path.name for path in archive.parent.iterdir()} == {*NAMES, archive.name}
    told = f"{archive.name} {Digest.of(b'onetwo')}".encode()
    assert companion_path(archive, ".spdx.json").read_bytes() == told
    remove_export(archive)
    assert not list(archive.parent.iterdir())


def test_a_new_archive_never_lies_beside_old_documents(archive: Path) -> None:
    write_export(archive, [b"old"], beside)

    def chunks() -> Iterator[bytes]:
        yield b"new"
        # Until the last byte is written the old archive and its documents are whole.
        assert archive.read_bytes() == b"old"
        assert {path.name for path in archive.parent.glob("web*")} == {*NAMES, archive.name}

    def stop(_archive: Path, _digest: Digest) -> dict[str, bytes]:
        assert {path.name for path in archive.parent.iterdir()} == {archive.name}
        raise StoreError("stopped here")

    with pytest.raises(StoreError):
        write_export(archive, chunks(), stop)
    assert archive.read_bytes() == b"new"
    assert not is_exported(archive, Publishing())
    write_export(archive, [b"new"], beside)
    assert is_exported(archive, Publishing())


def test_an_archive_that_fails_leaves_all_as_it_was(archive: Path) -> None:
    write_export(archive, [b"old"], beside)
    before = {path: path.read_bytes() for path in archive.parent.iterdir()}

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise StoreError("damaged")

    with pytest.raises(StoreError):
        write_export(archive, chunks(), beside)
    assert {path: path.read_bytes() for path in archive.parent.iterdir()} == before


@pytest.mark.parametrize("lost", [".spdx.json", ".provenance.json", ".tar.gz"])
def test_what_is_missing_is_seen(archive: Path, lost: str) -> None:
    write_export(archive, [b"a"], beside)
    companion_path(archive, lost).unlink()
    assert not is_exported(archive, Publishing())
    assert is_exported(archive, Publishing(attest=False)) == (lost != ".tar.gz")


def test_a_signature_is_wanted_where_there_is_a_key(archive: Path) -> None:
    signed = Publishing(sign=Signing(key=Path("a.key")))
    write_export(archive, [b"a"], beside)
    assert is_exported(archive, signed)
    companion_path(archive, ".tar.gz.minisig").unlink()
    assert not is_exported(archive, signed)
    companion_path(archive, ".tar.gz.sig").write_bytes(b"")
    assert is_exported(archive, signed)


def test_without_documents_old_ones_go_all_the_same(archive: Path) -> None:
    write_export(archive, [b"a"], beside)
    write_export(archive, [b"b"], no_files)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
