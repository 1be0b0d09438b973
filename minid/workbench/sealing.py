"""Signing an image of the store: what is signed are its manifest's bytes, which name all of it."""

from __future__ import annotations

from collections.abc import Mapping

from minid.formats.digest import Digest
from minid.host.signing import Signer
from minid.line.workshop import Workshop
from minid.store.signatures import SignatureRow, Signatures


def sign_image(shop: Workshop, facts: Mapping[str, object], name: str, signer: Signer) -> Digest:
    """Sign the image of `facts` anew and keep the signature with it; the manifest's digest."""
    digest = Digest.parse(str(facts["manifest"]))
    made = signer.sign_bytes(shop.blobs.read(digest), name)
    Signatures(shop.records.database).add(
        SignatureRow(str(digest), signer.kind, signer.key, made, shop.clock())
    )
    return digest
