"""Signatures of images' manifests, by the operator's keys; of each key the last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minid.formats.digest import Digest
from minid.store.blobs import Blobs
from minid.store.database import Database

if TYPE_CHECKING:
    from minid.host.signing import Signer

Kind = Literal["minisign", "openssh"]


@dataclass(frozen=True, slots=True)
class SignatureRow:
    """A detached signature of a manifest's bytes. `key` names the public key as its makers do;
    `made` in seconds since the epoch."""

    manifest: str
    kind: Kind
    key: str
    signature: bytes
    made: float


class Signatures:
    """The table of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, manifest: str) -> list[SignatureRow]:
        """The signatures of an image, in the order of their keys."""
        rows = self._database.query(
            "SELECT manifest, kind, key, signature, made FROM signatures WHERE manifest = ?"
            " ORDER BY key",
            (manifest,),
        )
        return [SignatureRow(*row) for row in rows]  # type: ignore[arg-type]

    def add(self, row: SignatureRow) -> None:
        """Keep a signature, in place of an earlier one by the same key."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO signatures (manifest, kind, key, signature, made)"
                " VALUES (?, ?, ?, ?, ?)",
                (row.manifest, row.kind, row.key, row.signature, row.made),
            )


def sign_stored(
    manifest: Digest,
    name: str,
    key: Path,
    blobs: Blobs,
    database: Database,
    *,
    environ: Mapping[str, str],
    now: float,
) -> None:
    """Sign a manifest, unless it is signed by this key. KeyFileError for a key that is missing or
    locked."""
    from minid.host.signing import open_signer

    signer = open_signer(key, environ)
    if all(row.key != signer.key for row in Signatures(database).of(str(manifest))):
        sign_manifest(manifest, name, signer, blobs, database, now)


def sign_manifest(
    manifest: Digest, name: str, signer: Signer, blobs: Blobs, database: Database, now: float
) -> None:
    """Sign a manifest's bytes anew, and keep the signature."""
    made = signer.sign_bytes(blobs.read(manifest), name)
    row = SignatureRow(str(manifest), signer.kind, signer.key, made, now)
    Signatures(database).add(row)
