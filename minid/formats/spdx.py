"""A bill of materials as SPDX 2.3 in JSON.

Source of the format: the SPDX specification 2.3 and its JSON schema.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from minid.formats.bom import Bom, File, Item, Link
from minid.formats.oci import rfc3339

_UNKNOWN = "NOASSERTION"
_LIST_VERSION = "3.28"
_PURPOSE = {"image": "CONTAINER", "release": "SOURCE", "package": "LIBRARY", "source": "SOURCE"}
# What stands for each relation; the last is told from the other side.
_RELATIONS = {
    "contains": "CONTAINS",
    "made from": "GENERATED_FROM",
    "stands on": "DESCENDANT_OF",
    "links dynamically": "DYNAMIC_LINK",
    "links statically": "STATIC_LINK",
    "needs": "DEPENDS_ON",
    "needs to build": "BUILD_DEPENDENCY_OF",
}
_REVERSED = {"needs to build"}


def dump_spdx(bom: Bom) -> bytes:
    """The document; equal bills give equal bytes."""
    image = bom.items[0]
    assert image.digest is not None
    held: dict[str, list[File]] = {}
    for file in bom.files:
        held.setdefault(file.holder, []).append(file)
    identities = {f"/{file.image_path}": _file_id(file) for file in bom.files}
    identities |= {item.key: f"SPDXRef-{item.key}" for item in bom.items}
    document: dict[str, object] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{image.name} {image.version}".strip(),
        "documentNamespace": (
            f"https://spdx.org/spdxdocs/minid-{bom.tool}-{image.key}-{image.digest.hex}"
        ),
        "creationInfo": {
            "created": rfc3339(bom.created),
            "creators": [f"Tool: minid-{bom.tool}"],
            "licenseListVersion": _LIST_VERSION,
        },
        "packages": [_package(item, held.get(item.key, ())) for item in bom.items],
        "files": [_file(file) for file in bom.files],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", identities[image.key]),
            *(
                _relation(identities[file.holder], "CONTAINS", identities[f"/{file.image_path}"])
                for file in bom.files
            ),
            *(_link(link, identities) for link in bom.links),
        ],
    }
    if bom.texts:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": name, "name": name.removeprefix("LicenseRef-"), "extractedText": text}
            for name, text in sorted(bom.texts.items())
        ]
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _package(item: Item, files: Sequence[File]) -> dict[str, object]:
    package: dict[str, object] = {
        "SPDXID": f"SPDXRef-{item.key}",
        "name": item.name,
        "versionInfo": item.version,
        "downloadLocation": item.url or _UNKNOWN,
        "filesAnalyzed": bool(files),
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": item.license or _UNKNOWN,
        "copyrightText": _UNKNOWN,
        "supplier": _UNKNOWN,
        "primaryPackagePurpose": _PURPOSE[item.kind],
    }
    if files:
        package["packageVerificationCode"] = {"packageVerificationCodeValue": _code(files)}
    if item.digest:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": item.digest.hex}]
    if item.homepage:
        package["homepage"] = item.homepage
    if item.summary:
        package["summary"] = item.summary
    references = []
    if item.purl:
        references.append(("PACKAGE-MANAGER", "purl", item.purl))
    if item.cpe:
        references.append(("SECURITY", "cpe23Type", item.cpe))
    if references:
        package["externalRefs"] = [
            {"referenceCategory": category, "referenceType": kind, "referenceLocator": text}
            for category, kind, text in references
        ]
    return package


def _code(files: Sequence[File]) -> str:
    """The package verification code (specification 7.9): SHA-1 of the sorted SHA-1s."""
    return hashlib.sha1(  # noqa: S324 (the specification's)
        "".join(sorted(file.sha1 for file in files)).encode()
    ).hexdigest()


def _file_id(file: File) -> str:
    name = hashlib.sha256(file.image_path.encode("utf-8", "surrogateescape")).hexdigest()[:20]
    return f"SPDXRef-File-{name}"


def _file(file: File) -> dict[str, object]:
    return {
        "SPDXID": _file_id(file),
        "fileName": f"./{file.image_path}",
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": file.sha1},
            {"algorithm": "SHA256", "checksumValue": file.sha256},
        ],
        "licenseConcluded": _UNKNOWN,
        "copyrightText": _UNKNOWN,
    }


def _link(link: Link, identities: Mapping[str, str]) -> dict[str, str]:
    ends = (link.to, link.of) if link.how in _REVERSED else (link.of, link.to)
    return _relation(identities[ends[0]], _RELATIONS[link.how], identities[ends[1]])


def _relation(of: str, kind: str, to: str) -> dict[str, str]:
    return {"spdxElementId": of, "relationshipType": kind, "relatedSpdxElement": to}
