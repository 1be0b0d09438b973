"""The hybrid archive, read as an OCI layout and as a docker-save archive."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator

import pytest

from minid.formats.archive import Member, archive_size, iterate_archive, list_members
from minid.formats.digest import Digest
from minid.model import Image, Layer, Sizes

NAMES = ("nginx:1.26.3", "nginx:latest")
BLOBS = {
    Digest.of(data): data
    for data in (b"manifest", b"{config}", b"layer one" * 1000, b"layer two", b"x" * 512)
}
MANIFEST, CONFIG, ONE, TWO, THREE = BLOBS


def layer(digest: Digest) -> Layer:
    return Layer(Digest.of(b"tar"), digest, len(BLOBS[digest]), 1, "layer")


def image(*layers: Digest) -> Image:
    return Image(
        recipe="nginx",
        version="1.26.3",
        manifest=MANIFEST,
        config=CONFIG,
        layers=tuple(map(layer, layers)),
        sizes=Sizes(1, 2, 3),
        tags=NAMES,
        created=1_700_000_000,
    )


def members(*layers: Digest, names: tuple[str, ...] = NAMES) -> tuple[Member, ...]:
    return list_members(
        image(*layers),
        manifest_size=len(BLOBS[MANIFEST]),
        config_size=len(BLOBS[CONFIG]),
        architecture="amd64",
        names=names,
    )


def read(digest: Digest) -> Iterator[bytes]:
    data = BLOBS[digest]
    return (data[position : position + 100] for position in range(0, len(data), 100))


def written(found: tuple[Member, ...]) -> bytes:
    return b"".join(iterate_archive(found, mtime=1_700_000_000, read=read))


@pytest.mark.parametrize("layers", [(), (ONE,), (ONE, TWO, THREE)])
def test_size_is_known_without_writing(layers: tuple[Digest, ...]) -> None:
    found = members(*layers)
    assert archive_size(found) == len(written(found))


def test_it_is_an_oci_layout() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(members(ONE, TWO)))) as tar:
        names = tar.getnames()
        files = {name: tar.extractfile(name) for name in names if tar.getmember(name).isfile()}
        data = {name: file.read() for name, file in files.items() if file}
    assert json.loads(data["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(data["index.json"])
    assert [item["digest"] for item in index["manifests"]] == [str(MANIFEST)] * 2
    assert index["manifests"][0]["size"] == len(BLOBS[MANIFEST])
    blobs = {name: value for name, value in data.items() if name.startswith("blobs/sha256/")}
    assert all(Digest.of(value).hex == name.rpartition("/")[2] for name, value in blobs.items())
    assert set(blobs.values()) == {BLOBS[d] for d in (MANIFEST, CONFIG, ONE, TWO)}


def test_it_is_a_docker_archive() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(members(ONE, TWO)))) as tar:
        names = set(tar.getnames())
        (entry,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert entry["RepoTags"] == list(NAMES)
    assert entry["Config"] == f"blobs/sha256/{CONFIG.hex}"
    assert entry["Layers"] == [f"blobs/sha256/{ONE.hex}", f"blobs/sha256/{TWO.hex}"]
    assert {entry["Config"], *entry["Layers"]} <= names


def test_small_files_come_first_and_folders_before_their_files() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(members(ONE)))) as tar:
        names = tar.getnames()
    assert names[:5] == ["blobs", "blobs/sha256", "oci-layout", "index.json", "manifest.json"]
    assert names[-1] == f"blobs/sha256/{ONE.hex}"


def test_a_layer_that_is_there_twice_is_written_once() -> None:
    found = members(ONE, ONE)
    assert sum(member.blob == ONE for member in found) == 1
    assert archive_size(found) == len(written(found))


def test_equal_images_give_equal_bytes() -> None:
    assert written(members(ONE)) == written(members(ONE))
    assert written(members(ONE)) != written(members(ONE, names=("nginx:1",)))


def test_members_are_owned_by_root_at_the_release_time() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(members(ONE)))) as tar:
        for member in tar.getmembers():
            assert (member.uid, member.gid, member.mtime) == (0, 0, 1_700_000_000)
            assert member.mode == (0o755 if member.isdir() else 0o644)


def test_a_blob_of_another_size_ends_the_archive_with_an_error() -> None:
    found = (Member("blobs/sha256/x", 5, blob=ONE),)
    with pytest.raises(ValueError, match="expected 5 bytes"):
        written(found)


def test_bytes_are_handed_on_while_they_come() -> None:
    asked: list[int] = []

    def slowly(digest: Digest) -> Iterator[bytes]:
        for position in range(0, 500, 100):
            asked.append(position)
            yield BLOBS[THREE][position : position + 100]
        yield BLOBS[THREE][500:]

    chunks = iterate_archive((Member("x", 512, blob=THREE),), mtime=0, read=slowly)
    for chunk in chunks:
        if chunk == BLOBS[THREE][:100]:
            break
    assert asked == [0]
