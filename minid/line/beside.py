"""What goes with an image to its targets: beside exported archives, and to registries."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from minid.formats.digest import Digest
from minid.host.export_folder import packing
from minid.line.attaching import list_attachments
from minid.line.workshop import Workshop
from minid.steps.publish import Publication

if TYPE_CHECKING:
    from minid.host.signing import Signer
    from minid.line.attest import Attestations


def accompany(shop: Workshop, publication: Publication) -> Publication:
    """The publication with what goes beside its image; it is made where a target wants it."""
    facts = publication.detail
    return replace(
        publication,
        beside=make_beside(shop, facts),
        attachments=lambda: list_attachments(facts, shop.records, shop.blobs),
    )


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
