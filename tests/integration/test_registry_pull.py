"""Images that others put into a registry: their formats, indexes, and what does not fit."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from minid.formats.oci import INDEX_TYPE, MANIFEST_TYPE
from tests.support.line import Line, new_line
from tests.support.registry import RunningRegistry, run_registry
from tests.support.require import require

pytestmark = pytest.mark.integration
NAME = f"minid-pull-{uuid.uuid4().hex[:10]}"
TAG = f"{NAME}:1.0.0"


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    require("bwrap", "gcc", "make", "runc", "skopeo")
    with new_line() as line:
        line.recipe("hello").rename(line.recipe(NAME))
        line.build(NAME)
        yield line


@pytest.fixture(scope="module")
def registry(built: Line) -> Iterator[RunningRegistry]:
    with run_registry(built.folder.parent / "registry") as running:
        assert built.run("push", TAG, f"{running.host}/own:1").status == 0
        yield running


def skopeo(*words: str) -> None:
    """Have skopeo copy an image, into another format too."""
    done = subprocess.run(["skopeo", "copy", "-q", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def put(registry: RunningRegistry, name: str, kind: str, value: Any) -> str:
    """Put a manifest there; its digest."""
    data = json.dumps(value).encode()
    repository, _, tag = name.partition(":")
    request = urllib.request.Request(
        f"http://{registry.host}/v2/{repository}/manifests/{tag}",
        data,
        {"Content-Type": kind},
        method="PUT",
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layers(line: Line, name: str) -> list[str]:
    return [layer["diff_id"] for layer in line.query("inspect", name)["layers"]]


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "v2s2"),
        ("--dest-compress-format", "zstd", "--format", "oci"),
        ("--dest-decompress", "--format", "oci"),
    ],
    ids=["docker", "zstd", "plain"],
)
def test_other_formats_become_the_stores_own(
    built: Line, registry: RunningRegistry, options: tuple[str, ...]
) -> None:
    kind = options[-1] + options[0].strip("-")
    if "--dest-decompress" in options:  # skopeo does that to a folder alone
        folder = f"dir:{built.folder.parent}/plain"
        skopeo("--dest-decompress", f"oci:{built.store}:{TAG}", folder)
        source, options = folder, ("--preserve-digests",)
    else:
        source = f"oci:{built.store}:{TAG}"
    skopeo("--dest-tls-verify=false", *options, source, f"docker://{registry.host}/{kind}:1")
    done = built.run("pull", f"{registry.host}/{kind}:1", "--tag", f"{kind}:1")
    assert done.status == 0, done.err
    assert layers(built, f"{kind}:1") == layers(built, TAG)
    manifest = json.loads(built.blob(built.tags()[f"{kind}:1"]))
    assert manifest["mediaType"] == MANIFEST_TYPE
    for layer in manifest["layers"]:
        assert layer["mediaType"].endswith("tar+gzip")
        assert built.blob(layer["digest"])[:2] == b"\x1f\x8b"
    skopeo(f"oci:{built.store}:{kind}:1", f"dir:{built.folder.parent}/{kind}")
    assert built.query("files", f"{kind}:1") is not None
    origin = built.query("edits", f"{kind}:1")[0]["origin"]
    assert origin.startswith(f"{registry.host}/{kind}:1@sha256:")
    assert built.run("verify", "--contents").status == 0


def test_an_index_gives_the_image_for_this_machine(built: Line, registry: RunningRegistry) -> None:
    digest = built.tags()[TAG]
    size = len(built.blob(digest))
    own = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": size}
    other = own | {"platform": {"os": "linux", "architecture": "riscv64"}}
    fitting = own | {"platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [other, fitting]}
    named = put(registry, "own:many", INDEX_TYPE, index)
    assert built.run("pull", f"{registry.host}/own:many", "--tag", "many:1").status == 0
    assert built.tags()["many:1"] == digest
    pinned = f"{registry.host}/own@{named}"
    assert built.run("pull", pinned, "--tag", "pinned:1").status == 0
    assert built.tags()["pinned:1"] == digest
    put(registry, "own:foreign", INDEX_TYPE, index | {"manifests": [other]})
    done = built.run("pull", f"{registry.host}/own:foreign", "--tag", "foreign:1")
    assert (done.status, "linux/amd64" in done.err) == (14, True), done.err
    assert "foreign:1" not in built.tags()


def test_what_is_no_image_is_told_and_leaves_nothing(
    built: Line, registry: RunningRegistry
) -> None:
    digest = built.tags()[TAG]
    good = json.loads(built.blob(digest))
    wrong = {
        "config": good | {"config": good["config"] | {"digest": good["layers"][0]["digest"]}},
        "fewer": good | {"layers": good["layers"][1:]},
        "order": good | {"layers": good["layers"][::-1]},
    }
    before = built.tags(), sorted(path.name for path in built.store.glob("blobs/sha256/*"))
    for name, manifest in wrong.items():
        put(registry, f"own:{name}", MANIFEST_TYPE, manifest)
        done = built.run("pull", f"{registry.host}/own:{name}", "--tag", "wrong:1")
        assert done.status == 14, (name, done.err)
        assert "Traceback" not in done.err
    after = built.tags(), sorted(path.name for path in built.store.glob("blobs/sha256/*"))
    assert after == before


def test_a_tag_of_another_image_is_left_alone(built: Line, registry: RunningRegistry) -> None:
    own = f"{registry.host}/own:1"
    assert built.run("set", TAG, "--label", "a=b").status == 0
    edited = built.tags()[TAG]
    done = built.run("pull", own, "--tag", TAG)
    assert (done.status, "--replace" in done.err) == (2, True), done.err
    assert built.tags()[TAG] == edited
    assert built.run("pull", own, "--tag", TAG, "--replace").status == 0
    assert built.tags()[TAG] != edited


def test_what_was_pulled_moves_after_an_undo_and_not_what_was_edited(
    built: Line, registry: RunningRegistry
) -> None:
    own = f"{registry.host}/moving:1"
    assert built.run("push", TAG, own).status == 0
    assert built.run("pull", own).status == 0
    assert built.run("set", own, "--label", "moved=1").status == 0
    assert built.run("push", own, own).status == 0
    newer = built.tags()[own]
    assert built.run("set", own, "--label", "moved=2").status == 0
    done = built.run("pull", own)
    assert (done.status, "--replace" in done.err) == (2, True), done.err
    for _ in range(2):
        assert built.run("undo", own).status == 0
    assert built.run("pull", own).status == 0
    assert built.tags()[own] == newer
