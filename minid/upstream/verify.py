"""Whether a new release's archive is its upstream's: by lists of digests, OpenPGP and minisign."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from minid.errors import FetchError, HostError, RecipeError
from minid.formats.digest import Digest
from minid.formats.minisign import (
    MAX_SIGNATURE_BYTES,
    BadSignatureError,
    check_minisign,
    named_file,
    parse_public_key,
)
from minid.formats.url import file_name, shown
from minid.host.http import AbsentError, StatusError
from minid.recipe import expand
from minid.upstream.digest_list import MAX_LIST_BYTES, find_digests
from minid.upstream.key_files import read_key_file
from minid.upstream.openpgp import verify_openpgp
from minid.upstream.values import DigestList, Minisign, OpenPgp, Verdict, Verify

Fetch = Callable[[str, int], Awaitable[bytes]]
"""Gets a URL and the most bytes to take. Raises AbsentError for what is not there, FetchError."""

MAX_OPENPGP_BYTES = 64 << 10

_MINISIGN_KEY = re.compile(r"RW[A-Za-z0-9+/]{54}")
_HEX = re.compile(r"[0-9a-f]{64}")
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
_WORST_FIRST = ("bad", "hold", "missing")


@dataclass(frozen=True, slots=True)
class _Release:
    archive: Path
    digest: Digest
    url: str
    version: str
    folder: Path
    fetch: Fetch


async def verify_release(
    verify: Verify,
    archive: Path,
    digest: Digest,
    artifact_url: str,
    version: str,
    recipe_folder: Path,
    stated_digest: str,
    fetch: Fetch,
) -> Verdict:
    """Judge the downloaded `archive` of `version`, whose SHA-256 is `digest`, in each way given.

    All ways must hold; the worst decides (bad, hold, missing, good). `artifact_url` is where the
    archive came from, `stated_digest` what the page says of it (hex, or empty) and is compared
    whenever it is there. What the recipe or the machine lacks, such as a key file or gpgv, is
    `hold`, and so is an address that is refused for good, such as a file that is too large. Other
    FetchErrors than AbsentError pass: whether and when to ask again is the caller's. The work on
    files is done in a thread.
    """
    release = _Release(archive, digest, artifact_url, version, recipe_folder, fetch)
    verdicts: list[tuple[str, Verdict]] = []
    if stated_digest or verify.digest_field:
        verdicts.append(("sha256", _judge_stated(digest, stated_digest)))
    if verify.digest_list is not None:
        verdicts.append(("sha256", await _held(_check_list(verify.digest_list, release))))
    if verify.openpgp is not None:
        verdicts.append(("openpgp", await _held(_check_openpgp(verify.openpgp, release))))
    if verify.minisign is not None:
        verdicts.append(("minisign", await _held(_check_minisign(verify.minisign, release))))
    return _judge_together(verdicts, verify)


async def _held(check: Awaitable[Verdict]) -> Verdict:
    """The verdict of a check, `hold` for what it lacks and for what asking again cannot change."""
    try:
        return await check
    except (RecipeError, HostError) as error:
        return Verdict("hold", error.message)
    except FetchError as error:
        if error.retryable or isinstance(error, StatusError):
            raise
        return Verdict("hold", error.message)


def _judge_together(verdicts: Sequence[tuple[str, Verdict]], verify: Verify) -> Verdict:
    detail = tuple((name, verdict.reason) for name, verdict in verdicts)
    detail += tuple(pair for _, verdict in verdicts for pair in verdict.detail)
    signers = tuple(signer for _, verdict in verdicts for signer in verdict.signers)
    for status in _WORST_FIRST:
        reasons = [verdict.reason for _, verdict in verdicts if verdict.status == status]
        if reasons:
            return Verdict(status, "; ".join(reasons), signers, detail)  # type: ignore[arg-type]
    if verify == Verify():
        return Verdict(
            "hold", "the recipe says neither how to verify nor unsigned = true", (), detail
        )
    reasons = [verdict.reason for _, verdict in verdicts] or ["unsigned, as the recipe says"]
    return Verdict("good", "; ".join(reasons), signers, detail)


def _judge_stated(digest: Digest, stated: str) -> Verdict:
    stated = stated.lower()
    if not stated:
        return Verdict("missing", "the page does not state the digest yet")
    if not _HEX.fullmatch(stated):
        return Verdict("hold", "the page states something else than 64 hex digits as the digest")
    return _judge_digest(digest, stated, "the page")


def _judge_digest(digest: Digest, stated: str, where: str) -> Verdict:
    if stated == digest.hex:
        return Verdict("good", f"{where} states the digest")
    return Verdict("bad", f"{where} states the digest {stated}, the archive has {digest.hex}")


async def _check_list(options: DigestList, release: _Release) -> Verdict:
    import asyncio

    url = expand(options.url, release.version)
    where = shown(url)
    try:
        name = file_name(release.url)
    except FetchError as error:
        return Verdict("hold", error.message)
    data = await _fetch(url, MAX_LIST_BYTES, release.fetch)
    if isinstance(data, Verdict):
        return data
    stated = sorted(await asyncio.to_thread(find_digests, data, name, options.match))
    if not stated:
        return Verdict("missing", f"{where} does not name {name} yet")
    if len(stated) > 1:
        return Verdict("bad", f"{where} states {len(stated)} different digests for {name}")
    return _judge_digest(release.digest, stated[0], where)


async def _check_openpgp(options: OpenPgp, release: _Release) -> Verdict:
    import asyncio

    data = await _fetch(
        _signature_url(options.sig, ".asc", release), MAX_OPENPGP_BYTES, release.fetch
    )
    if isinstance(data, Verdict):
        return data
    return await asyncio.to_thread(verify_openpgp, options, release.archive, data, release.folder)


async def _check_minisign(options: Minisign, release: _Release) -> Verdict:
    import asyncio

    data = await _fetch(
        _signature_url(options.sig, ".minisig", release), MAX_SIGNATURE_BYTES, release.fetch
    )
    if isinstance(data, Verdict):
        return data
    return await asyncio.to_thread(_judge_minisign, options, release, data)


def _judge_minisign(options: Minisign, release: _Release, signature: bytes) -> Verdict:
    key = _minisign_key(options.key, release.folder)
    try:
        with release.archive.open("rb") as archive:
            comment = check_minisign(key, signature, archive)
    except BadSignatureError as error:
        return Verdict("bad", f"minisign signature: {error}")
    except ValueError as error:
        return Verdict("bad", f"minisign signature: expected one, got: {error}")
    except OSError as error:
        raise HostError(f"{release.archive}: expected to read, got {error.strerror}") from error
    detail = (("trusted comment", ascii(comment)[1:-1]),)
    signed_name, name = named_file(comment), urlsplit(release.url).path.rpartition("/")[2]
    if signed_name not in ("", name):
        # An old archive with its own good signature, under the new one's name.
        return Verdict("hold", f"signed as {signed_name!a}, offered as {name!a}", (key,), detail)
    return Verdict("good", f"signed by {key}", (key,), detail)


def _minisign_key(key: str, folder: Path) -> str:
    text = key if _MINISIGN_KEY.fullmatch(key) else read_key_file(folder, key).decode("latin-1")
    try:
        return parse_public_key(text)
    except ValueError as error:
        raise RecipeError(
            f"track.verify.minisign.key: expected a minisign public key, got: {error}"
        ) from error


async def _fetch(url: str, max_bytes: int, fetch: Fetch) -> bytes | Verdict:
    """The bytes there, or the verdict on what is there instead of them."""
    where = shown(url)
    try:
        data = await fetch(url, max_bytes)
    except AbsentError:
        return Verdict("missing", f"{where} is not there yet")
    if len(data) > max_bytes:
        return Verdict("bad", f"{where}: expected at most {max_bytes} bytes, got more")
    if _PAGE.match(data):
        # Many sites answer 200 with a page of theirs where a file is not there.
        return Verdict("missing", f"{where} is a web page, the file is not there yet")
    return data


def _signature_url(template: str, suffix: str, release: _Release) -> str:
    """The recipe's, or the archive's own with the suffix behind its path."""
    if template:
        return expand(template, release.version)
    parts = urlsplit(release.url)
    return urlunsplit(parts._replace(path=parts.path + suffix, fragment=""))
