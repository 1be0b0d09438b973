"""What is remembered survives JSON; what is not as expected is forgotten."""

from __future__ import annotations

import json

import pytest

from minid.upstream.memory import Candidate, TrackMemory, add, dump_memory, load_memory

FULL = TrackMemory(
    basis="b",
    proof="p",
    bounds="bounds",
    high="1.2",
    seen=("1.2", "1.1"),
    matches=2,
    suspects=1,
    suspect_since=7.5,
    suspect_reason="cut",
    shrunk_since=3.0,
    stale=True,
    superseded=True,
    held=(("21.03", "date"),),
    refused=(("1.3", "bad"),),
    approved=("2",),
    rejected=("3",),
    digests=(("d", "1.2"),),
    told=("x",),
    candidate=Candidate("1.4", "https://example.org/x", "s", "waiting", 1, 2, "d", 3, 4, 5, 6, "r"),
)


def test_memory_survives_json() -> None:
    assert load_memory(json.loads(json.dumps(dump_memory(FULL)))) == FULL
    assert load_memory(json.loads(json.dumps(dump_memory(TrackMemory())))) == TrackMemory()
    assert dump_memory(TrackMemory()) == {}


def test_no_field_of_memory_is_forgotten() -> None:
    assert dump_memory(FULL).keys() == set(TrackMemory.__dataclass_fields__)


@pytest.mark.parametrize(
    "stored",
    [
        {"high": 5, "seen": "1.0", "matches": "2", "stale": 1, "held": [["a"]], "told": [1]},
        {"held": {"a": "b"}, "suspects": True, "suspects ": 1, "new": None},
        {"candidate": 5},
        {"candidate": {"version": "1", "url": "u", "state": "flying"}},
        {"candidate": {"version": "1"}},
    ],
)
def test_odd_memory_is_no_memory(stored: dict[str, object]) -> None:
    assert load_memory(stored) == TrackMemory()


def test_lists_keep_their_newest() -> None:
    assert add(("a", "b"), "a") == ("b", "a")
    many = tuple(str(number) for number in range(500))
    assert add(many, "new")[-2:] == ("499", "new")
    assert len(add(many, "new")) == 200
