"""Moving tags: the records, the index that is written from them, and the folder of archives."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from minid.config import Publishing
from minid.errors import PublishError, StoreError
from minid.formats.digest import Digest
from minid.formats.image_record import dump_image
from minid.model import Image, Published
from minid.recipe import Build, ImageTable, Recipe, Source
from minid.steps.image import build_image
from minid.steps.layers import write_layer
from minid.steps.publish import Publication, TagMovedError, archive_chunks, publish_image
from minid.steps.publish_targets import DOCKER, EXPORT, export_name, pending_targets
from minid.store.blobs import Blobs
from minid.store.contents import read_content
from minid.store.layout import write_layout
from minid.store.records import Records
from tests.support.tiny_image import file

OFF = Publishing(docker="off")


@dataclass(frozen=True, slots=True)
class Shop:
    """A store to publish from."""

    blobs: Blobs
    records: Records

    def image(self, text: bytes, *tags: str) -> Image:
        """An image of one file, in the store."""
        recipe = Recipe(
            name="web",
            file=Path("web.toml"),
            folder=Path("web"),
            kind="image",
            source=Source("1.2", "https://upstream.test/web.tar.gz", Digest.of(b"")),
            build=Build(),
            image=ImageTable(tags=tags or ("1.2", "latest")),
        )
        read = read_content(self.blobs)
        layer, _ = write_layer((file("f", text),), read, self.blobs, created_by="test")
        return build_image(
            recipe,
            layers=(layer,),
            base=None,
            created=1_700_000_000,
            architecture="amd64",
            blobs=self.blobs,
        )

    def publish(self, image: Image, publishing: Publishing = OFF, now: float = 1.0) -> Published:
        run = self.records.start_run("web", "1.2", "asked", (), now)
        return publish_image(
            Publication(run, image, dump_image(image), now),
            publishing=publishing,
            blobs=self.blobs,
            records=self.records,
            machine="x86_64",
        )

    def index(self) -> dict[str, str]:
        """Tag → manifest, as a reader of the layout sees them."""
        value = json.loads((self.blobs.root / "index.json").read_text())
        return {
            item["annotations"]["org.opencontainers.image.ref.name"]: item["digest"]
            for item in value["manifests"]
        }

    def tags(self) -> dict[str, str]:
        return {row.name: row.manifest for row in self.records.tags()}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    blobs = Blobs(tmp_path / "store")
    blobs.prepare()
    return Shop(blobs, Records(tmp_path / "records.sqlite", writable=True))


def test_a_tag_that_is_not_where_it_was_seen_stops_all(shop: Shop) -> None:
    first, second = shop.image(b"1"), shop.image(b"2")
    shop.publish(first)
    run = shop.records.start_run("web", "1.2", "asked", (), 2.0)
    seen = {"web:1.2": str(first.manifest), "web:latest": str(second.manifest)}
    with pytest.raises(TagMovedError, match="web:latest"):
        publish_image(
            Publication(run, second, dump_image(second), 2.0, seen=seen),
            publishing=OFF,
            blobs=shop.blobs,
            records=shop.records,
            machine="x86_64",
        )
    assert shop.index() == shop.tags() == dict.fromkeys(first.tags, str(first.manifest))


def test_index_says_what_the_records_say(shop: Shop) -> None:
    first, second = shop.image(b"1"), shop.image(b"2", "latest", "next")
    assert shop.publish(first).moved == ("store web:1.2", "store web:latest")
    assert shop.index() == shop.tags() == dict.fromkeys(first.tags, str(first.manifest))
    assert shop.publish(second, now=2.0).moved == ("store web:latest", "store web:next")
    assert (
        shop.index()
        == shop.tags()
        == {
            "web:1.2": str(first.manifest),
            "web:latest": str(second.manifest),
            "web:next": str(second.manifest),
        }
    )
    moved = shop.records.publications("web:latest")[0]
    assert (moved.from_manifest, moved.to_manifest) == (str(first.manifest), str(second.manifest))


def test_layout_leads_from_each_tag_to_the_bytes(shop: Shop) -> None:
    image = shop.image(b"1")
    shop.publish(image)
    layout = json.loads((shop.blobs.root / "oci-layout").read_text())
    assert layout == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((shop.blobs.root / "index.json").read_text())
    for item in index["manifests"]:
        data = shop.blobs.read(Digest.parse(item["digest"]))
        assert item["size"] == len(data)
        manifest = json.loads(data)
        for part in (manifest["config"], *manifest["layers"]):
            assert len(shop.blobs.read(Digest.parse(part["digest"]))) == part["size"]


def test_published_again_nothing_moves_and_nothing_is_written(shop: Shop) -> None:
    image = shop.image(b"1")
    shop.publish(image)
    before = (shop.blobs.root / "index.json").stat()
    assert shop.publish(image, now=2.0) == Published()
    assert (shop.blobs.root / "index.json").stat() == before
    assert len(shop.records.publications()) == 2


def test_a_lost_index_is_written_again(shop: Shop) -> None:
    shop.publish(shop.image(b"1"))
    before = (shop.blobs.root / "index.json").read_bytes()
    (shop.blobs.root / "index.json").unlink()
    write_layout(shop.blobs, shop.records, "x86_64")
    assert (shop.blobs.root / "index.json").read_bytes() == before


def test_a_lost_manifest_is_told_and_the_old_index_stays(shop: Shop) -> None:
    first = shop.image(b"1")
    shop.publish(first)
    before = (shop.blobs.root / "index.json").read_bytes()
    shop.blobs.path(first.manifest).unlink()
    with pytest.raises(StoreError, match="got nothing"):
        shop.publish(shop.image(b"2", "next"))
    assert (shop.blobs.root / "index.json").read_bytes() == before


def read_archive(path: Path) -> tuple[list[str], dict[str, bytes]]:
    with tarfile.open(path, "r:gz") as tar:
        files = {name: tar.extractfile(name) for name in tar.getnames()}
        data = {name: found.read() for name, found in files.items() if found}
    (entry,) = json.loads(data["manifest.json"])
    return entry["RepoTags"], data


def test_each_name_is_exported_as_an_archive(shop: Shop, tmp_path: Path) -> None:
    export = Publishing("off", tmp_path / "deep" / "export")
    image = shop.image(b"1")
    published = shop.publish(image, export)
    assert published.moved[2:] == ("export web:1.2", "export web:latest")
    assert export.export is not None
    assert {path.name for path in export.export.iterdir()} == {
        "web_1.2-image.tar.gz",
        "web_latest-image.tar.gz",
    }
    for name in image.tags:
        tags, data = read_archive(export.export / export_name(name))
        assert tags == [name]
        assert f"blobs/sha256/{image.manifest.hex}" in data
        for path, content in data.items():
            if path.startswith("blobs/"):
                assert Digest.of(content).hex == path.rpartition("/")[2]


def test_exported_archives_are_equal_bytes(shop: Shop, tmp_path: Path) -> None:
    image = shop.image(b"1", "only")
    for folder in ("one", "two"):
        shop.publish(image, Publishing("off", tmp_path / folder))
    name = export_name("web:only")
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    header = (tmp_path / "one" / name).read_bytes()[:10]
    assert header == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"  # no time, no name


def test_an_export_that_cannot_be_written(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    image = shop.image(b"1")
    with pytest.raises(PublishError, match=r"taken: expected a folder") as caught:
        shop.publish(image, Publishing("off", tmp_path / "taken"))
    assert "publish.export" in caught.value.hint
    assert shop.index() == shop.tags() == dict.fromkeys(image.tags, str(image.manifest))
    assert shop.records.published(EXPORT, "web:1.2") == ""


def test_a_damaged_layer_is_not_exported(shop: Shop, tmp_path: Path) -> None:
    image = shop.image(b"1")
    path = shop.blobs.path(image.layers[0].digest)
    path.chmod(0o644)
    path.write_bytes(bytes(image.layers[0].size))
    with pytest.raises(StoreError, match="got other bytes"):
        shop.publish(image, Publishing("off", tmp_path / "export"))
    assert list((tmp_path / "export").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("nginx:1.26.3", "nginx_1.26.3-image.tar.gz"),
        ("nginx:latest", "nginx_latest-image.tar.gz"),
        ("me/nginx:1", "me_nginx_1-image.tar.gz"),
    ],
)
def test_names_of_archives(name: str, archive: str) -> None:
    assert export_name(name) == archive


def test_pending_targets_are_those_that_lack_the_image(shop: Shop, tmp_path: Path) -> None:
    export = Publishing("off", tmp_path / "export", attest=False)
    image = shop.image(b"1")
    assert pending_targets(OFF, shop.records, image) == ()
    assert pending_targets(Publishing("auto"), shop.records, image) == ()  # no engine answers
    assert pending_targets(Publishing("on"), shop.records, image) == (DOCKER,)
    assert pending_targets(export, shop.records, image) == (EXPORT,)
    shop.publish(image, export)
    assert pending_targets(export, shop.records, image) == ()
    (tmp_path / "export" / export_name("web:latest")).unlink()
    assert pending_targets(export, shop.records, image) == (EXPORT,)
    shop.publish(image, export)
    shop.publish(shop.image(b"2"), export)
    assert pending_targets(export, shop.records, image) == (EXPORT,)


def test_without_an_engine_auto_is_silent_and_on_is_an_error(shop: Shop) -> None:
    image = shop.image(b"1")
    assert shop.publish(image, Publishing("auto")).notes == ()
    other = shop.image(b"2")
    with pytest.raises(PublishError, match="docker"):
        shop.publish(other, Publishing("on"))
    # The store's own tags moved all the same, and nothing says that the engine has it.
    assert shop.index() == dict.fromkeys(other.tags, str(other.manifest))
    assert shop.records.published(DOCKER, "web:latest") == ""


def test_archive_can_leave_out_layers_that_a_reader_has(shop: Shop) -> None:
    image = shop.image(b"1")
    whole = b"".join(archive_chunks(image, image.tags, shop.blobs, "x86_64"))
    assert len(whole) == image.sizes.archive
    without = [image.layers[0].digest]
    lean = b"".join(archive_chunks(image, image.tags, shop.blobs, "x86_64", without))
    with tarfile.open(fileobj=io.BytesIO(lean)) as tar:
        assert f"blobs/sha256/{without[0].hex}" not in tar.getnames()
    layer = gzip.decompress(shop.blobs.read(without[0]))
    assert Digest.of(layer) == image.layers[0].diff_id
