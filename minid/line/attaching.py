"""What goes to a registry with an image: its signatures, bill of materials and provenance."""

from __future__ import annotations

from collections.abc import Mapping

from minid.formats.oci_artifact import SIGNATURE_LAYERS, SIGNATURE_TYPE, Attachment
from minid.line.attest import make_attestations
from minid.store.blobs import Blobs
from minid.store.records import Records
from minid.store.signatures import Signatures


def list_attachments(
    facts: Mapping[str, object], records: Records, blobs: Blobs
) -> tuple[Attachment, ...]:
    """The documents about the image of which `facts` are the record; equal records give equal
    bytes. Of an image that no recipe made here these are signatures alone: who built it knows more,
    and may have told the registry. StoreError where a blob of the image is missing or damaged."""
    signatures = tuple(
        Attachment(SIGNATURE_TYPE, SIGNATURE_LAYERS[row.kind], row.signature, row.key)
        for row in Signatures(records.database).of(str(facts["manifest"]))
    )
    told = make_attestations(facts, records, blobs) if facts.get("recipe") else ()
    return (*signatures, *(Attachment(one.media_type, one.media_type, one.data) for one in told))
