"""Archives that changed without a new version, and archives that are none.

Nothing here is built from: whatever a site gives out later, an image keeps the source in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minid.errors import HostError, UnpackError
from minid.formats.compression import HEAD_BYTES, detect_compression
from minid.formats.digest import Digest
from minid.formats.tar_fields import BLOCK, parse_header
from minid.host.inner_digest import inner_digest
from minid.upstream.values import Event, Verdict

Comparison = Literal["recompressed", "rerolled"]


@dataclass(frozen=True, slots=True)
class Reroll:
    """What to do about a changed archive: `note` it, `hold` it for a person, or raise an `alert`.

    In no case is anything built without a person's approval.
    """

    action: Literal["note", "hold", "alert"]
    event: Event


def compare_archives(old: Path, new: Path) -> Comparison:
    """`recompressed` where both hold the same bytes once decompressed, else `rerolled`.

    Decompressed in a child with limits: `rerolled` is also what is damaged or runs into them.
    HostError where a file cannot be read.
    """
    try:
        return "recompressed" if inner_digest(old) == inner_digest(new) else "rerolled"
    except UnpackError:
        return "rerolled"


def decide_reroll(
    comparison: Comparison, verdict: Verdict, version: str, old: Digest, new: Digest
) -> Reroll:
    """The decision on an archive whose digest went from `old` to `new` under the same `version`.

    `verdict` is of `verify_release` on the new one. Only a pinned signer makes other bytes worth a
    person's look: a list of digests comes from where the archive comes from.
    """
    detail = (("version", version), ("old", str(old)), ("new", str(new)))
    if comparison == "recompressed":
        text = f"{version}: the archive was compressed anew, what it holds is the same"
        return Reroll("note", Event("recompressed", text, detail))
    if verdict.status == "good" and verdict.signers:
        signers = ", ".join(verdict.signers)
        text = f"{version}: the archive holds other bytes now, signed by {signers}"
        return Reroll("hold", Event("rerolled", text, (*detail, ("signers", signers))))
    text = f"{version}: the archive holds other bytes now, not signed by a pinned key"
    return Reroll("alert", Event("rerolled", text, (*detail, ("verification", verdict.reason))))


def refuse_archive(
    archive: Path, version: str, digest: Digest, known: Mapping[Digest, str]
) -> Verdict | None:
    """The `bad` verdict on a download that cannot be the archive of `version`, None if it can be.

    That is what a site gives out that has an answer to every address: a page, or the archive of
    another version. `known` are the versions by their archives' digests. HostError where the file
    cannot be read.
    """
    other = known.get(digest, version)
    if other != version:
        return Verdict("bad", f"expected a new archive, got that of {other}")
    try:
        with archive.open("rb") as file:
            head = file.read(BLOCK)
    except OSError as error:
        raise HostError(f"{archive}: expected to read, got {error.strerror}") from error
    fault = _fault(head)
    return Verdict("bad", fault) if fault else None


def _fault(head: bytes) -> str:
    """Why the file that begins so is no archive; empty if it may be one."""
    try:
        if detect_compression(head[:HEAD_BYTES]) == "none":
            parse_header(head.ljust(BLOCK, b"\0"))
    except UnpackError as error:
        page = head.lstrip().startswith(b"<")
        return "expected an archive, got a web page" if page else error.message
    return ""
