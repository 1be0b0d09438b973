"""What others say of minid's provenance: in-toto's own messages, and SLSA's text on top."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

_HEX = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # in-toto: RFC 3339 in UTC


def check_provenance(data: bytes) -> dict[str, Any]:
    """The statement, which must be one by in-toto's published messages, unknown fields refused, and
    have what SLSA's provenance v1 requires."""
    document = json.loads(data)
    statement = statement_pb2.Statement()
    json_format.ParseDict(document, statement)
    Statement.copy_from_pb(statement).validate()
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = document["predicate"]
    provenance = provenance_pb2.Provenance()
    json_format.ParseDict(predicate, provenance)
    definition, run = provenance.build_definition, provenance.run_details
    assert urlsplit(definition.build_type).scheme
    assert urlsplit(run.builder.id).scheme
    assert len(definition.external_parameters)
    resources = [*definition.resolved_dependencies, *run.byproducts]
    for resource in resources:
        ResourceDescriptor.copy_from_pb(resource).validate()
        assert resource.uri or resource.digest or resource.content, resource.name
    for resource in (*statement.subject, *resources):
        for name, value in resource.digest.items():
            assert name == "sha256"
            assert _HEX.fullmatch(value)
        assert not resource.uri or urlsplit(resource.uri).scheme
    for name in ("startedOn", "finishedOn"):
        told = predicate["runDetails"].get("metadata", {}).get(name)
        assert told is None or _TIME.fullmatch(told)
    return dict(document)


def materials_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The resolved dependencies by name."""
    definition = document["predicate"]["buildDefinition"]
    return {item["name"]: item for item in definition["resolvedDependencies"]}
