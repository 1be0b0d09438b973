"""What minid writes of an SPDX 2.3 document, after the specification's chapters 6 to 11.

The format's JSON schema has few patterns and lets empty text pass; this holds to the text.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string", "minLength": 1}
_ID = {"type": "string", "pattern": "^SPDXRef-[A-Za-z0-9.-]+$"}
_HEX = {"type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


def _array(of: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": least}


_CHECKSUM = _object({"algorithm": {"enum": ["SHA1", "SHA256"]}, "checksumValue": _HEX})
_REFERENCE = _object(
    {
        "referenceCategory": {"enum": ["OTHER", "PERSISTENT-ID", "SECURITY", "PACKAGE-MANAGER"]},
        "referenceType": {"enum": ["purl", "cpe23Type"]},
        "referenceLocator": {"type": "string", "pattern": r"^\S+$"},
    }
)
_PACKAGE = _object(
    {
        "SPDXID": _ID,
        "name": _TEXT,
        "versionInfo": _TEXT,
        "downloadLocation": {"type": "string", "pattern": "^(NOASSERTION|NONE|[a-z]+://\\S+)$"},
        "filesAnalyzed": {"type": "boolean"},
        "licenseConcluded": _TEXT,
        "licenseDeclared": _TEXT,
        "copyrightText": _TEXT,
    },
    supplier=_TEXT,
    homepage={"type": "string", "pattern": r"^[a-z]+://\S+$"},
    summary=_TEXT,
    primaryPackagePurpose={"enum": ["CONTAINER", "SOURCE", "LIBRARY", "APPLICATION"]},
    packageVerificationCode=_object({"packageVerificationCodeValue": _HEX}),
    checksums=_array(_CHECKSUM, 1),
    externalRefs=_array(_REFERENCE),
)
_FILE = _object(
    {
        "SPDXID": _ID,
        "fileName": {"type": "string", "pattern": r"^\./"},
        "checksums": _array(_CHECKSUM, 1),
    },
    licenseConcluded=_TEXT,
    copyrightText=_TEXT,
)
_RELATION = _object(
    {
        "spdxElementId": _ID,
        "relatedSpdxElement": _ID,
        "relationshipType": {
            "enum": [
                "BUILD_DEPENDENCY_OF",
                "CONTAINS",
                "DEPENDS_ON",
                "DESCENDANT_OF",
                "DESCRIBES",
                "DYNAMIC_LINK",
                "GENERATED_FROM",
                "STATIC_LINK",
            ]
        },
    }
)
DOCUMENT = _object(
    {
        "spdxVersion": {"const": "SPDX-2.3"},
        "dataLicense": {"const": "CC0-1.0"},
        "SPDXID": {"const": "SPDXRef-DOCUMENT"},
        "name": _TEXT,
        "documentNamespace": {"type": "string", "pattern": r"^https://[^\s#]+$"},
        "creationInfo": _object(
            {
                "created": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                "creators": _array(_TEXT, 1),
            },
            licenseListVersion={"type": "string", "pattern": r"^\d+\.\d+$"},
        ),
        "packages": _array(_PACKAGE, 1),
        "files": _array(_FILE),
        "relationships": _array(_RELATION, 1),
    },
    hasExtractedLicensingInfos=_array(
        _object(
            {
                "licenseId": {"type": "string", "pattern": "^LicenseRef-[A-Za-z0-9.-]+$"},
                "extractedText": _TEXT,
            },
            name=_TEXT,
        )
    ),
)
