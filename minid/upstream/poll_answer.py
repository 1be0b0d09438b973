"""What one request for a page came to, and what to remember of it. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from minid.errors import FetchError, MinidError
from minid.formats.url import shown
from minid.host.web import Answer
from minid.store.polls import HostWait, PollState
from minid.upstream.hosts import BLOCKED, asked_reason, host_of
from minid.upstream.page_bytes import PageError, SourceKind, check_page
from minid.upstream.polling import BREAKER_S, UNCONDITIONAL_S, asked_wait, is_gone

Outcome = Literal["fresh", "not-modified", "suspect", "failed", "gone", "blocked", "waiting"]

_LONGEST_VALIDATOR = 1024


@dataclass(frozen=True, slots=True)
class PollResult:
    """What asking a page came to.

    `fresh`: a whole page, which may have the same bytes as before. `not-modified`: the server says
    that the stored page still holds. `suspect`: an answer that is no such page at all. `failed`: no
    answer, or an error. `gone`: 404 for a day. `blocked`: the host wants to see a person or answers
    403, and is left alone until `until`. `waiting`: the host asks to be left alone until then, or
    nothing was asked because of that. `body` is there for `fresh` alone (and for what `stored`
    gives), `changed_at`, when the stored page came, for `not-modified`, `reason`, one line, for all
    but these two.
    """

    url: str
    outcome: Outcome
    body: bytes = b""
    content_type: str = ""
    final_url: str = ""
    reason: str = ""
    until: float = 0.0
    changed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Polled:
    """A result, the page's new state, and the host that is to be left alone from now on."""

    result: PollResult
    state: PollState
    wait: HostWait | None = None


def validators(state: PollState, now: float) -> dict[str, str]:
    """The headers that ask only for what has changed: the server's own words. None where no whole
    page has come for a week, since a server may be wrong about what has changed."""
    if not 0 <= now - state.whole_at < UNCONDITIONAL_S:
        return {}
    pairs = {"If-None-Match": state.etag, "If-Modified-Since": state.last_modified}
    return {name: value for name, value in pairs.items() if value}


def read_answer(url: str, kind: SourceKind, state: PollState, answer: Answer, now: float) -> Polled:
    """What a server's answer means. 304 is taken as one to `validators`."""
    status = answer.status
    fault = _page_fault(kind, answer)
    if status == 403 or (fault and fault.fault == "challenge"):
        why = fault.message if fault and fault.fault == "challenge" else f"status {status}"
        return _blocked(url, state, why, now)
    if status == 429 or (status == 503 and "Retry-After" in answer.headers):
        return _asked_to_wait(url, state, answer, now)
    if status == 304:
        same = PollResult(url, "not-modified", changed_at=state.changed_at)
        return Polled(same, _answered(state, now))
    if status in (404, 410):
        return _absent(url, state, status, now)
    if status != 200:
        return read_failure(url, state, FetchError(f"expected status 200, got {status}"), now)
    if fault:
        return Polled(PollResult(url, "suspect", reason=fault.message), _answered(state, now))
    return _fresh(url, state, answer, now)


def read_failure(url: str, state: PollState, error: MinidError, now: float) -> Polled:
    """What it means that there was no answer."""
    where = shown(url)
    reason = error.message if where in error.message else f"{where}: {error.message}"
    return Polled(
        PollResult(url, "failed", reason=reason),
        replace(state, polled_at=now, failures=state.failures + 1, absent=0, absent_since=0.0),
    )


def _answered(state: PollState, now: float) -> PollState:
    return replace(state, polled_at=now, failures=0, absent=0, absent_since=0.0)


def _fresh(url: str, state: PollState, answer: Answer, now: float) -> Polled:
    content_type = answer.headers.get("Content-Type", "")[:200]
    result = PollResult(url, "fresh", answer.body, content_type, answer.final_url)
    digest = hashlib.sha256(answer.body).hexdigest()
    new = replace(
        _answered(state, now),
        etag=_verbatim(answer.headers.get("ETag", "")),
        last_modified=_verbatim(answer.headers.get("Last-Modified", "")),
        content_type=content_type,
        final_url=answer.final_url,
        digest=digest,
        whole_at=now,
        changed_at=state.changed_at if digest == state.digest else now,
    )
    return Polled(result, new)


def _verbatim(value: str) -> str:
    """A validator as the server wrote it, or nothing where it cannot be sent back so."""
    fine = len(value) <= _LONGEST_VALIDATOR and value.isascii() and value.isprintable()
    return value if fine else ""


def _absent(url: str, state: PollState, status: int, now: float) -> Polled:
    since = min(state.absent_since, now) if state.absent else now
    new = replace(
        state,
        polled_at=now,
        failures=state.failures + 1,
        absent=state.absent + 1,
        absent_since=since,
    )
    gone = is_gone(new.absent, since, now)
    reason = f"{shown(url)}: expected a page, got status {status}"
    if gone:
        reason += f" {new.absent} times in {(now - since) / 3600:.0f} h"
    return Polled(PollResult(url, "gone" if gone else "failed", reason=reason), new)


def _blocked(url: str, state: PollState, why: str, now: float) -> Polled:
    until = now + BREAKER_S
    # The page's host, not the one it led to: a page could lead to a forbidden place on any host.
    wait = HostWait(host_of(url), until, f"{BLOCKED}{why}")
    reason = f"{shown(url)}: {why}; {wait.host} is left alone for a day"
    new = replace(state, polled_at=now, failures=state.failures + 1)
    return Polled(PollResult(url, "blocked", reason=reason, until=until), new, wait)


def _asked_to_wait(url: str, state: PollState, answer: Answer, now: float) -> Polled:
    until = now + asked_wait(answer.headers.get("Retry-After", ""), now)
    host = host_of(answer.final_url)
    reason = asked_reason(host, until - now, answer.status)
    new = replace(state, polled_at=now)
    return Polled(
        PollResult(url, "waiting", reason=reason, until=until), new, HostWait(host, until, reason)
    )


def _page_fault(kind: SourceKind, answer: Answer) -> PageError | None:
    """Why the answer's body is no page of that kind."""
    if answer.status == 304:
        return None
    if answer.headers.get("cf-mitigated", "").lower() == "challenge":
        return PageError("page: expected a listing, got a challenge", "challenge")
    try:
        check_page(kind, answer.body, answer.headers.get("Content-Type", ""))
    except PageError as fault:
        return fault
    return None
