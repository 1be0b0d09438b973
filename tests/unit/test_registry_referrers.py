"""What refers to an image in a registry: with its own index of that, and without."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from minid.errors import PublishError
from minid.formats.digest import Digest
from minid.formats.oci import INDEX_TYPE, MANIFEST_TYPE
from minid.formats.oci_artifact import (
    SIGNATURE_LAYERS,
    SIGNATURE_TYPE,
    Attachment,
    fallback_tag,
    parse_referrers,
)
from minid.formats.registry_name import parse_registry_name
from minid.host.registry_connection import Place
from minid.host.registry_push import push_image
from minid.host.registry_referrers import remote_signatures
from tests.support.strange_registry import Strange, strange_registry

CONFIG = b"{}"
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "x", "digest": str(Digest.of(CONFIG)), "size": 2},
        "layers": [],
    }
).encode()
SUBJECT = Digest.of(MANIFEST)
BILL = Attachment("application/spdx+json", "application/spdx+json", b"{}" * 9)
TAG = fallback_tag(SUBJECT)


def signature(data: bytes, key: str = "A") -> Attachment:
    return Attachment(SIGNATURE_TYPE, SIGNATURE_LAYERS["minisign"], data, key)


def place(state: Strange) -> Place:
    return Place(parse_registry_name(f"{state.host}/x:1"))


def push(state: Strange, *attachments: Attachment) -> None:
    read = {Digest.of(CONFIG): CONFIG}
    push_image(
        MANIFEST,
        place(state),
        ["1"],
        lambda digest, offset, size: read[digest][offset : offset + size],
        attachments=attachments,
    )


@pytest.fixture(params=["", "referrers"])
def registry(request: pytest.FixtureRequest) -> Iterator[Strange]:
    with strange_registry(request.param) as state:
        yield state


def test_what_is_attached_is_found_again(registry: Strange) -> None:
    push(registry, BILL, signature(b"one"), signature(b"two", "B"))
    assert registry.manifests["1"] == MANIFEST
    manifest, found = remote_signatures(place(registry), "minisign")
    assert (manifest, sorted(found)) == (MANIFEST, [b"one", b"two"])
    assert remote_signatures(place(registry), "openssh")[1] == ()
    # Only a registry without an index of its own has one under a tag.
    assert (TAG in registry.manifests) == (registry.fault == "")


def test_a_second_push_sends_nothing_again(registry: Strange) -> None:
    push(registry, BILL, signature(b"one"))
    manifests, patches = dict(registry.manifests), registry.seen["PATCH"]
    push(registry, BILL, signature(b"one"))
    assert (registry.manifests, registry.seen["PATCH"]) == (manifests, patches)


def test_other_peoples_entries_under_the_tag_stay() -> None:
    theirs = {
        "mediaType": MANIFEST_TYPE,
        "digest": str(Digest.of(b"theirs")),
        "size": 6,
        "artifactType": SIGNATURE_TYPE,
        "annotations": {"by": "others"},
    }
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [theirs]}
    with strange_registry() as state:
        state.manifests[TAG] = json.dumps(index).encode()
        push(state, signature(b"one"))
        push(state, signature(b"again"))
        first, second = parse_referrers(state.manifests[TAG])
        assert first == theirs
        assert second["annotations"]["io.minid.name"] == "A"


@pytest.mark.parametrize("there", [b"{}", b"[", b'{"manifests": [3]}'])
def test_a_tag_that_is_something_else_is_left_alone(there: bytes) -> None:
    with strange_registry() as state:
        state.manifests[TAG] = there
        with pytest.raises(PublishError, match="expected an index of referrers"):
            push(state, BILL)
        assert state.manifests[TAG] == there
        assert "1" not in state.manifests  # the tag comes last


def test_without_attachments_nothing_is_asked_about_them() -> None:
    with strange_registry() as state:
        push(state)
        assert set(state.manifests) == {"1", str(SUBJECT)}


def swap(state: Strange, old: bytes, new: bytes) -> None:
    """Have the registry answer something else for what was pushed."""
    state.blobs = {key: value.replace(old, new) for key, value in state.blobs.items()}


def test_other_bytes_of_a_signature_are_no_signature(registry: Strange) -> None:
    push(registry, signature(b"one"))
    swap(registry, b"one", b"two")
    with pytest.raises(PublishError, match="got other bytes"):
        remote_signatures(place(registry), "minisign")


def test_an_artifact_of_another_image_is_refused() -> None:
    with strange_registry() as state:
        push(state, signature(b"one"))
        other = MANIFEST.replace(b"{", b"{ ", 1)
        state.manifests["1"] = other
        # Whoever controls the registry moves the old image's index to the new one's tag.
        state.manifests[fallback_tag(Digest.of(other))] = state.manifests[TAG]
        with pytest.raises(PublishError, match="refers to the image"):
            remote_signatures(place(state), "minisign")


def test_a_broken_artifact_does_not_hide_a_signature() -> None:
    with strange_registry() as state:
        push(state, signature(b"one"), signature(b"two", "B"), signature(b"three", "C"))
        swap(state, b"one", b"xxx")
        two = parse_referrers(state.manifests[TAG])[1]["digest"]
        del state.manifests[two]
        assert remote_signatures(place(state), "minisign")[1] == (b"three",)
        swap(state, b"three", b"xxxxx")
        with pytest.raises(PublishError, match="got other bytes"):
            remote_signatures(place(state), "minisign")
