"""The watch on archives that are built from: does a site give out other bytes under an old name?

Asked once a day with a conditional HEAD. Nothing is ever rebuilt for what is found here.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import replace

from minid.errors import FetchError
from minid.formats.digest import Digest
from minid.formats.url import shown
from minid.upstream.archives import Archives, Release
from minid.upstream.reroll import compare_archives, decide_reroll
from minid.upstream.tracking import ArchiveWatch, Tracked
from minid.upstream.values import Event

DAY_S = 24 * 3600.0
_LONGEST_WORD = 1024


def due_watch(tracked: Tracked) -> float | None:
    """When the archive is to be asked for next; None where the recipe has no upstream, or its page
    was not read yet."""
    if tracked.rules.source == "none" or not tracked.looked:
        return None
    # Spread over the day by name, so that a hundred recipes of one host do not ask in one minute.
    share = zlib.crc32(tracked.recipe.name.encode()) / 2**32
    if tracked.watch.url != tracked.archive_url:
        return tracked.looked + DAY_S * share
    return tracked.watch.checked + DAY_S * (0.9 + 0.2 * share)


async def watch_archive(tracked: Tracked, archives: Archives, now: float) -> list[Event]:
    """Ask once; takes what was found into `tracked.watch` and returns what a person may want to
    know. FetchError where the site does not answer or the archive cannot be fetched."""
    url = tracked.archive_url
    before = tracked.watch if tracked.watch.url == url else ArchiveWatch(url)
    # Also when this fails: once a day is enough.
    tracked.watch = replace(before, checked=now)
    status, words = await archives.head(url, before)
    if status in (404, 410):
        text = f"the archive of {tracked.current} is gone: {shown(url)} answers {status}"
        return _tell_once(tracked, before, "gone", Event("archive-gone", text))
    if before.told == "gone" and status in (200, 304):
        before = replace(before, told="", note="")
        tracked.watch = replace(before, checked=now)
    if status != 200:
        return []
    after = _taken(before, words, now)
    if _is_same(before, after) or not _may_differ(tracked, archives, before, after):
        tracked.watch = after
        return []
    return await _compare(tracked, archives, url, after)


def _taken(before: ArchiveWatch, words: Mapping[str, str], now: float) -> ArchiveWatch:
    names = {"etag": "ETag", "last_modified": "Last-Modified", "length": "Content-Length"}
    taken = {field: words.get(name, "")[:_LONGEST_WORD] for field, name in names.items()}
    return replace(before, checked=now, **taken)


def _is_same(before: ArchiveWatch, after: ArchiveWatch) -> bool:
    known = (before.etag, before.last_modified, before.length)
    return any(known) and known == (after.etag, after.last_modified, after.length)


def _may_differ(
    tracked: Tracked, archives: Archives, before: ArchiveWatch, after: ArchiveWatch
) -> bool:
    """Whether the bytes are to be fetched: the site's words changed, or it names another size than
    the stored archive has."""
    if before.etag or before.last_modified or before.length:
        return True
    digest = tracked.recipe.source.sha256
    if not after.length or not archives.blobs.has(digest):
        return False
    return after.length != str(archives.blobs.size(digest))


async def _compare(
    tracked: Tracked, archives: Archives, url: str, after: ArchiveWatch
) -> list[Event]:
    """Fetch the archive and say what became of it."""
    recipe = tracked.recipe
    old = recipe.source.sha256
    async with archives.receive(url) as arrival:
        if arrival.digest == old:
            tracked.watch = replace(after, told="", held="", note="")
            return []
        if arrival.digest.hex == after.told:
            tracked.watch = after
            return []
        refused = await arrival.refused(tracked.current, {})
        release = Release(recipe, tracked.current, url, tracked.rules.verify)
        verdict = refused or await arrival.verdict(release)
        comparison = "rerolled"
        if archives.blobs.has(old):
            stored = archives.blobs.path(old)
            comparison = await asyncio.to_thread(compare_archives, stored, arrival.path)
        reroll = decide_reroll(
            comparison,  # type: ignore[arg-type]
            verdict,
            tracked.current,
            old,
            arrival.digest,
        )
    digest = arrival.digest.hex
    # A person may take it, unless what the recipe asks for disproves it.
    held = digest if reroll.action != "note" and verdict.status != "bad" else ""
    note = "" if reroll.action == "note" else reroll.event.text
    tracked.watch = replace(after, told=digest, held=held, note=note)
    return [reroll.event]


def _tell_once(tracked: Tracked, before: ArchiveWatch, word: str, event: Event) -> list[Event]:
    if before.told == word:
        return []
    tracked.watch = replace(tracked.watch, told=word, note=event.text)
    return [event]


async def fetch_held(tracked: Tracked, archives: Archives) -> Digest:
    """The changed archive that a person approved, in the store; FetchError where the site gives
    out yet other bytes."""
    url = tracked.archive_url
    async with archives.receive(url) as arrival:
        if arrival.digest.hex != tracked.watch.held:
            raise FetchError(
                f"{url}: expected sha256:{tracked.watch.held}, got {arrival.digest}",
                hint="it changed again; `minid check` looks anew",
            )
        await arrival.keep(archives.blobs)
        return arrival.digest
