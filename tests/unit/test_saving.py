"""Names of archives, and archives that are whole or not there."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.errors import HostError, StoreError
from minid.line.workshop import Workshop, open_guest
from minid.workbench.arriving import Arrival
from minid.workbench.loading import load_archive
from minid.workbench.saving import Wanted, archive_bytes, file_name, write_archive
from minid.workbench.selftest import scratch_config
from tests.support.made_archives import LOWER, UPPER, docker_old, hex_of, oci, tar_of


@pytest.mark.parametrize(
    ("name", "kind", "plain", "expected"),
    [
        ("nginx:1.26.3", "image", False, "nginx_1.26.3-image.tar.gz"),
        ("nginx:1.26.3", "container", False, "nginx_1.26.3-container.tar.gz"),
        ("nginx:1.26.3", "image", True, "nginx_1.26.3-image.tar"),
        ("reg.example:5000/team/web:2", "image", True, "reg.example_5000_team_web_2-image.tar"),
    ],
)
def test_names(name: str, kind: str, plain: bool, expected: str) -> None:
    assert file_name(name, kind, plain=plain) == expected


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    with open_guest(scratch_config(tmp_path), {}) as opened:
        yield opened


def wanted(shop: Workshop, data: bytes, names: tuple[str, ...]) -> Wanted:
    loaded = load_archive(shop, io.BytesIO(data), Arrival("load", "tester", "x", tags=names))
    return Wanted(loaded.images[0].detail, names)


def test_what_images_share_is_there_once(shop: Workshop) -> None:
    one = wanted(shop, tar_of(docker_old([LOWER, UPPER])), ("one:1", "one:2"))
    two = wanted(shop, tar_of(docker_old([LOWER])), ("two:1",))
    data = b"".join(archive_bytes([one, two], shop.blobs, shop.machine, plain=True))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names)) == 2 + 3 + 2 * 2 + 2
    assert data == b"".join(archive_bytes([one, two], shop.blobs, shop.machine, plain=True))


def test_a_damaged_blob_gives_no_file(shop: Workshop, tmp_path: Path) -> None:
    made = oci()
    item = wanted(shop, tar_of(made.members()), ("made:1",))
    layer = shop.config.paths.store / "blobs/sha256" / hex_of(made.layers[1])
    layer.chmod(0o644)
    layer.write_bytes(bytes(layer.stat().st_size))
    out = tmp_path / "out/made.tar"
    with pytest.raises(StoreError):
        write_archive(out, archive_bytes([item], shop.blobs, shop.machine, plain=True))
    assert list(out.parent.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="expected to write"):
        write_archive(tmp_path / "file/x.tar", [b""])
