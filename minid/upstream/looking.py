"""A look at a candidate's archive: fetch it, compare it with the look before, verify it."""

from __future__ import annotations

from collections.abc import Callable

from minid.errors import FetchError
from minid.formats.digest import Digest
from minid.host.http import AbsentError
from minid.upstream import candidate as life
from minid.upstream.archives import Archives, Arrival, Release
from minid.upstream.memory import Step
from minid.upstream.tracking import Tracked
from minid.upstream.values import Verdict

Apply = Callable[[Step], None]


async def look(
    tracked: Tracked, archives: Archives, clock: Callable[[], float], apply: Apply
) -> bool:
    """Look at the archive of the candidate now; whether it is accepted, and in the store.

    What was found goes to `apply` step by step, which puts it into `tracked.memory`: a page may be
    judged while an archive is fetched. Failures of the site are steps too and raise nothing.
    """
    candidate = tracked.memory.candidate
    if candidate is None:
        return False
    version = candidate.version
    try:
        async with archives.receive(candidate.url) as arrival:
            return await _judge(tracked, arrival, archives, clock, apply)
    except AbsentError as error:
        verdict = Verdict("missing", error.message)
        step = life.note_verdict(
            tracked.memory, tracked.rules, version, candidate.digest, verdict, clock()
        )
    except FetchError as error:
        step = life.note_failure(tracked.memory, version, error.message, clock())
    apply(step)
    return False


async def _judge(
    tracked: Tracked,
    arrival: Arrival,
    archives: Archives,
    clock: Callable[[], float],
    apply: Apply,
) -> bool:
    candidate = tracked.memory.candidate
    if candidate is None:
        return False
    version, digest, known = candidate.version, arrival.digest.hex, tracked.known_digests()
    refused = await arrival.refused(version, known)
    if refused is not None:
        apply(life.refuse(tracked.memory, version, refused.reason))
        return False
    words = {known_digest.hex: other for known_digest, other in known.items()}
    step = life.note_look(tracked.memory, tracked.rules, version, digest, words, clock())
    apply(step)
    if step.action != "verify":
        return False
    release = Release(
        tracked.recipe, version, candidate.url, tracked.rules.verify, candidate.sha256
    )
    verdict = await arrival.verdict(release)
    if verdict.status == "good":
        await arrival.keep(archives.blobs)
    step = life.note_verdict(tracked.memory, tracked.rules, version, digest, verdict, clock())
    apply(step)
    return step.action == "accept"


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
