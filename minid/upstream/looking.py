"""A look at a candidate's archive: fetch it, compare it with the look before, verify it."""

from __future__ import annotations

from collections.abc import Callable

from minid.errors import FetchError
from minid.formats.digest import Digest
from minid.host.http import AbsentError
from minid.upstream import candidate as life
from minid.upstream.archives import Archives, Arrival, Release
from minid.upstream.hosts import WaitError
from minid.upstream.memory import Candidate, Step
from minid.upstream.tracking import Tracked
from minid.upstream.values import Verdict

Apply = Callable[[Step], None]


async def look(
    tracked: Tracked, archives: Archives, clock: Callable[[], float], apply: Apply
) -> None:
    """Look at the archive of the candidate now; it is in the store before it is accepted.

    What was found goes to `apply` step by step, which puts it into `tracked.memory`: a page may be
    judged while an archive is fetched, and steps about a candidate of the past do nothing. Failures
    of the site are steps too and raise nothing.
    """
    candidate = tracked.memory.candidate
    if candidate is None:
        return
    version = candidate.version
    try:
        async with archives.receive(candidate.url) as arrival:
            await _judge(tracked, candidate, arrival, archives, clock, apply)
    except AbsentError as error:
        verdict = Verdict("missing", f"its archive is not there yet: {error.message}")
        memory, now = tracked.memory, clock()
        apply(life.note_verdict(memory, tracked.rules, version, candidate.digest, verdict, now))
    except WaitError as error:
        apply(life.note_wait(tracked.memory, version, error.message, error.until))
    except FetchError as error:
        apply(life.note_failure(tracked.memory, version, error.message, clock()))


async def _judge(
    tracked: Tracked,
    candidate: Candidate,
    arrival: Arrival,
    archives: Archives,
    clock: Callable[[], float],
    apply: Apply,
) -> None:
    version, digest, known = candidate.version, arrival.digest.hex, tracked.known_digests()
    refused = await arrival.refused(version, known)
    if refused is not None:
        apply(life.refuse(tracked.memory, version, refused.reason))
        return
    words = {known_digest.hex: other for known_digest, other in known.items()}
    step = life.note_look(tracked.memory, tracked.rules, version, digest, words, clock())
    apply(step)
    if step.action != "verify":
        return
    rules = tracked.rules
    release = Release(tracked.recipe, version, candidate.url, rules.verify, candidate.sha256)
    verdict = await arrival.verdict(release)
    if verdict.status == "good":
        await arrival.keep(archives.blobs)
    apply(life.note_verdict(tracked.memory, rules, version, digest, verdict, clock()))


async def fetch_approved(tracked: Tracked, archives: Archives, url: str, digest: str) -> Digest:
    """The archive that was held and is approved now, in the store; FetchError where the site gives
    out other bytes than were held."""
    async with archives.receive(url) as arrival:
        if arrival.digest.hex != digest:
            raise FetchError(
                f"{url}: expected sha256:{digest}, which was held, got {arrival.digest}",
                hint=f"`minid check {tracked.recipe.name}` looks anew",
            )
        await arrival.keep(archives.blobs)
        return arrival.digest
