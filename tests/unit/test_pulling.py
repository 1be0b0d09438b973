"""Images of a registry come in whole, and nothing comes of what does not fit together."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from minid.config import Config
from minid.errors import FetchError, MinidError, UnpackError, UsageError
from minid.formats.registry_name import parse_registry_name
from minid.host.registry_connection import Connection, Place
from minid.line.workshop import open_guest
from minid.workbench import pulling
from minid.workbench.arriving import Arrival, Loaded
from minid.workbench.selftest import prove, scratch_config
from tests.support.made_archives import Oci, hex_of, oci
from tests.support.strange_registry import Strange, strange_registry

ODD: tuple[Any, ...] = (
    None,
    0,
    -1,
    2**70,
    "",
    "x" * 3000,
    [],
    {},
    [[]],
    True,
    1.5,
    "sha256:../../etc",
    "\x00",
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    eager = functools.partial(Connection, pause=lambda _: None)
    monkeypatch.setattr(pulling, "Connection", eager)
    made = scratch_config(tmp_path)
    with open_guest(made, {}):
        pass  # there are records
    return made


def offer(state: Strange, made: Oci, manifest: bytes = b"") -> None:
    """Have the registry hold an image as `made:1`."""
    data = manifest or made.manifest
    state.manifests |= {"1": data, f"sha256:{hex_of(data)}": data}
    state.blobs |= {f"sha256:{hex_of(part)}": part for part in (made.config, *made.layers)}


def pull(config: Config, state: Strange, name: str = "made:1", tag: str = "made:1") -> Loaded:
    place = Place(parse_registry_name(f"{state.host}/{name}"))
    tags = (tag,) if tag else ()
    with open_guest(config, {}) as shop:
        return pulling.pull_image(shop, place, Arrival("pull", "tester", name, "", tags))


def files(config: Config) -> list[str]:
    return sorted(str(path) for path in config.paths.store.rglob("*") if path.is_file())


def test_an_image_comes_as_it_is(config: Config) -> None:
    made = oci()
    with strange_registry() as state:
        offer(state, made)
        loaded = pull(config, state)
        assert loaded.detail["manifest"] == f"sha256:{hex_of(made.manifest)}"
        again = pull(config, state)
        assert again.moved is None
        with pytest.raises(UsageError, match="expected a name"):
            pull(config, state, f"made@sha256:{hex_of(made.manifest)}", "")
        with pytest.raises(FetchError, match="404"):
            pull(config, state, "made:none")
        with pytest.raises(FetchError, match="expected manifest"):
            state.manifests[f"sha256:{'0' * 64}"] = made.manifest
            pull(config, state, f"made@sha256:{'0' * 64}", "other:1")
    assert prove(config) == []


def test_a_blob_with_other_bytes_is_refused(config: Config) -> None:
    made = oci()
    before = files(config)
    with strange_registry() as state:
        for part in (made.config, *made.layers):
            offer(state, made)
            state.blobs[f"sha256:{hex_of(part)}"] = part[:-1] + bytes([part[-1] ^ 1])
            with pytest.raises(UnpackError):
                pull(config, state)
            state.blobs[f"sha256:{hex_of(part)}"] = part[:-1]
            with pytest.raises(FetchError, match=f"expected {len(part)} bytes"):
                pull(config, state)
    assert files(config) == before


def test_sizes_are_bounded(config: Config) -> None:
    made = oci()
    for index in ("config", 0):
        value = json.loads(made.manifest)
        part = value["config"] if index == "config" else value["layers"][0]
        part["size"] = 2**62
        with strange_registry() as state:
            offer(state, made, json.dumps(value).encode())
            with pytest.raises(UnpackError, match="sizes"):
                pull(config, state)


def test_indexes_do_not_go_round(config: Config) -> None:
    with strange_registry() as state:
        inner = b"{}"
        for _ in range(8):
            row = {"digest": f"sha256:{hex_of(inner)}", "size": len(inner)}
            kind = "application/vnd.oci.image.index.v1+json"
            index = {"schemaVersion": 2, "mediaType": kind, "manifests": [row]}
            inner = json.dumps(index).encode()
            state.manifests[f"sha256:{hex_of(inner)}"] = inner
        state.manifests["1"] = inner
        with pytest.raises(UnpackError, match="expected an image"):
            pull(config, state)


def spoil(value: Any, chance: random.Random) -> Any:
    """The value with something of it gone, doubled or strange."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        return rest if chance.random() < 0.2 else rest | {key: spoil(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        twice = value * 2 if chance.random() < 0.2 else list(value)
        twice[place] = spoil(value[place], chance)
        return twice
    return chance.choice(ODD)


def test_whatever_a_manifest_says_it_is_told_or_taken_whole(config: Config) -> None:
    chance = random.Random(11)
    made, taken, told = oci(), 0, 0
    with strange_registry() as state:
        for number in range(40):
            offer(state, made, json.dumps(spoil(json.loads(made.manifest), chance)).encode())
            try:
                pull(config, state, tag=f"made:{number}")
                taken += 1
            except MinidError:
                told += 1
    assert taken
    assert told > taken
    assert prove(config) == []
