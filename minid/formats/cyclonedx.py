"""A bill of materials as CycloneDX 1.6 in JSON.

Source of the format: the CycloneDX specification 1.6 (ECMA-424) and its JSON schema.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Set

from minid.formats.bom import Bom, File, Item
from minid.formats.oci import rfc3339
from minid.formats.spdx_ids import LICENSES

_TYPES = {"image": "container", "release": "application", "package": "library", "source": "library"}
_NAMESPACE = uuid.UUID("6f2c9a52-50a8-5b0b-9d0c-2f6f1c1f7f0a")


def dump_cyclonedx(bom: Bom) -> bytes:
    """The document; equal bills give equal bytes. Packages stand inside the source that they were
    built from."""
    image, others = bom.items[0], bom.items[1:]
    excluded = _only_built_with(bom)
    inside = {
        link.of: link.to
        for link in bom.links
        if link.how == "made from" and _kind(bom, link.of) == "package"
    }
    components = [
        _component(item, [other for other in others if inside.get(other.key) == item.key], excluded)
        for item in others
        if item.key not in inside
    ]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{bom.tool} {image.digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(bom.created),
            "tools": {
                "components": [{"type": "application", "name": "minid", "version": bom.tool}]
            },
            "component": _component(image, (), excluded),
        },
        "components": [*components, *(_file(file) for file in bom.files)],
        "dependencies": list(_dependencies(bom, set(inside.values()))),
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _only_built_with(bom: Bom) -> set[str]:
    """What a build needed of which nothing is in the image, as far as is known."""
    tools = {link.to for link in bom.links if link.how == "needs to build"}
    return tools - {link.to for link in bom.links if link.how != "needs to build"}


def _kind(bom: Bom, key: str) -> str:
    return next((item.kind for item in bom.items if item.key == key), "file")


def _component(item: Item, inside: Iterable[Item], excluded: Set[str]) -> dict[str, object]:
    component: dict[str, object] = {
        "type": "library" if item.library else _TYPES[item.kind],
        "bom-ref": item.key,
        "name": item.name,
        "version": item.version,
    }
    if item.key in excluded:
        component["scope"] = "excluded"
    if item.summary:
        component["description"] = item.summary
    if item.digest and item.kind == "image":
        component["hashes"] = [{"alg": "SHA-256", "content": item.digest.hex}]
    if item.license:
        # An identifier of the list that is an expression too is still better told as what it is.
        single = item.license in LICENSES
        component["licenses"] = [
            {"license": {"id": item.license}} if single else {"expression": item.license}
        ]
    if item.cpe:
        component["cpe"] = item.cpe
    if item.purl:
        component["purl"] = item.purl
    references: list[dict[str, object]] = []
    if item.url:
        reference: dict[str, object] = {"type": "source-distribution", "url": item.url}
        if item.digest:
            reference["hashes"] = [{"alg": "SHA-256", "content": item.digest.hex}]
        references.append(reference)
    if item.homepage:
        references.append({"type": "website", "url": item.homepage})
    if references:
        component["externalReferences"] = references
    nested = [_component(other, (), excluded) for other in inside]
    if nested:
        component["components"] = nested
    return component


def _file(file: File) -> dict[str, object]:
    return {
        "type": "file",
        "bom-ref": f"file:/{file.image_path}",
        "name": f"/{file.image_path}",
        "hashes": [
            {"alg": "SHA-1", "content": file.sha1},
            {"alg": "SHA-256", "content": file.sha256},
        ],
    }


def _dependencies(bom: Bom, sources: set[str]) -> Iterable[dict[str, object]]:
    """What needs what, files standing for the item that has them."""
    holders = {f"/{file.image_path}": file.holder for file in bom.files}
    image = bom.items[0].key
    found: dict[str, set[str]] = {item.key: set() for item in bom.items}
    for link in bom.links:
        of, to = holders.get(link.of, link.of), holders.get(link.to, link.to)
        # A source has its packages inside: a package does not need it.
        if of != to and not (to in sources and link.how == "made from"):
            found[of].add(to)
    there = {item.key for item in bom.items if item.kind == "package"}
    found[image] |= there - _only_built_with(bom)
    for key, needed in found.items():
        entry: dict[str, object] = {"ref": key}
        if needed:
            entry["dependsOn"] = sorted(needed)
        yield entry
