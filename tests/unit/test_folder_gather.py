"""Which recipe a path matters to, and when what happened is told. Time is a number here."""

from __future__ import annotations

import math

import pytest

from minid.daemon.folder_gather import (
    GATHER_S,
    LONGEST_PAUSE_S,
    MAX_NAMES,
    NOTHING,
    SHORTEST_PAUSE_S,
    Gathering,
    recipe_of,
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("nginx.toml", "nginx"),
        ("nginx-1.26.toml", "nginx-1.26"),
        ("nginx/a.patch", "nginx"),
        ("nginx/conf/a.patch", "nginx"),
        ("nginx", "nginx"),
        ("x.toml/inside", "x.toml"),
        (".nginx.toml.swp", ""),
        (".nginx.toml.swx", ""),
        (".#nginx.toml", ""),
        ("#nginx.toml#", ""),
        ("#nginx.toml", ""),
        (".nginx.toml.kA3xZ1", ""),
        (".git/index.lock", ""),
        ("nginx/.a.patch.swp", ""),
        ("nginx/4913", ""),
        ("nginx/a.patch~", ""),
        ("nginx/#a.patch#", ""),
        ("nginx/.git/HEAD", ""),
    ],
)
def test_what_a_path_matters_to(path: str, name: str) -> None:
    assert recipe_of(path) == name


@pytest.mark.parametrize("path", ["nginx.toml~", "4913", "sedAb12Cd", "nginx.toml.bak"])
def test_files_beside_recipes_are_never_a_recipe_that_is_there(path: str) -> None:
    assert recipe_of(path) == path  # told under a name that no file of a recipe has


def told(gathering: Gathering, now: float) -> object:
    """What is told at that time, sorted."""
    news = gathering.take(now)
    return sorted(news) if isinstance(news, frozenset) else news


def test_the_first_news_is_told_at_once() -> None:
    gathering = Gathering(3)
    assert gathering.due() == math.inf
    assert gathering.take(100) == NOTHING
    gathering.touch("a.toml", settled=True, now=100)
    assert gathering.due() == 100 + GATHER_S
    assert gathering.take(100) == NOTHING
    assert told(gathering, 100 + GATHER_S) == ["a"]
    assert gathering.due() == math.inf


def test_what_comes_soon_after_is_told_together() -> None:
    gathering = Gathering(3)
    gathering.touch("a.toml", settled=True, now=100)
    gathering.take(100.02)
    gathering.touch("b.toml", settled=True, now=100.03)
    gathering.touch("b.toml", settled=True, now=100.04)
    gathering.touch("c/x.patch", settled=True, now=100.05)
    assert gathering.take(100.06) == NOTHING
    assert gathering.due() == pytest.approx(100.02 + SHORTEST_PAUSE_S)
    assert told(gathering, gathering.due()) == ["b", "c"]


def test_a_storm_is_told_in_growing_batches_and_nothing_is_lost() -> None:
    gathering = Gathering(3)
    batches: list[frozenset[str]] = []
    seen: set[str] = set()
    for number in range(500):
        now = 100 + number / 250
        while gathering.due() <= now:
            news = gathering.take(gathering.due())
            assert isinstance(news, frozenset)
            batches.append(news)
        gathering.touch(f"r{number % 50}.toml", settled=True, now=now)
        gathering.touch(f".r{number}.toml.swp", settled=True, now=now)
    news = gathering.take(gathering.due())
    assert isinstance(news, frozenset)
    batches.append(news)
    for batch in batches:
        seen |= batch
    assert seen == {f"r{number}" for number in range(50)}
    assert batches[-1]
    assert len(batches) <= 7
    assert all(len(news) <= 50 for news in batches)


def test_after_quiet_the_next_news_is_quick_again() -> None:
    gathering = Gathering(3)
    for number in range(100):
        gathering.touch("a.toml", settled=True, now=100 + number / 10)
        gathering.take(gathering.due())
    gathering.touch("a.toml", settled=True, now=200)
    assert gathering.due() == 200 + GATHER_S
    gathering.take(gathering.due())
    gathering.touch("a.toml", settled=True, now=201)
    assert gathering.due() == 201 + GATHER_S
    assert LONGEST_PAUSE_S < 1


def test_a_file_that_is_written_waits_for_being_closed() -> None:
    gathering = Gathering(3)
    gathering.touch("a.toml", settled=False, now=100)
    assert gathering.is_unsettled("a.toml")
    assert gathering.take(102) == NOTHING
    gathering.touch("a.toml", settled=True, now=102)
    assert told(gathering, 102.1) == ["a"]
    assert not gathering.is_unsettled("a.toml")
    assert gathering.due() == math.inf


def test_a_file_that_is_held_open_is_told_when_left_alone() -> None:
    gathering = Gathering(3)
    gathering.touch("a.toml", settled=False, now=100)
    gathering.touch("a.toml", settled=False, now=102)
    assert gathering.due() == 105
    assert gathering.take(104.9) == NOTHING
    gathering.take(105)
    assert told(gathering, 105 + GATHER_S) == ["a"]


def test_everything_swallows_names() -> None:
    gathering = Gathering(3)
    gathering.touch("a.toml", settled=True, now=100)
    gathering.touch_everything(100)
    assert told(gathering, 101) is None
    gathering.touch("a.toml", settled=True, now=110)
    assert told(gathering, 111) == ["a"]


@pytest.mark.parametrize("settled", [True, False])
def test_too_many_names_are_everything(settled: bool) -> None:
    gathering = Gathering(3)
    for number in range(MAX_NAMES + 1):
        gathering.touch(f"r{number}.toml", settled=settled, now=100)
    assert told(gathering, 101) is None
    assert gathering.due() == math.inf
