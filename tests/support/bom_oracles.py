"""What others say of minid's bills of materials: the formats' schemas and their own validators."""

from __future__ import annotations

import json
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.support.spdx_shape import DOCUMENT

# The SPDX specification's own, of version 2.3, which lib4sbom brings along.
_SCHEMA = json.loads((files("lib4sbom") / "schemas/spdx/2.3-schema.json").read_text())


def check_spdx(data: bytes) -> dict[str, Any]:
    """The document, which must be valid by the format's schema, by what minid writes of it, and by
    the SPDX project's own tool."""
    document = json.loads(data)
    jsonschema.validate(document, _SCHEMA)
    jsonschema.validate(document, DOCUMENT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bill.spdx.json"
        # Its pattern of a URL wants a host of letters with a top-level domain.
        path.write_bytes(data.replace(b"https://127.0.0.1/", b"https://upstream.example.org/"))
        parsed = parse_file(str(path))
    messages = [message.validation_message for message in validate_full_spdx_document(parsed)]
    assert not messages, messages
    for package in document["packages"]:
        for reference in package.get("externalRefs", ()):
            if reference["referenceType"] == "purl":
                PackageURL.from_string(reference["referenceLocator"])
    return dict(document)


def check_cyclonedx(data: bytes) -> dict[str, Any]:
    """The document, which must be valid by the schema of CycloneDX 1.6, formats included."""
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    assert problem is None, problem
    document = json.loads(data)
    known = {*references_of(document["components"]), document["metadata"]["component"]["bom-ref"]}
    for entry in document["dependencies"]:
        assert {entry["ref"], *entry.get("dependsOn", ())} <= known
    return dict(document)


def references_of(components: list[dict[str, Any]]) -> list[str]:
    """The bom-ref of each component and of those inside it."""
    return [
        ref
        for item in components
        for ref in (item["bom-ref"], *references_of(item.get("components", [])))
    ]


def components_of(components: list[dict[str, Any]]) -> dict[str, str]:
    """Name → version of each component and of those inside it, without files."""
    found: dict[str, str] = {}
    for item in components:
        if item["type"] != "file":
            found[item["name"]] = item["version"]
            found |= components_of(item.get("components", []))
    return found
