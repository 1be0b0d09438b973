"""The values that pages, judging and verifying hand to one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Found:
    """One version that a page lists: where its archive is, if the page says so, and the archive's
    SHA-256 in hex where the same entry of the page states it."""

    version: str
    url: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person may want to know: `kind` is a word of docs/reference/events.md,
    `text` one line, `detail` further facts as pairs of strings."""

    kind: str
    text: str
    detail: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DigestList:
    """`sha256 = "…"` or `{url, match}`: both as in the recipe, `{version}` not filled in yet."""

    url: str
    match: str = ""


@dataclass(frozen=True, slots=True)
class OpenPgp:
    """`openpgp = {…}`. `keys` are names of files in the recipe's folder and fingerprints; an empty
    `sig` is the archive's URL with `.asc`; `allow` holds "sha1" and "dsa1024"."""

    keys: tuple[str, ...]
    sig: str = ""
    need: int = 1
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Minisign:
    """`minisign = {…}`. `key` is a public key or the name of its file in the recipe's folder; an
    empty `sig` is the archive's URL with `.minisig`."""

    key: str
    sig: str = ""


@dataclass(frozen=True, slots=True)
class Verify:
    """`[track.verify]`: every way that is given must hold. `digest_field` says that the page itself
    states the digest (`sha256 = {field}`); where nothing at all is given, a person must decide."""

    digest_list: DigestList | None = None
    digest_field: str = ""
    openpgp: OpenPgp | None = None
    minisign: Minisign | None = None
    unsigned: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying an archive came to.

    `good`: every way holds. `missing`: a signature or digest is not there yet, ask again later.
    `hold`: neither proven nor disproven, such as by an expired key: a person decides. `bad`: refuse
    it. `reason` is one line; `signers` are the fingerprints (or minisign keys) whose signatures
    hold; `detail` are further facts as pairs of strings.
    """

    status: Literal["good", "missing", "hold", "bad"]
    reason: str
    signers: tuple[str, ...] = ()
    detail: tuple[tuple[str, str], ...] = ()
