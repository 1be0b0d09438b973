"""What starts, and the words for what waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minid.daemon.schedule import Facts, Schedule, make_schedule
from minid.store.records import RunRow

FACTS = Facts(now=1000.0, slots=2)


def row(number: int, recipe: str, **values: object) -> RunRow:
    facts = (number, recipe, "1.0", "queued", "changed", (), 900.0, None, "", 0, "", "")
    return replace(RunRow(*facts), **values)  # type: ignore[arg-type]


def schedule(*queued: RunRow, running: tuple[RunRow, ...] = (), **facts: object) -> Schedule:
    return make_schedule(queued, running, replace(FACTS, **facts))  # type: ignore[arg-type]


def test_the_oldest_start_while_there_are_slots():
    made = schedule(row(3, "c"), row(1, "a"), row(2, "b"))
    assert made.starts == (1, 2)
    assert made.waits == {3: "no slot (2 of 2 busy)"}


def test_running_ones_take_slots():
    made = schedule(row(3, "c"), row(4, "d"), running=(row(1, "a"),))
    assert made.starts == (3,)
    assert made.waits == {4: "no slot (2 of 2 busy)"}


def test_the_highest_priority_goes_first():
    assert schedule(row(1, "a"), row(2, "b"), row(3, "c", priority=1)).starts == (3, 1)


def test_what_others_stand_on_goes_first_and_they_wait():
    on = {"web": ("base",), "app": ("lib", "base")}
    made = schedule(
        row(1, "solo"), row(2, "web"), row(3, "app"), row(4, "base"), row(5, "lib"), stands_on=on
    )
    assert made.starts == (4, 5)
    assert made.waits == {
        1: "no slot (2 of 2 busy)",
        2: "waits for base (run 4)",
        3: "waits for lib (run 5)",
    }


def test_what_is_below_inherits_the_priority():
    on = {"web": ("base",), "base": ("ground",)}
    rows = (row(1, "a"), row(2, "b"), row(3, "web", priority=5), row(4, "ground"))
    made = schedule(*rows, stands_on=on)
    assert made.starts == (4, 1)
    assert made.waits[3] == "waits for ground (run 4)", "also where what lies between does not run"


def test_a_running_base_is_waited_for():
    made = schedule(row(2, "web"), running=(row(1, "base"),), stands_on={"web": ("base",)})
    assert made == Schedule((), {2: "waits for base (run 1)"}, None)


def test_two_runs_of_a_recipe_follow_each_other():
    made = schedule(row(2, "web"), running=(row(1, "web"),))
    assert made.waits == {2: "run 1 of it is running"}


@pytest.mark.parametrize("mode", ["paused", "draining"])
def test_nothing_starts_while(mode: str):
    assert schedule(row(1, "a"), mode=mode).waits == {1: mode}


def test_back_off_says_when_and_when_to_look_again():
    made = schedule(row(1, "a", not_before=1060.0), row(2, "b", not_before=1030.0), row(3, "c"))
    assert made.starts == (3,)
    assert made.waits[1].startswith("back-off until ")
    assert made.wake_at == 1030.0
    assert schedule(row(1, "a", not_before=1000.0)).starts == (1,)


def test_too_little_free_space():
    made = schedule(row(1, "a"), free_bytes=400_000_000, min_free_bytes=1_000_000_000)
    assert made.waits == {1: "free space: 0.4 GB of 1.0 GB"}


def test_a_circle_is_no_endless_loop():
    made = schedule(row(1, "a"), row(2, "b"), stands_on={"a": ("b",), "b": ("a",)})
    assert made.waits.keys() == {1, 2}


def test_fewer_slots_than_run():
    made = schedule(row(3, "c"), running=(row(1, "a"), row(2, "b")), slots=1)
    assert made.waits == {3: "no slot (1 of 1 busy)"}


def test_a_clock_that_was_set_back_is_no_back_off():
    """A row that was written when the clock was years ahead must not wait for those years."""
    made = schedule(row(1, "web", not_before=FACTS.now + 4 * 365 * 86_400))
    assert (made.starts, made.wake_at) == ((1,), None)
