"""Archives of many engines come in whole, and nothing comes of those that are damaged or lie."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from minid.config import Config
from minid.errors import MinidError, UnpackError, UsageError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.formats.tree import parse_tree
from minid.line.workshop import open_guest
from minid.store.blobs import Blobs
from minid.store.edits import Edits
from minid.store.records import Records
from minid.workbench.arriving import Arrival
from minid.workbench.loading import (
    LoadedArchive,
    familiar_name,
    load_archive,
    load_layout,
    name_of_file,
    parse_time,
)
from minid.workbench.selftest import prove, scratch_config
from minid.workbench.spool import ARCHIVE
from tests.support.made_archives import (
    LOWER,
    OCI,
    UPPER,
    Oci,
    config_of,
    docker_old,
    hex_of,
    index_of,
    manifest_of,
    oci,
    tar_of,
)

ARRIVAL = Arrival("load", "tester", "made.tar")


@dataclass(frozen=True)
class Store:
    config: Config

    def load(self, data: bytes | Path, arrival: Arrival = ARRIVAL) -> LoadedArchive:
        with open_guest(self.config, {}, clock=lambda: 1000.0) as shop:
            if isinstance(data, Path):
                return load_layout(shop, data, arrival)
            return load_archive(shop, io.BytesIO(data), arrival)

    def state(self) -> dict[str, object]:
        """Everything that an archive could leave behind."""
        records = Records(self.config.paths.records, writable=False)
        try:
            return {
                "files": sorted(str(path) for path in self.config.paths.state.rglob("*/sha256/*")),
                "left": sorted(str(path) for path in self.blobs.temporary.rglob("*")),
                "jobs": sorted(str(path) for path in self.config.paths.jobs.rglob("load-*")),
                "tags": records.tags(),
                "edits": Edits(records.database).all(),
            }
        finally:
            records.close()

    @property
    def blobs(self) -> Blobs:
        return Blobs(self.config.paths.store)

    def files(self, loaded: LoadedArchive) -> dict[str, bytes | str]:
        """The tree of its only image, with the files' bytes as the store has them."""
        (image,) = loaded.images
        found: dict[str, bytes | str] = {}
        for entry in parse_tree(self.blobs.read(Digest.parse(str(image.detail["tree"])))).entries:
            content = entry.content
            found[entry.image_path] = entry.kind + entry.target
            if content is not None:
                assert content.blob is not None
                data = self.blobs.read_range(content.blob, content.offset, content.size)
                found[entry.image_path] = data
        return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    config = scratch_config(tmp_path)
    with open_guest(config, {}):
        pass  # there are records
    return Store(config)


SHOWN = {"bin": "directory", "bin/run": b"#!/bin/sh\n" * 200, "etc": "directory", "etc/b": b"two"}


def test_an_oci_archive_stays_byte_for_byte(store: Store) -> None:
    made = oci()
    loaded = store.load(gzip.compress(tar_of(made.members())))
    assert (loaded.kind, loaded.images[0].names) == ("OCI archive", ("made:1",))
    image = parse_image(loaded.images[0].detail)
    assert store.blobs.read(image.manifest) == made.manifest
    assert [store.blobs.read(layer.digest) for layer in image.layers] == made.layers
    assert [layer.created_by for layer in image.layers] == ["step 0", "step 1"]
    assert store.files(loaded) == SHOWN
    assert prove(store.config) == []
    again = store.load(tar_of(made.members()))
    assert again.images[0].moved is None


@pytest.mark.parametrize("said", ["tar", "tar+gzip", "tar+zstd"])
@pytest.mark.parametrize(
    "pack", [lambda data: data, bz2.compress, lzma.compress], ids=["plain", "bzip2", "xz"]
)
def test_layers_that_are_no_gzips_become_some(
    store: Store, pack: Callable[[bytes], bytes], said: str
) -> None:
    """Whatever their media type says they are."""
    made = oci(pack=pack)
    made.manifest = manifest_of(made.config, made.layers, said)
    loaded = store.load(tar_of(made.members()))
    image = parse_image(loaded.images[0].detail)
    assert store.blobs.read(image.config) == made.config
    layers = [gzip.decompress(store.blobs.read(layer.digest)) for layer in image.layers]
    assert layers == [LOWER, UPPER]
    assert store.files(loaded) == SHOWN
    assert prove(store.config) == []


