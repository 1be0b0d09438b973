"""What is told beside an image, and never inside it: its bill of materials and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minid.formats.digest import Digest
from minid.formats.in_toto import MEDIA_TYPE as IN_TOTO
from minid.formats.in_toto import Resource, dump_provenance
from minid.formats.spdx import dump_spdx
from minid.host.export_folder import BILL, PROVENANCE
from minid.line.origins import Story
from minid.line.sbom import make_bom
from minid.line.statement import make_provenance
from minid.store.blobs import Blobs
from minid.store.records import Records

SPDX = "application/spdx+json"


@dataclass(frozen=True, slots=True)
class Attestation:
    """A document about an image. `suffix` is what its file has instead of the archive's."""

    suffix: str
    media_type: str
    data: bytes


class Attestations:
    """The documents about one image; equal records give equal bytes.

    The bill is made once. StoreError where a blob of the image is missing or damaged.
    """

    def __init__(self, facts: Mapping[str, object], records: Records, blobs: Blobs) -> None:
        self._story = Story(facts, records, blobs)
        self._records = records
        self._blobs = blobs
        self._bill: bytes = b""

    def make(self, archive: tuple[str, Digest] | None = None) -> tuple[Attestation, ...]:
        """Bill and provenance; `archive` is name and digest of the file that the image lies in."""
        if not self._bill:
            self._bill = dump_spdx(make_bom(self._story, self._blobs))
        return (Attestation(BILL, SPDX, self._bill), self.provenance(archive))

    def provenance(self, archive: tuple[str, Digest] | None = None) -> Attestation:
        """The provenance alone."""
        file = Resource(*archive) if archive else None
        statement = make_provenance(self._story, self._records, self._blobs, file)
        return Attestation(PROVENANCE, IN_TOTO, dump_provenance(statement))


def make_attestations(
    facts: Mapping[str, object],
    records: Records,
    blobs: Blobs,
    *,
    archive: tuple[str, Digest] | None = None,
) -> tuple[Attestation, ...]:
    """The documents about the image of which `facts` are the record."""
    return Attestations(facts, records, blobs).make(archive)
