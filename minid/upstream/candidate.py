"""The life of a candidate: seen, settling, verified; accepted, waiting, held or refused.

Pure: the tracker fetches, hashes and verifies, and tells the functions here what it found. Each
takes the version it is about, since the memory may hold another candidate by the time that a
download ends; nothing happens then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from minid.upstream.memory import Candidate, Step, TrackMemory, add, without
from minid.upstream.rules import Rules
from minid.upstream.values import Event, Verdict

PATIENCE_S = 72 * 3600.0
_BACKOFF_S = 300.0
_BACKOFF_MOST_S = 12 * 3600.0
_RETRY_LEAST_S = 60.0
_TELL_FAILURES_AT = 3


def look_due(memory: TrackMemory, rules: Rules) -> float | None:
    """When the candidate's archive is to be fetched next, None where it is not: without a
    candidate, with one that is decided or held, and while the page is not believed."""
    candidate = memory.candidate
    if candidate is None or memory.suspects or candidate.state in ("held", "accepted"):
        return None
    if candidate.state == "settling":
        return max(candidate.looked + rules.settle_s, candidate.next_look)
    return candidate.next_look


def page_needed(memory: TrackMemory, rules: Rules) -> bool:
    """Whether the page is to be judged once more before the look that is due: a release that was
    taken back while it settled is not built."""
    candidate = memory.candidate
    if candidate is None or candidate.state != "settling":
        return False
    return candidate.listed < candidate.looked + rules.settle_s


def note_look(
    memory: TrackMemory,
    rules: Rules,
    version: str,
    digest: str,
    known: Mapping[str, str],
    now: float,
) -> Step:
    """The archive was fetched and has this SHA-256 (hex). `known` gives the version that a digest
    is of, for all archives of the recipe that the caller knows.

    The step's action is `verify` once the bytes have stood for `settle_s`.
    """
    candidate = _candidate(memory, version)
    if candidate is None or candidate.state in ("held", "accepted"):
        return Step(memory)
    other = known.get(digest) or dict(memory.digests).get(digest) or version
    if other != version:
        return refuse(memory, version, f"the archive is the one of {other}")
    # A failure to come, such as of a full disk, is another one until there is a verdict.
    failures = candidate.failures
    candidate = replace(candidate, failures=0, next_look=0.0, reason="")
    if digest == candidate.digest:
        stood = now >= candidate.looked + rules.settle_s
        kept = replace(candidate, failures=failures if stood else 0)
        return Step(replace(memory, candidate=kept), action="verify" if stood else "none")
    events = (_restarted(candidate, digest),) if candidate.digest else ()
    settling = replace(
        candidate, state="settling", digest=digest, looked=now, waiting_since=0.0, reason=""
    )
    settled = replace(memory, candidate=settling)
    return Step(settled, events, action="none" if rules.settle_s > 0 else "verify")


def note_failure(memory: TrackMemory, version: str, reason: str, now: float) -> Step:
    """The archive could not be fetched. It is tried again, later each time."""
    candidate = _candidate(memory, version)
    if candidate is None:
        return Step(memory)
    failures = candidate.failures + 1
    wait = min(_BACKOFF_S * 2 ** min(failures - 1, 20), _BACKOFF_MOST_S)
    failed = replace(candidate, failures=failures, next_look=now + wait, reason=reason)
    events: tuple[Event, ...] = ()
    if failures == _TELL_FAILURES_AT:
        events = (_event("unavailable", candidate, f"{version} cannot be fetched: {reason}"),)
    return Step(replace(memory, candidate=failed), events)


def note_wait(memory: TrackMemory, version: str, reason: str, until: float) -> Step:
    """Nothing could be asked, since a host is left alone until then. No failure."""
    candidate = _candidate(memory, version)
    if candidate is None:
        return Step(memory)
    return Step(replace(memory, candidate=replace(candidate, next_look=until, reason=reason)))


def note_verdict(
    memory: TrackMemory, rules: Rules, version: str, digest: str, verdict: Verdict, now: float
) -> Step:
    """The archive with this digest was verified. The action is `accept` where it is good."""
    candidate = _candidate(memory, version)
    if candidate is None or candidate.digest != digest or candidate.state == "accepted":
        return Step(memory)
    if verdict.status == "good":
        return _accept(memory, candidate, verdict.reason)
    if verdict.status == "bad":
        return refuse(memory, version, verdict.reason)
    if verdict.status == "hold":
        return _hold(memory, candidate, verdict.reason)
    since = candidate.waiting_since or now
    if now - since >= PATIENCE_S:
        hours = int(PATIENCE_S // 3600)
        return _hold(memory, candidate, f"{verdict.reason}, and not for {hours} h")
    waiting = replace(
        candidate,
        state="waiting",
        waiting_since=since,
        failures=0,
        reason=verdict.reason,
        next_look=now + max(rules.every_s, _RETRY_LEAST_S),
    )
    text = f"{version} waits: {verdict.reason}"
    events = () if candidate.waiting_since else (_event("waiting", candidate, text),)
    return Step(replace(memory, candidate=waiting), events)


def refuse(memory: TrackMemory, version: str, reason: str) -> Step:
    """What was fetched is no release of this version, such as a page in place of an archive, or
    verifying disproved it. It is not looked at again unless a person approves."""
    candidate = _candidate(memory, version)
    if candidate is None:
        return Step(memory)
    refused = replace(
        memory, candidate=None, refused=add(without(memory.refused, version), (version, reason))
    )
    text = f"{version} is refused: {reason}"
    return Step(refused, (_event("refused", candidate, text),), "judge")


def approve(memory: TrackMemory, version: str) -> Step:
    """A person wants this version in spite of its shape, its jump or the high-water mark, or after
    it was refused. What was held after its archive was looked at is accepted as it is; where there
    was no archive it is looked for again; otherwise the page is to be judged again."""
    approved = replace(
        memory,
        approved=add(memory.approved, version),
        rejected=tuple(item for item in memory.rejected if item != version),
        refused=without(memory.refused, version),
        held=without(memory.held, version),
    )
    event = Event("approved", f"{version} is approved", (("version", version),))
    candidate = _candidate(approved, version)
    if candidate is None or candidate.state != "held":
        return Step(approved, (event,), "judge")
    if not candidate.digest:
        anew = replace(candidate, state="seen", waiting_since=0.0, next_look=0.0, reason="")
        return Step(replace(approved, candidate=anew), (event,), "judge")
    step = _accept(approved, candidate, f"approved, though {candidate.reason}")
    return replace(step, events=(event, *step.events))


def reject(memory: TrackMemory, version: str) -> Step:
    """A person does not want this version. What is built already stays."""
    candidate = None if _candidate(memory, version) else memory.candidate
    rejected = replace(
        memory,
        rejected=add(memory.rejected, version),
        approved=tuple(item for item in memory.approved if item != version),
        held=without(memory.held, version),
        high="" if memory.high == version else memory.high,
        candidate=candidate,
    )
    event = Event("rejected", f"{version} is rejected", (("version", version),))
    return Step(rejected, (event,), "judge")


def follow_again(memory: TrackMemory) -> Step:
    """A person gave the word back to the recipe's file: what its page lists is new again."""
    return Step(replace(memory, high="", candidate=None))