def test_an_archive_of_an_old_engine_keeps_its_image(store: Store) -> None:
    layers = (LOWER, UPPER, LOWER)
    rows = docker_old(layers, ("made:1", "docker.io/library/made:latest"))
    loaded = store.load(tar_of(rows))
    image = parse_image(loaded.images[0].detail)
    assert (loaded.kind, loaded.images[0].names) == ("docker archive", ("made:1", "made:latest"))
    assert f"{image.config.hex}.json" == rows[0][0]
    assert [layer.diff_id.hex for layer in image.layers] == [hex_of(data) for data in layers]
    assert [gzip.decompress(store.blobs.read(item.digest)) for item in image.layers] == [*layers]
    assert store.files(loaded) == SHOWN | {"etc/a": b"one"}
    assert prove(store.config) == []


def test_an_index_for_several_platforms_and_a_layout_in_a_folder(
    store: Store, tmp_path: Path
) -> None:
    made, other = oci(), oci([UPPER], architecture="arm64")
    rows = []
    for part, machine in ((other, "arm64"), (made, "amd64")):
        row = json.loads(index_of(part.manifest, ["x"]))["manifests"][0]
        rows.append(row | {"platform": {"os": "linux", "architecture": machine}})
    attestation = {"vnd.docker.reference.type": "attestation-manifest"}
    rows.append(rows[1] | {"annotations": attestation, "digest": f"sha256:{'0' * 64}"})
    inner = json.dumps({"manifests": rows}).encode()
    made.index = index_of(inner, ["made:1"], mediaType=f"{OCI}.index.v1+json")
    members = [*made.members(), *other.blobs.items(), (f"blobs/sha256/{hex_of(inner)}", inner)]
    for path, data in members:
        (tmp_path / "layout" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / path).write_bytes(data)
    loaded = store.load(tmp_path / "layout")
    assert loaded.images[0].detail["manifest"] == f"sha256:{hex_of(made.manifest)}"
    layer = tmp_path / "layout/blobs/sha256" / hex_of(made.layers[0])
    layer.rename(tmp_path / "elsewhere")
    layer.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnpackError):
        store.load(tmp_path / "layout", replace(ARRIVAL, tags=("b:1",)))


def test_images_of_one_configuration_keep_their_names(store: Store) -> None:
    """An archive that is Docker's and OCI's: names count once, images that differ stay apart."""
    one, two = oci(), oci(pack=lambda data: gzip.compress(data, 9, mtime=5))
    rows = [
        {
            "Config": f"blobs/sha256/{hex_of(made.config)}",
            "RepoTags": [name, "both:1"],
            "Layers": [],
        }
        for made, name in ((one, "one:1"), (two, "two:1"))
    ]
    index = json.loads(index_of(one.manifest, ["docker.io/library/one:1"]))
    index["manifests"] += json.loads(index_of(two.manifest, ["two:1"]))["manifests"]
    one.index = json.dumps(index).encode()
    members = dict([*one.members(), *two.blobs.items()])
    loaded = store.load(tar_of([*members.items(), ("manifest.json", json.dumps(rows).encode())]))
    assert [(image.names, image.detail["manifest"]) for image in loaded.images] == [
        (("one:1", "both:1"), f"sha256:{hex_of(one.manifest)}"),
        (("two:1",), f"sha256:{hex_of(two.manifest)}"),
    ]


def test_names(store: Store) -> None:
    nameless = tar_of(docker_old(names=()))
    before = store.state()
    with pytest.raises(UsageError, match="expected an image with a name"):
        store.load(nameless)
    assert store.state() == before
    for arrival, name in (
        (replace(ARRIVAL, otherwise="file:latest"), "file:latest"),
        (replace(ARRIVAL, tags=("given:1",), otherwise="file:latest"), "given:1"),
    ):
        assert store.load(nameless, arrival).images[0].names == (name,)
    assert store.load(tar_of([("a", b"1")]), replace(ARRIVAL, tags=("root:1",))).images[0].moved


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker.io/library/a:1", "a:1"),
        ("docker.io/team/a", "team/a:latest"),
        ("localhost/a:1", "a:1"),
        ("localhost:5000/a:1", "localhost:5000/a:1"),
        ("reg.example/library/a:1", "reg.example/library/a:1"),
    ],
)
def test_names_as_people_gave_them(name: str, expected: str) -> None:
    assert familiar_name(name) == expected


