"""SHA-256 digests as values, and canonical JSON, the form in which a key is hashed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest. `str()` gives the OCI form `sha256:<64 hex>`; `hex` is the bare number."""

    hex: str

    @staticmethod
    def parse(text: str) -> Digest:
        """Read `sha256:<64 hex>` or the bare 64 hex digits; ValueError for anything else."""
        bare = text.removeprefix("sha256:")
        if not _HEX.fullmatch(bare):
            raise ValueError(f"expected 64 lower-case hex digits, got {text!r}")
        return Digest(bare)

    @staticmethod
    def of(data: bytes) -> Digest:
        """The digest of these bytes."""
        return Digest(hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first twelve digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return "sha256:" + self.hex


def canonical_json(value: object) -> bytes:
    """`value` as JSON, keys sorted, no white space, no escapes: equal values give equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of_json(value: object) -> Digest:
    """The digest of `value`'s canonical JSON: how every key of minid is made."""
    return Digest.of(canonical_json(value))