def _candidate(memory: TrackMemory, version: str) -> Candidate | None:
    candidate = memory.candidate
    return candidate if candidate is not None and candidate.version == version else None


def _accept(memory: TrackMemory, candidate: Candidate, reason: str) -> Step:
    accepted = replace(candidate, state="accepted", reason=reason, failures=0)
    digests = add(without(memory.digests, candidate.digest), (candidate.digest, candidate.version))
    kept = replace(memory, candidate=accepted, high=candidate.version, digests=digests)
    text = f"{candidate.version} is accepted: {reason}"
    return Step(kept, (_event("accepted", candidate, text),), "accept")


def _hold(memory: TrackMemory, candidate: Candidate, reason: str) -> Step:
    held = replace(candidate, state="held", reason=reason)
    text = f"{candidate.version} needs approval: {reason}"
    return Step(replace(memory, candidate=held), (_event("held", candidate, text),))


def _restarted(candidate: Candidate, digest: str) -> Event:
    text = f"{candidate.version} settles anew: its archive was replaced"
    detail = (("version", candidate.version), ("old", candidate.digest), ("new", digest))
    return Event("restarted", text, detail)


def _event(kind: str, candidate: Candidate, text: str) -> Event:
    detail = [("version", candidate.version), ("url", candidate.url)]
    try:
        detail.append(("host", urlsplit(candidate.url).hostname or ""))
    except ValueError:
        detail.append(("host", ""))
    if candidate.digest:
        detail.append(("sha256", candidate.digest))
    return Event(kind, text, tuple(detail))