@pytest.mark.parametrize(
    "name", ["", "A:1", "../a:1", "a:1\n", "a:\x1b[1m", "a@sha256:1", "a" * 300]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UnpackError):
        familiar_name(name)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("rootfs.tar.xz", "rootfs:latest"),
        ("Root.tgz", "root:latest"),
        ("web_1.2-RC1-container.tar.gz", "web-container:1.2-RC1"),
        ("reg_5000_web_1-container.tar", "reg_5000_web-container:1"),
        ("rootfs", "rootfs:latest"),
        ("", ""),
        ("-", ""),
        ("ä.tar", ""),
    ],
)
def test_the_name_of_a_file(file: str, expected: str) -> None:
    assert name_of_file(file) == expected


def test_times() -> None:
    assert parse_time("2024-03-01T10:00:00.123456789Z") == 1709287200
    assert parse_time("0001-01-01T00:00:00Z") == 0
    assert [parse_time(text) for text in ("", "yesterday", "9" * 99)] == [0, 0, 0]


def test_a_tag_of_another_image(store: Store) -> None:
    store.load(tar_of(docker_old([LOWER])))
    before = store.state()
    for data in (tar_of(docker_old([UPPER])), tar_of(oci([UPPER]).members())):
        with pytest.raises(UsageError, match="a tag that is free"):
            store.load(data)
        assert store.state() == before
    with pytest.raises(UsageError):
        store.load(tar_of([("a", b"1")]), replace(ARRIVAL, tags=("made:1",)))
    assert store.state() == before
    loaded = store.load(tar_of(docker_old([UPPER])), replace(ARRIVAL, replace=True))
    assert loaded.images[0].moved is not None


def changed(change: Callable[[Oci], object], **config: object) -> bytes:
    made = oci(**config)  # type: ignore[arg-type]
    change(made)
    return tar_of(made.members())


def manifest_with(**fields: object) -> bytes:
    made = oci()
    made.manifest = json.dumps(json.loads(made.manifest) | fields).encode()
    return tar_of(made.members())


def docker_with(**fields: object) -> bytes:
    rows = docker_old()
    row: dict[str, Any] = json.loads(next(d for n, d in rows if n == "manifest.json"))[0]  # type: ignore[arg-type]
    data = json.dumps([row | fields]).encode()
    return tar_of([(name, data if name == "manifest.json" else value) for name, value in rows])


def config_with(**fields: object) -> bytes:
    return tar_of(docker_old(config=config_of([LOWER, UPPER]) | fields))


def swapped(old: bytes, new: bytes) -> bytes:
    """An archive in which a blob's file has other bytes than its name says."""
    return tar_of([(name, new if data == old else data) for name, data in oci().members()])


def with_layer(layer: bytes) -> bytes:
    return tar_of(docker_old([layer]))


