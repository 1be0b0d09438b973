"""Signatures of images' manifests, by the operator's keys; of each key the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from minid.store.database import Database

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
