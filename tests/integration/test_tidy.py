"""The layer cache of a real container loses what no tag points at, in its own time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.formats.image_record import dump_image
from minid.host.container import Container, ContainerSpec, LayerFile, cached_layers, prune_layers
from minid.line.tidy import tidy_layers
from minid.model import Image, Layer, Sizes
from minid.store.records import Records
from tests.support.require import require
from tests.support.tiny_image import file, folder, write_layer

pytestmark = pytest.mark.integration
NUMBERS = range(4)


@pytest.fixture(autouse=True)
def machine_is_able() -> None:
    require("runc")
    if os.geteuid() != 0:
        require("newuidmap")


@pytest.fixture
def layers(tmp_path: Path) -> list[LayerFile]:
    contents = ([folder("etc"), file("etc/x", b"%d" % number)] for number in NUMBERS)
    return [LayerFile(*write_layer(tmp_path, entries)) for entries in contents]


@pytest.fixture
def cache(tmp_path: Path, layers: list[LayerFile]) -> Iterator[Path]:
    with Container(ContainerSpec({}, tuple(layers)), tmp_path / "layers"):
        pass
    yield tmp_path / "layers"
    prune_layers(tmp_path / "layers", [])


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "records.sqlite", writable=True)
    yield records
    records.close()


def publish(records: Records, tag: str, *diff_ids: Digest) -> None:
    """An image of these layers under a tag."""
    rows = tuple(Layer(diff_id, diff_id, 1, 1, "test") for diff_id in diff_ids)
    manifest = Digest.of(b"".join(str(diff_id).encode() for diff_id in diff_ids))
    image = Image("tiny", "1", manifest, manifest, rows, Sizes(1, 1, 1), (tag,), 1)
    run = records.start_run("tiny", "1", "test", (), 1.0)
    records.publish(run, dump_image(image), (tag,), 1.0)


def test_layers_without_a_tag_go(cache: Path, records: Records, layers: list[LayerFile]) -> None:
    ids = [layer.diff_id for layer in layers]
    publish(records, "tiny:1", ids[0], ids[1])
    publish(records, "tiny:2", ids[0], ids[2])
    publish(records, "tiny:2", ids[0], ids[3])  # the tag moves on
    assert cached_layers(cache) == set(ids)
    assert tidy_layers(cache, records, spare=1) == 0
    assert cached_layers(cache) == set(ids)
    assert tidy_layers(cache, records, spare=0) == 1
    assert cached_layers(cache) == {ids[0], ids[1], ids[3]}


def test_cache_that_is_not_there(tmp_path: Path, records: Records) -> None:
    assert tidy_layers(tmp_path / "none", records) == 0
    assert cached_layers(tmp_path / "none") == frozenset()