MADE = oci()
SIZE = {"size": 1, "digest": "sha256:" + "0" * 64, "mediaType": "x"}
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello\n" * 1000,
    "zeros": bytes(10240),
    "no members": tar_of([]),
    "a gzip of nothing": gzip.compress(b""),
    "trailing bytes": tar_of(oci().members()) + b"x",
    "a gzip with trailing bytes": gzip.compress(tar_of(oci().members())) + b"x",
    "one file twice": tar_of([*oci().members(), oci().members()[1]]),
    "a file and a link of one name": tar_of([("index.json", ("l", "a")), *oci().members()]),
    "links in a circle": tar_of(
        [("oci-layout", b"{}"), ("index.json", ("l", "x")), ("x", ("l", "index.json"))]
    ),
    "a link out of it": tar_of([("manifest.json", ("l", "/etc/passwd")), ("oci-layout", b"{}")]),
    "a name out of it": tar_of([("../../manifest.json", b"[]"), *oci().members()]),
    "an absolute name": tar_of([("/manifest.json", b"[]"), *oci().members()]),
    "an index of nothing": changed(lambda made: setattr(made, "index", b'{"manifests":[]}')),
    "an index of rubbish": changed(lambda made: setattr(made, "index", b'{"manifests":[1]}')),
    "an index that is a list": changed(lambda made: setattr(made, "index", b"[]")),
    "an index without JSON": changed(lambda made: setattr(made, "index", b"\xff\xfe")),
    "an index in an index in itself": changed(lambda made: setattr(made, "index", b"[" * 100_000)),
    "a manifest of nowhere": changed(lambda m: setattr(m, "index", index_of(b"else", ["made:1"]))),
    "a digest of another kind": changed(
        lambda m: setattr(m, "index", m.members()[1][1].replace(b"sha256", b"sha512"))
    ),
    "a digest that is a path": changed(
        lambda m: setattr(m, "index", index_of(b"", ["a:1"], digest="sha256:../../../etc/passwd"))
    ),
    "an artifact": changed(
        lambda m: setattr(m, "index", index_of(m.manifest, ["a:1"], mediaType="application/x"))
    ),
    "a bad name": changed(lambda made: setattr(made, "names", ("../../x:1",))),
    "names that are controls": changed(lambda made: setattr(made, "names", ("\x1b]0;x\x07:1",))),
    "another manifest": swapped(MADE.manifest, MADE.manifest + b" "),
    "another configuration": swapped(MADE.config, MADE.config + b" "),
    "another layer": swapped(MADE.layers[0], gzip.compress(LOWER, 1, mtime=9)),
    "a layer cut short": swapped(MADE.layers[1], MADE.layers[1][:-9]),
    "no layer's file": swapped(MADE.layers[1], b""),
    "layers that are no list": manifest_with(layers={}),
    "layers of rubbish": manifest_with(layers=[None, 3]),
    "fewer layers": manifest_with(layers=[]),
    "sizes that lie": changed(
        lambda m: setattr(m, "manifest", m.manifest.replace(b'"size": ', b'"size": 1'))
    ),
    "sizes that are text": changed(
        lambda m: setattr(m, "manifest", m.manifest.replace(b'"size": ', b'"size": "1", "x": '))
    ),
    "more layers": manifest_with(layers=[SIZE] * 600),
    "no configuration": manifest_with(config=None),
    "a configuration of nowhere": manifest_with(config=SIZE),
    "docker: config out of it": docker_with(Config="../../../../etc/passwd"),
    "docker: config absolute": docker_with(Config="/etc/passwd"),
    "docker: config of half a pair": docker_with(Config="\ud800"),
    "docker: config of zeros": docker_with(Config="a\0b"),
    "docker: config that is a layer": docker_with(Config=f"{0:064x}/layer.tar"),
    "docker: layers out of it": docker_with(Layers=["../../../etc/passwd", "x"]),
    "docker: layers exchanged": docker_with(Layers=[f"{n:064x}/layer.tar" for n in (1, 0)]),
    "docker: layers of numbers": docker_with(Layers=[1, 2]),
    "docker: tags of numbers": docker_with(RepoTags=[1]),
    "docker: tags that are text": docker_with(RepoTags="made:1"),
    "docker: a tag of half a pair": docker_with(RepoTags=["\udfff:1"]),
    "docker: for Windows": config_with(os="windows"),
    "docker: diff IDs of numbers": config_with(rootfs={"diff_ids": [1, 2]}),
    "docker: no root": config_with(rootfs=None),
    "docker: before 1.10": tar_of([("repositories", b"{}"), ("x/layer.tar", LOWER)]),
    "layer: a name out of it": with_layer(tar_of([("../a", b"1")])),
    "layer: an absolute name": with_layer(tar_of([("/a", b"1")])),
    "layer: a link out of it": with_layer(tar_of([("a", ("h", "../../etc/passwd"))])),
    "layer: a file below a file": with_layer(tar_of([("a", b"1"), ("a/b", b"1")])),
    "layer: a file below a link": with_layer(tar_of([("a", ("l", "/etc")), ("a/b", b"1")])),
    "layer: a whiteout of ..": with_layer(tar_of([("d/.wh...", b"")])),
    "layer: a whiteout of nothing": with_layer(tar_of([(".wh.", b"")])),
    "layer: text": with_layer(b"hello" * 500),
    "layer: nothing": with_layer(b""),
    "layer: a name that is no UTF-8": with_layer(tar_of([("\udcff", b"1")])),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_comes_of_what_is_hostile(store: Store, what: str) -> None:
    store.load(tar_of(docker_old([LOWER], ("other:1",))))
    before = store.state()
    with pytest.raises(UnpackError) as met:
        store.load(HOSTILE[what])
    assert str(met.value).encode()
    assert store.state() == before


@pytest.mark.parametrize(
    "odd",
    [
        {"config": []},
        {"config": {"Cmd": "sh"}},
        {"config": {"Env": [1]}},
        {"config": {"Labels": {"x": 5}}},
        {"config": {"Labels": {"x": "\ud800"}}},
        {"config": {"ExposedPorts": ["80/tcp"]}},
        {"history": 7},
        {"history": [7]},
        {"history": [{"created_by": ["x"]}]},
        {"created": 5},
        {"author": float("nan")},
    ],
)
def test_a_configuration_of_another_shape(store: Store, odd: dict[str, object]) -> None:
    before = store.state()
    with pytest.raises(UnpackError):
        store.load(config_with(**odd))
    assert store.state() == before


