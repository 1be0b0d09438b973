"""Artifacts that refer to an image (OCI image specification 1.1, `subject`): signatures, bills of
materials, provenance; and the index of them under the fallback tag (OCI Distribution 1.1).

Pure. Equal values give equal bytes, so that what is there already is not sent again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minid.formats.digest import Digest, canonical_json
from minid.formats.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
SIGNATURE_TYPE = "application/vnd.minid.signature.v1"
"""The artifact type of signatures; the one layer says which kind: `SIGNATURE_LAYERS`."""
SIGNATURE_LAYERS = {
    "minisign": "application/vnd.minid.signature.minisign",
    "openssh": "application/vnd.minid.signature.openssh",
}
TOOL_KEY = "io.minid.tool"
_TOOL = "minid"
_NAME_KEY = "io.minid.name"
MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document about an image. `artifact_type` is what it is found by, `media_type` its bytes'
    own, `name` (such as the key of a signature) tells it from others of its type."""

    artifact_type: str
    media_type: str
    data: bytes
    name: str = ""

    @property
    def annotations(self) -> dict[str, str]:
        """Whose it is, by which a later push knows it again."""
        return {TOOL_KEY: _TOOL} | ({_NAME_KEY: self.name} if self.name else {})


Entry = Mapping[str, Any]
"""An entry of an index of referrers, as somebody wrote it: what is not minid's stays as it is."""


def dump_artifact(attachment: Attachment, subject: Descriptor) -> bytes:
    """The manifest of an artifact: the empty configuration, one layer, and what it refers to."""
    empty = Descriptor(EMPTY_TYPE, Digest.of(EMPTY), len(EMPTY)).as_json()
    data = attachment.data
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": attachment.artifact_type,
            "config": empty | {"data": "e30="},
            "layers": [Descriptor(attachment.media_type, Digest.of(data), len(data)).as_json()],
            "subject": subject.as_json(),
            "annotations": attachment.annotations,
        }
    )


def refer(attachment: Attachment, manifest: bytes) -> Entry:
    """The entry for an artifact's manifest."""
    descriptor = Descriptor(MANIFEST_TYPE, Digest.of(manifest), len(manifest)).as_json()
    notes = {"artifactType": attachment.artifact_type, "annotations": attachment.annotations}
    return descriptor | notes


def fallback_tag(subject: Digest) -> str:
    """`sha256-<hex>`: where the index of referrers lies in a registry that keeps none itself."""
    return f"sha256-{subject.hex}"


def parse_artifact(data: bytes, subject: Digest) -> Descriptor:
    """The one layer of an artifact's manifest that refers to `subject`. ValueError otherwise."""
    value = _load(data)
    if str((value.get("subject") or {}).get("digest")) != str(subject):
        raise ValueError("expected an artifact that refers to the image, got another")
    layers = value.get("layers")
    if not isinstance(layers, list) or len(layers) != 1:
        raise ValueError("expected an artifact of one layer")
    return _descriptor(layers[0])


def parse_referrers(data: bytes) -> tuple[Entry, ...]:
    """The entries of an index of referrers, other people's too. ValueError for what is none."""
    entries = _load(data).get("manifests")
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise ValueError(f"expected an index of at most {MAX_ENTRIES} manifests")
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("expected an index of descriptors")
    return tuple(entries)


def find_referrers(entries: Iterable[Entry], artifact_type: str) -> tuple[Descriptor, ...]:
    """The artifacts of a type; entries that nobody could follow are left out."""
    found = []
    for entry in entries:
        if entry.get("artifactType") == artifact_type:
            with contextlib.suppress(ValueError):
                found.append(_descriptor(entry))
    return tuple(found)


def merge_referrers(before: Iterable[Entry], added: Sequence[Entry]) -> tuple[Entry, ...]:
    """An index's entries after a push: other people's stay, minid's of the same type and name are
    replaced."""
    replaced = {_own(entry) for entry in added}
    digests = {entry["digest"] for entry in added}
    kept = [
        entry
        for entry in before
        if str(entry.get("digest")) not in digests
        and ((own := _own(entry)) is None or own not in replaced)
    ]
    return (*kept, *added)


def _own(entry: Entry) -> tuple[str, str] | None:
    """The type and name of an artifact of minid's; None for other people's."""
    notes = entry.get("annotations")
    if not isinstance(notes, dict) or notes.get(TOOL_KEY) != _TOOL:
        return None
    return str(entry.get("artifactType")), str(notes.get(_NAME_KEY, ""))


def dump_referrers(entries: Iterable[Entry]) -> bytes:
    """An index of referrers, for the fallback tag. ValueError for entries that JSON cannot hold."""
    value = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(entries)}
    return canonical_json(value)


def _load(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("expected JSON") from error
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    subject = value.get("subject")
    if not isinstance(subject, dict | None):
        raise ValueError("expected a subject")
    return value


def _descriptor(value: object) -> Descriptor:
    if not isinstance(value, dict):
        raise ValueError("expected a descriptor")
    media_type, size = value.get("mediaType"), value.get("size")
    if not isinstance(media_type, str) or type(size) is not int or not 0 <= size < 1 << 50:
        raise ValueError("expected a descriptor with type and size")
    return Descriptor(media_type, Digest.parse(str(value.get("digest"))), size)
