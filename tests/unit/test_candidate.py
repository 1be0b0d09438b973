"""The life of a candidate, in hours that pass at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from minid.upstream.candidate import (
    approve,
    look_due,
    note_failure,
    note_look,
    note_verdict,
    page_needed,
    refuse,
    reject,
)
from minid.upstream.values import Verdict
from tests.support.upstream import HOUR, START, Upstream, make_rules, reasons, version_of

GOOD = Verdict("good", "signed by K", ("K",))
MISSING = Verdict("missing", "no signature yet")
HOLD = Verdict("hold", "K: the key has expired")
BAD = Verdict("bad", "the signature by K is bad")


class Release(Upstream):
    """An upstream whose page lists 1.0 and 1.1, and a tracker that looks at 1.1."""

    def __init__(self, **values: Any) -> None:
        super().__init__("1.0", make_rules(**values))
        self.page("1.0 1.1")

    def look(self, digest: str = "d1", **known: str) -> str:
        step = note_look(self.memory, self.rules, "1.1", digest, known, self.now)
        return self.take(step)

    def verdict(self, verdict: Verdict, digest: str = "d1") -> str:
        step = note_verdict(self.memory, self.rules, "1.1", digest, verdict, self.now)
        return self.take(step)

    @property
    def due_in(self) -> float | None:
        """Hours until the next look."""
        due = look_due(self.memory, self.rules)
        return None if due is None else max(due - self.now, 0) / HOUR


def test_a_release_settles_and_is_accepted() -> None:
    release = Release()
    assert release.due_in == 0
    assert not page_needed(release.memory, release.rules)
    assert release.look() == "none"
    assert (release.candidate.state, release.due_in) == ("settling", 6)
    release.wait(3)
    assert release.look() == "none"  # a look before the time changes nothing
    assert release.due_in == 3
    release.wait(3)
    assert page_needed(release.memory, release.rules)
    release.page("1.0 1.1")
    assert not page_needed(release.memory, release.rules)
    assert release.look() == "verify"
    assert release.verdict(GOOD) == "accept"
    assert release.candidate.state == "accepted"
    assert release.due_in is None
    assert release.memory.high == "1.1"
    assert release.memory.digests == (("d1", "1.1"),)
    assert release.kinds == ["release", "accepted"]
    assert release.texts[-1] == "1.1 is accepted: signed by K"


def test_without_settling_one_look_is_enough() -> None:
    release = Release(settle_s=0.0)
    assert release.look() == "verify"
    assert release.verdict(GOOD) == "accept"


def test_situation_26_nothing_is_due_for_a_release_that_is_gone() -> None:
    release = Release()
    release.look()
    release.wait(0.25)
    release.page("1.0")
    assert release.due_in is None
    assert release.look() == release.verdict(GOOD) == "none"
    assert release.memory.candidate is None
    assert release.kinds == ["release", "withdrawn"]


def test_situation_26_a_release_that_comes_back_settles_anew() -> None:
    release = Release()
    release.look()
    release.page("1.0")
    release.wait(5)
    release.page("1.0 1.1")
    release.look()
    assert release.due_in == 6


def test_situation_27_an_archive_that_is_replaced_settles_anew() -> None:
    release = Release()
    release.look("d1")
    release.wait(3)
    assert release.look("d2") == "none"
    assert release.due_in == 6
    assert release.kinds == ["release", "restarted"]
    release.wait(3)
    assert release.look("d2") == "none"
    release.wait(3)
    assert release.look("d2") == "verify"
    assert release.verdict(GOOD, "d1") == "none"  # a verdict on bytes of the past
    assert release.verdict(GOOD, "d2") == "accept"
    assert release.verdict(GOOD, "d2") == release.look("d2") == "none"
    assert release.kinds.count("accepted") == 1


def test_situation_28_what_was_accepted_is_not_looked_at_again() -> None:
    release = Release(settle_s=0.0)
    release.look()
    release.verdict(GOOD)
    assert release.look("d9") == "none"
    assert release.candidate.digest == "d1"


def test_situation_29_a_late_signature_is_waited_for() -> None:
    release = Release(settle_s=0.0)
    release.look()
    assert release.verdict(MISSING) == "none"
    assert (release.candidate.state, release.due_in) == ("waiting", 6)
    for _ in range(11):
        release.wait(6)
        assert release.look() == "verify"
        release.verdict(MISSING)
        assert release.candidate.state == "waiting"
    assert release.verdict(GOOD) == "accept"
    assert release.kinds == ["release", "waiting", "accepted"]


def test_situation_29_a_signature_that_never_comes_is_for_a_person() -> None:
    release = Release(settle_s=0.0)
    release.look()
    release.verdict(MISSING)
    release.wait(72)
    release.look()
    assert release.verdict(MISSING) == "none"
    assert (release.candidate.state, release.due_in) == ("held", None)
    assert release.texts[-1] == "1.1 needs approval: no signature yet, and not for 72 h"
    assert release.kinds == ["release", "waiting", "held"]


def test_situation_29_other_bytes_while_waiting_start_again() -> None:
    release = Release()
    release.look()
    release.wait(6)
    release.look()
    release.verdict(MISSING)
    release.wait(6)
    assert release.look("d2") == "none"
    assert (release.candidate.state, release.candidate.waiting_since) == ("settling", 0.0)


def test_situation_29_what_cannot_be_decided_is_held_until_approved() -> None:
    release = Release(settle_s=0.0)
    release.look()
    assert release.verdict(HOLD) == "none"
    assert release.candidate.state == "held"
    looked = release.page("1.0 1.1")
    assert looked.note == "1.1: held (K: the key has expired)"
    assert release.look() == "none"
    assert release.take(approve(release.memory, "1.1")) == "accept"
    assert (release.candidate.state, release.candidate.digest) == ("accepted", "d1")
    assert release.memory.high == "1.1"
    assert release.kinds == ["release", "held", "approved", "accepted"]


def test_an_archive_that_never_came_is_looked_for_again_when_approved() -> None:
    release = Release()
    release.verdict(MISSING, "")
    release.wait(72)
    release.verdict(MISSING, "")
    assert release.candidate.state == "held"
    assert release.take(approve(release.memory, "1.1")) == "judge"
    assert (release.candidate.state, release.due_in) == ("seen", 0)
    assert release.memory.digests == ()


def test_approval_of_a_number_is_none_of_a_key() -> None:
    release = Release(settle_s=0.0)
    release.take(approve(release.memory, "1.1"))
    release.look()
    assert release.verdict(HOLD) == "none"
    assert release.candidate.state == "held"


def test_situation_29_a_bad_signature_is_refused() -> None:
    release = Release(settle_s=0.0)
    release.look()
    assert release.verdict(BAD) == "judge"  # there may be an older one that is new
    assert release.memory.candidate is None
    assert release.kinds == ["release", "refused"]
    looked = release.page("1.0 1.1 1.0.5")
    assert version_of(looked) == "1.0.5"
    assert reasons(looked) == {"1.1": "refused: the signature by K is bad"}
    release.take(approve(release.memory, "1.1"))
    assert version_of(release.page("1.0 1.1 1.0.5")) == "1.1"
    release.look()
    assert release.verdict(BAD) == "judge"  # approval asks for another look, not for less
    assert release.memory.candidate is None


def test_other_keys_in_the_recipe_ask_again() -> None:
    refused, held = Release(settle_s=0.0), Release(settle_s=0.0)
    for release, verdict in ((refused, BAD), (held, HOLD)):
        release.look()
        release.verdict(verdict)
        release.rules = replace(release.rules, proof="other keys")
        assert version_of(release.page("1.0 1.1")) == "1.1"
        assert (release.candidate.state, release.due_in) == ("seen", 0)


def test_situation_30_the_bytes_of_another_version_are_refused() -> None:
    release = Release()
    assert release.look("d0", d0="1.0") == "judge"
    assert release.memory.candidate is None
    assert release.memory.refused == (("1.1", "the archive is the one of 1.0"),)
    assert release.page("1.0 1.1").candidate is None


def test_situation_30_the_bytes_of_an_accepted_version_are_refused() -> None:
    release = Release(settle_s=0.0)
    release.look()
    release.verdict(GOOD)
    release.page("1.0 1.1 1.2")
    step = note_look(release.memory, release.rules, "1.2", "d1", {}, release.now)
    assert release.take(step) == "judge"
    assert release.texts[-1] == "1.2 is refused: the archive is the one of 1.1"


def test_situation_30_what_is_no_archive_is_refused() -> None:
    release = Release()
    release.take(refuse(release.memory, "1.1", "expected a gzip archive, got HTML"))
    assert release.memory.candidate is None
    assert release.kinds == ["release", "refused"]


def test_a_refusal_names_the_host() -> None:
    release = Release()
    (event,) = refuse(release.memory, "1.1", "no archive").events
    assert dict(event.detail)["host"] == "example.org"
    odd = replace(release.candidate, url="http://[::1/x")
    (event,) = refuse(replace(release.memory, candidate=odd), "1.1", "no archive").events
    assert dict(event.detail)["host"] == ""


def test_failures_put_the_next_try_off() -> None:
    release = Release()
    waits = []
    for _ in range(12):
        release.take(note_failure(release.memory, "1.1", "404", release.now))
        waits.append(release.due_in)
        release.wait(release.due_in or 0)
    assert waits[:3] == [5 / 60, 10 / 60, 20 / 60]
    assert waits[-1] == 12
    assert release.kinds == ["release", "unavailable"]
    release.look()
    assert (release.candidate.failures, release.due_in) == (0, 6)


def test_nothing_is_due_while_the_page_is_not_believed() -> None:
    release = Release()
    release.look()
    release.wait(7)
    release.page("")
    assert release.due_in is None
    release.page("1.0 1.1")
    assert release.due_in == 0


def test_rejection_ends_a_candidate_and_can_be_taken_back() -> None:
    release = Release()
    release.take(reject(release.memory, "1.1"))
    assert release.memory.candidate is None
    looked = release.page("1.0 1.1")
    assert reasons(looked) == {"1.1": "rejected by a person"}
    assert release.kinds == ["release", "rejected"]
    release.take(approve(release.memory, "1.1"))
    assert version_of(release.page("1.0 1.1")) == "1.1"
    release.take(approve(release.memory, "2.0"))
    release.take(reject(release.memory, "1.1"))
    assert (release.memory.approved, release.memory.rejected) == (("2.0",), ("1.1",))


def test_news_of_another_version_change_nothing() -> None:
    release = Release()
    before = release.memory
    for step in (
        note_look(before, release.rules, "9.9", "d", {}, START),
        note_failure(before, "9.9", "404", START),
        note_verdict(before, release.rules, "9.9", "d", GOOD, START),
        refuse(before, "9.9", "no archive"),
    ):
        assert (step.memory, step.events, step.action) == (before, (), "none")