def test_odd_values_in_a_configuration_do_no_harm(store: Store) -> None:
    odd = {
        "history": [{"created_by": "\x1b[1m", "comment": None}, {"empty_layer": True}],
        "created": "soon",
        "config": {"Labels": {"org.opencontainers.image.version": "\x00" * 9000}, "Cmd": None},
    }
    loaded = store.load(config_with(**odd))
    assert len(parse_image(loaded.images[0].detail).version) <= 128
    assert prove(store.config) == []


def test_two_images_of_one_name(store: Store) -> None:
    one, two = oci([LOWER]), oci([UPPER])
    index = json.loads(index_of(one.manifest, ["made:1"]))
    index["manifests"] += json.loads(index_of(two.manifest, ["made:1"]))["manifests"]
    one.index = json.dumps(index).encode()
    before = store.state()
    with pytest.raises(UnpackError, match="several"):
        store.load(tar_of([*one.members(), *two.blobs.items()]))
    assert store.state() == before


def test_layers_larger_than_allowed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive whose layers are large: all together count, those that are shared once."""
    monkeypatch.setattr(
        "minid.workbench.loading.ARCHIVE",
        replace(ARCHIVE, total_bytes=300_000),
    )
    zeros = [tar_of([(f"z{number}", bytes(200_000))]) for number in range(2)]
    before = store.state()
    with pytest.raises(UnpackError, match="at most"):
        store.load(tar_of(oci(zeros).members()))
    assert store.state() == before
    assert store.load(tar_of(oci([zeros[0], zeros[0]]).members())).images[0].moved


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_flips_and_truncations(store: Store, kind: str) -> None:
    """Where a flip changes nothing that counts, the very image comes in."""
    rows = oci().members() if kind == "oci" else docker_old()
    whole, source = tar_of(rows), random.Random(5)
    first = store.load(whole).images[0].detail["config"]
    refused = 0
    for number in range(150):
        place = source.randrange(len(whole))
        bad = whole[:place]
        if number % 3:
            bad += bytes([whole[place] ^ (1 << source.randrange(8))]) + whole[place + 1 :]
        before = store.state()
        try:
            loaded = store.load(bad, replace(ARRIVAL, replace=True))
        except MinidError:
            refused += 1
            assert store.state() == before
        else:
            if loaded.kind != "root file system":
                assert [image.detail["config"] for image in loaded.images] == [first]
    assert refused > 75
    assert prove(store.config) == []


ODD: list[Any] = [
    None,
    -1,
    2**70,
    1.5,
    True,
    "",
    "\x00",
    "\ud800",
    "../x",
    [],
    {},
    [None],
    [1] * 600,
]


def mutated(value: Any, chance: random.Random) -> Any:
    """The value with one of its parts missing or replaced."""
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        keys = list(part) if isinstance(part, dict) else range(len(part))
        for key in keys:
            places.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    walk(value)
    part, key = chance.choice(places)
    if isinstance(part, dict) and chance.random() < 0.2:
        del part[key]
    else:
        part[key] = chance.choice(ODD)
    return value


@pytest.mark.parametrize("where", ["index", "manifest", "config", "manifest.json"])
def test_json_of_any_shape_is_taken_or_refused(store: Store, where: str) -> None:
    chance = random.Random(where)
    arrival = replace(ARRIVAL, replace=True, otherwise="other:1")
    taken = 0
    for _ in range(60):
        made = oci()
        if where == "manifest.json":
            rows = dict(docker_old())
            value = json.loads(rows[where])  # type: ignore[arg-type]
            data = tar_of((rows | {where: json.dumps(mutated(value, chance)).encode()}).items())
        else:
            value = json.loads(made.members()[1][1] if where == "index" else getattr(made, where))
            setattr(made, where, json.dumps(mutated(value, chance)).encode())
            if where == "config":
                made.manifest = manifest_of(made.config, made.layers)
            data = tar_of(made.members())
        before = store.state()
        try:
            store.load(data, arrival)
            taken += 1
        except MinidError:
            assert store.state() == before
    assert 0 < taken < 60
    assert prove(store.config) == []
