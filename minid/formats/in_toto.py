"""Provenance as an in-toto statement with SLSA's predicate, in JSON.

Source of the formats: the in-toto attestation framework, Statement and ResourceDescriptor v1, and
SLSA's provenance predicate v1 (slsa.dev/spec/v1.0/provenance).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from minid.formats.bom import uri_or_nothing
from minid.formats.digest import Digest
from minid.formats.oci import rfc3339

MEDIA_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


@dataclass(frozen=True, slots=True)
class Resource:
    """A file, image or file system by its digest; a subject must have one. `uri` may be anything:
    what is no URI is left out. `annotations` are JSON values."""

    name: str
    digest: Digest | None = None
    uri: str = ""
    media_type: str = ""
    annotations: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the subjects came to be. `build_type` and `builder` are URIs, the parameters JSON
    objects; `started` and `finished` in seconds since the epoch, 0 where unknown, as `invocation`
    may be empty. `versions` are the builder's, by part."""

    subjects: Sequence[Resource]
    build_type: str
    external: Mapping[str, object]
    builder: str
    internal: Mapping[str, object] = field(default_factory=dict)
    materials: Sequence[Resource] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    invocation: str = ""
    started: float = 0
    finished: float = 0
    byproducts: Sequence[Resource] = ()


def dump_provenance(provenance: Provenance) -> bytes:
    """The statement, not signed; equal values give equal bytes."""
    definition: dict[str, object] = {
        "buildType": provenance.build_type,
        "externalParameters": dict(provenance.external),
    }
    if provenance.internal:
        definition["internalParameters"] = dict(provenance.internal)
    if provenance.materials:
        definition["resolvedDependencies"] = [_resource(item) for item in provenance.materials]
    metadata: dict[str, object] = {}
    if provenance.invocation:
        metadata["invocationId"] = provenance.invocation
    if provenance.started:
        metadata["startedOn"] = rfc3339(int(provenance.started))
    if provenance.finished:
        metadata["finishedOn"] = rfc3339(int(provenance.finished))
    builder: dict[str, object] = {"id": provenance.builder}
    if provenance.versions:
        builder["version"] = dict(provenance.versions)
    run: dict[str, object] = {"builder": builder}
    if metadata:
        run["metadata"] = metadata
    if provenance.byproducts:
        run["byproducts"] = [_resource(item) for item in provenance.byproducts]
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [_resource(item) for item in provenance.subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"buildDefinition": definition, "runDetails": run},
    }
    text = json.dumps(statement, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def _resource(item: Resource) -> dict[str, object]:
    found: dict[str, object] = {"name": item.name}
    if item.digest is not None:
        found["digest"] = {"sha256": item.digest.hex}
    if uri := item.uri if item.uri.startswith("pkg:") else uri_or_nothing(item.uri):
        found["uri"] = uri
    if item.media_type:
        found["mediaType"] = item.media_type
    if item.annotations:
        found["annotations"] = dict(item.annotations)
    return found
