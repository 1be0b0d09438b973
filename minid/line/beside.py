"""What lies beside the archives of the export folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from minid.formats.digest import Digest
from minid.line.workshop import Workshop

if TYPE_CHECKING:
    from minid.line.attest import Attestations


def make_beside(
    shop: Workshop, facts: Mapping[str, object]
) -> Callable[[Path, Digest], dict[str, bytes]]:
    """What makes the files to lie beside each archive of an image (`host.export_folder`)."""

    @cache
    def documents() -> Attestations:
        from minid.line.attest import Attestations

        return Attestations(facts, shop.records, shop.blobs)

    def beside(archive: Path, digest: Digest) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        if shop.config.publish.attest:
            made = documents().make((archive.name, digest))
            files |= {item.suffix: item.data for item in made}
        return files

    return beside
