"""What lies beside the archives of the export folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from minid.formats.digest import Digest
from minid.host.export_folder import packing
from minid.line.workshop import Workshop

if TYPE_CHECKING:
    from minid.host.signing import Signer
    from minid.line.attest import Attestations


def make_beside(
    shop: Workshop, facts: Mapping[str, object]
) -> Callable[[Path, Digest], dict[str, bytes]]:
    """What makes the files to lie beside each archive of an image (`host.export_folder`)."""

    @cache
    def documents() -> Attestations:
        from minid.line.attest import Attestations

        return Attestations(facts, shop.records, shop.blobs)

    @cache
    def signer() -> Signer:
        from minid.host.signing import open_signer

        assert shop.config.publish.sign.key is not None
        return open_signer(shop.config.publish.sign.key, os.environ)

    def beside(archive: Path, digest: Digest) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        if shop.config.publish.attest:
            made = documents().make((archive.name, digest))
            files |= {item.suffix: item.data for item in made}
        if shop.config.publish.sign.key is not None:
            files[packing(archive) + signer().suffix] = signer().sign_file(archive)
        return files

    return beside
