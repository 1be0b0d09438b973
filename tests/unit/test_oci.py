"""Configuration, manifest and index against the words of the OCI image specification 1.1."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from minid.formats.digest import Digest, canonical_json
from minid.formats.oci import (
    LAYOUT_FILE,
    Descriptor,
    History,
    RunConfig,
    architecture_of,
    dump_config,
    dump_index,
    dump_manifest,
    normalise_name,
    rfc3339,
)
from minid.model import Layer

CREATED = 1_738_753_592


def layer(name: str) -> Layer:
    return Layer(Digest.of(name.encode()), Digest.of(b"gz" + name.encode()), 10, 20, name)


def config(**fields: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "layers": [layer("base"), layer("own")],
        "history": [History("base"), History("CMD", empty=True), History("own", author="me")],
        "labels": {},
        "created": CREATED,
        "architecture": "amd64",
        "author": "",
        "comment": "",
        **fields,
    }
    run = values.pop("run", RunConfig())
    data = dump_config(run, **values)
    assert data == canonical_json(json.loads(data))
    return dict(json.loads(data))


def test_configuration_has_the_required_properties() -> None:
    value = config()
    assert value["created"] == "2025-02-05T11:06:32Z"
    assert (value["architecture"], value["os"]) == ("amd64", "linux")
    assert value["rootfs"]["type"] == "layers"
    assert value["rootfs"]["diff_ids"] == [str(layer(n).diff_id) for n in ("base", "own")]
    assert value["config"] == {}
    assert "author" not in value
    assert "comment" not in value


def test_history_has_one_entry_with_a_layer_per_layer() -> None:
    history = config()["history"]
    filled = [line["created_by"] for line in history if not line.get("empty_layer")]
    assert filled == ["base", "own"]
    assert [line["created_by"] for line in history] == ["base", "CMD", "own"]
    time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert all(time.fullmatch(line["created"]) for line in history)
    assert [line.get("author", "") for line in history] == ["", "", "me"]


@pytest.mark.parametrize(
    "history",
    [
        [History("one")],
        [History("one"), History("two"), History("three")],
        [History("one"), History("two", empty=True)],
    ],
)
def test_another_number_of_layers_in_history_is_refused(history: list[History]) -> None:
    with pytest.raises(ValueError, match="expected 2 history entries"):
        config(history=history)


def test_comment_stands_at_the_top_and_in_the_last_entry() -> None:
    value = config(comment="nginx 1.26.3", author="minid")
    assert value["comment"] == "nginx 1.26.3"
    assert [line.get("comment") for line in value["history"]] == [None, None, "nginx 1.26.3"]
    assert value["author"] == "minid"


def test_comment_of_an_image_without_layers() -> None:
    assert config(layers=[], history=[], comment="nothing")["comment"] == "nothing"


def test_comments_of_layers_stay() -> None:
    history = [History("base", "from upstream"), History("own", "mine")]
    lines = config(history=history, comment="image")["history"]
    assert [line["comment"] for line in lines] == ["from upstream", "image"]


def test_run_configuration_in_words_of_the_specification() -> None:
    run = RunConfig(
        env=("A=1", "B="),
        entrypoint=("/sbin/init", "-x"),
        cmd=("serve",),
        user="nginx:nginx",
        workdir="/srv",
        expose=("80/tcp", "53/udp"),
        volumes=("/data",),
        stop_signal="SIGQUIT",
    )
    assert config(run=run, labels={"b": "2", "a": "1"})["config"] == {
        "Env": ["A=1", "B="],
        "Entrypoint": ["/sbin/init", "-x"],
        "Cmd": ["serve"],
        "User": "nginx:nginx",
        "WorkingDir": "/srv",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGQUIT",
        "Labels": {"a": "1", "b": "2"},
    }


def test_entries_of_a_base_keep_their_time() -> None:
    history = [History("base", created="2024-09-26T21:31:42Z"), History("own")]
    created = [line["created"] for line in config(history=history)["history"]]
    assert created == ["2024-09-26T21:31:42Z", "2025-02-05T11:06:32Z"]


def test_order_of_labels_does_not_reach_the_bytes() -> None:
    assert config(labels={"a": "1", "b": "2"}) == config(labels={"b": "2", "a": "1"})


def test_manifest_describes_config_and_layers() -> None:
    descriptor = Descriptor("application/vnd.oci.image.config.v1+json", Digest.of(b"c"), 7)
    value = json.loads(dump_manifest(descriptor, [layer("base"), layer("own")]))
    assert value["schemaVersion"] == 2
    assert value["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert value["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": str(Digest.of(b"c")),
        "size": 7,
    }
    assert [item["digest"] for item in value["layers"]] == [
        str(layer("base").digest),
        str(layer("own").digest),
    ]
    media_types = {item["mediaType"] for item in value["layers"]}
    assert media_types == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert all(item["size"] == 10 for item in value["layers"])


def test_index_names_each_tag() -> None:
    descriptor = Descriptor("application/vnd.oci.image.manifest.v1+json", Digest.of(b"m"), 9)
    tags = [("nginx:1.26.3", descriptor), ("nginx:latest", descriptor)]
    value = json.loads(dump_index(tags, "arm64"))
    assert value["schemaVersion"] == 2
    assert value["mediaType"] == "application/vnd.oci.image.index.v1+json"
    first, second = value["manifests"]
    assert first["platform"] == {"architecture": "arm64", "os": "linux"}
    assert first["annotations"] == {
        "io.containerd.image.name": "docker.io/library/nginx:1.26.3",
        "org.opencontainers.image.ref.name": "nginx:1.26.3",
    }
    assert second["annotations"]["org.opencontainers.image.ref.name"] == "nginx:latest"
    assert json.loads(dump_index([], "amd64"))["manifests"] == []


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("nginx:1.26.3", "docker.io/library/nginx:1.26.3"),
        ("nginx", "docker.io/library/nginx"),
        ("me/nginx:1", "docker.io/me/nginx:1"),
        ("example.org/nginx:1", "example.org/nginx:1"),
        ("localhost/nginx:1", "localhost/nginx:1"),
        ("localhost:5000/me/nginx:1", "localhost:5000/me/nginx:1"),
        ("registry:5000/nginx", "registry:5000/nginx"),
    ],
)
def test_names_as_containerd_writes_them(name: str, normal: str) -> None:
    assert normalise_name(name) == normal


def test_architectures_are_those_of_go() -> None:
    assert [architecture_of(name) for name in ("x86_64", "aarch64", "armv7l", "i686")] == [
        "amd64",
        "arm64",
        "arm",
        "386",
    ]
    assert architecture_of("loongarch64") == "loongarch64"


def test_times() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(CREATED) == "2025-02-05T11:06:32Z"


def test_layout_file() -> None:
    assert json.loads(LAYOUT_FILE) == {"imageLayoutVersion": "1.0.0"}
