"""OpenPGP: a recipe's pinned keys, and what their signatures under an archive are worth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minid.errors import MinidError, RecipeError
from minid.formats.openpgp import (
    DSA,
    SHA1,
    STRONG_HASHES,
    Certificate,
    PublicKey,
    read_certificates,
    read_signatures,
)
from minid.host.gpgv import Signature, check_signatures
from minid.upstream.key_files import list_key_files, read_key_file
from minid.upstream.values import OpenPgp, Verdict

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")
_HELD = {
    "expired": "the signature has expired",
    "expired-key": "the key has expired",
    "error": "gpgv cannot check this kind of signature",
}


@dataclass(frozen=True, slots=True)
class Pinned:
    """The keys that count. `pins` are fingerprints of keys or subkeys, `keyring` the packets of
    all that belong to them, `keys` every key and subkey in there by its fingerprint."""

    pins: frozenset[str]
    keyring: bytes
    keys: Mapping[str, PublicKey]

    def holds(self, signature: Signature) -> bool:
        """Whether a pinned key made the signature, itself or by a subkey."""
        return not self.pins.isdisjoint((signature.fingerprint, signature.primary))


def verify_openpgp(
    options: OpenPgp, archive: Path, signature: bytes, recipe_folder: Path
) -> Verdict:
    """Judge a downloaded signature, whatever bytes it is, under the archive.

    RecipeError where the recipe's keys are not there or no keys; HostError where gpgv fails.
    """
    pinned = load_pinned(options.keys, recipe_folder)
    try:
        packets = read_signatures(signature)
    except ValueError as error:
        return Verdict("bad", f"signature: {error}")
    return judge_signatures(check_signatures(archive, packets, pinned.keyring), pinned, options)


def load_pinned(names: Sequence[str], recipe_folder: Path) -> Pinned:
    """The keys that `openpgp.keys` names: all in the named files, and fingerprints of keys that lie
    in any key file of the folder. RecipeError where one is missing."""
    files = [name for name in names if not _FINGERPRINT.fullmatch(name)]
    wanted = {name.upper() for name in names if _FINGERPRINT.fullmatch(name)}
    named = [item for name in files for item in _load_certificates(recipe_folder, name)]
    others = _all_certificates(recipe_folder) if wanted else ()
    beside = [item for item in others if _holds_one(item, wanted)]
    for fingerprint in sorted(wanted):
        if not any(_holds_one(item, {fingerprint}) for item in [*beside, *named]):
            raise RecipeError(
                f"{recipe_folder}: expected a file with the key {fingerprint}, got none",
                hint="gpg --export --armor FINGERPRINT > release-key.asc, in that folder",
            )
    certificates = tuple(dict.fromkeys([*named, *beside]))
    return Pinned(
        pins=frozenset(wanted.union(item.primary.fingerprint for item in named)),
        keyring=b"".join(item.packets for item in certificates),
        keys={key.fingerprint: key for item in certificates for key in item.keys},
    )


def judge_signatures(signatures: Sequence[Signature], pinned: Pinned, options: OpenPgp) -> Verdict:
    """The verdict on what gpgv said.

    A bad signature or one by a revoked key refuses, whatever else there is; `need` good ones by
    different pinned keys are good, whatever else there is; then what a person could still allow is
    held; then fewer good ones than needed are waited for; the rest is weak, or of strangers, and
    refused.
    """
    detail = tuple((item.result, item.primary or item.key) for item in signatures)
    for item in signatures:
        if item.result == "bad":
            return Verdict("bad", f"the signature by {item.key} is bad", (), detail)
        if item.result == "revoked-key" and pinned.holds(item):
            return Verdict("bad", f"the key {item.primary} is revoked", (), detail)
    by_pinned = [item for item in signatures if item.result == "good" and pinned.holds(item)]
    doubts = {item: _doubt(item, pinned) for item in by_pinned}
    faults = {item: _weakness(item, pinned, options.allow) for item in by_pinned}
    fit = [item for item in by_pinned if not (doubts[item] or faults[item])]
    signers = tuple(dict.fromkeys(item.primary for item in fit))
    if len(signers) >= options.need:
        return Verdict("good", f"signed by {', '.join(signers)}", signers, detail)
    held = [
        f"{item.primary}: {doubts[item]}" for item in by_pinned if doubts[item] and not faults[item]
    ]
    held += [*_undecided(signatures, pinned)]
    if held:
        return Verdict("hold", "; ".join(held), signers, detail)
    if signers:
        counted = f"expected {options.need} signatures by pinned keys, got {len(signers)}"
        return Verdict("missing", counted, signers, detail)
    weak = [f"{item.primary}: {fault}" for item, fault in faults.items() if fault]
    if weak:
        return Verdict("bad", "; ".join(weak), (), detail)
    others = ", ".join(dict.fromkeys(item.primary or item.key for item in signatures))
    reason = f"expected a signature by a pinned key, got one by {others or 'nobody'}"
    return Verdict("bad", reason, (), detail)


def _undecided(signatures: Iterable[Signature], pinned: Pinned) -> Iterable[str]:
    for item in signatures:
        # What could not be checked has no proven key: it says itself whose it is.
        claimed = item.result == "error" and any(name.endswith(item.key) for name in pinned.keys)
        if item.result in _HELD and (claimed or pinned.holds(item)):
            yield f"{item.primary or item.key}: {_HELD[item.result]}"


def _doubt(signature: Signature, pinned: Pinned) -> str:
    """Why a person decides about a good signature; empty where nobody has to."""
    if signature.text:
        return "the signature is over text and not over bytes"
    return "" if signature.fingerprint in pinned.keys else "the key's strength is unknown"


def _weakness(signature: Signature, pinned: Pinned, allow: Sequence[str]) -> str:
    """Why a good signature proves nothing; empty where it does."""
    if signature.hash_algorithm not in STRONG_HASHES:
        if signature.hash_algorithm != SHA1:
            return f"hash algorithm {signature.hash_algorithm} is too weak"
        if "sha1" not in allow:
            return 'SHA-1 is too weak, unless the recipe says allow = ["sha1"]'
    key = pinned.keys.get(signature.fingerprint)
    if key is not None and 0 < key.bits < 2048:
        if key.algorithm != DSA:
            return f"a key of {key.bits} bits is too weak"
        if "dsa1024" not in allow:
            return f'DSA with {key.bits} bits is too weak, unless the recipe says "dsa1024"'
    return ""


def _load_certificates(folder: Path, name: str) -> tuple[Certificate, ...]:
    try:
        return read_certificates(read_key_file(folder, name))
    except ValueError as error:
        raise RecipeError(f"{folder / name}: {error}") from error


def _all_certificates(folder: Path) -> Iterable[Certificate]:
    """Those of every key file in the folder that is one."""
    for name in list_key_files(folder):
        try:
            yield from _load_certificates(folder, name)
        except MinidError:
            continue


def _holds_one(certificate: Certificate, fingerprints: set[str]) -> bool:
    return any(key.fingerprint in fingerprints for key in certificate.keys)
