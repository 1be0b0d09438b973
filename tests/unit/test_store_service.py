"""The service's tables: the queue, events, the tracker's memory and locks; and old databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.recipe_lock import Lock
from minid.store.events import Events
from minid.store.queue import Queue
from minid.store.records import Records, StageRow
from minid.store.releases import Releases, TrackRow

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    made = Records(tmp_path / "records.sqlite", writable=True)
    yield made
    made.close()


@pytest.fixture
def queue(records: Records) -> Queue:
    return Queue(records.database)


def test_ten_saves_are_one_run(queue: Queue) -> None:
    ids = {
        queue.enqueue("web", f"1.{n}", "changed", ("a",), 1.0, key=f"k{n}", not_before=9.0 - n)
        for n in range(10)
    }
    (run,) = queue.queued()
    assert ids == {run.id}
    assert (run.version, run.key, run.not_before, run.status) == ("1.9", "k9", 0.0, "queued")


def test_forced_and_next_survive_a_later_save(queue: Queue) -> None:
    queue.enqueue("web", "1", "asked", (), 1.0, priority=10, forced=True)
    queue.enqueue("web", "1", "changed", ("b",), 2.0)
    (run,) = queue.queued()
    assert (run.priority, run.forced, run.reason, run.changes) == (10, True, "changed", ("b",))


def test_the_highest_priority_is_first_then_the_oldest(queue: Queue) -> None:
    for name in ("a", "b", "c"):
        queue.enqueue(name, "1", "asked", (), 1.0)
    ids = {run.recipe: run.id for run in queue.queued()}
    assert queue.advance(ids["c"], 5)
    assert [run.recipe for run in queue.queued()] == ["c", "a", "b"]


def test_a_run_goes_from_queued_to_running_once(queue: Queue, records: Records) -> None:
    run = queue.enqueue("web", "1", "asked", (), 1.0)
    assert queue.begin(run, 2.0)
    assert not queue.begin(run, 3.0)
    assert not queue.drop(run, "cancelled", "by a person", 3.0)
    assert [row.id for row in queue.running()] == [run]
    assert (queue.running()[0].queued, queue.running()[0].started) == (1.0, 2.0)
    again = queue.enqueue("web", "1", "changed", (), 4.0)
    assert again != run, "a change during a run is a run of its own"
    records.fail_run(run, "disk full", 30, 5.0, "infra")
    (last, *_) = queue.ended("web")
    assert (last.id, last.status, last.exit_code) == (run, "infra", 30)


def test_a_dropped_run_is_over(queue: Queue) -> None:
    run = queue.enqueue("web", "1", "asked", (), 1.0)
    assert queue.drop(run, "cancelled", "by a person", 3.0)
    (last, *_) = queue.ended("web")
    assert (last.status, last.error, last.finished) == ("cancelled", "by a person", 3.0)
    assert queue.queued() == []


def test_a_status_of_no_kind_is_refused(queue: Queue) -> None:
    run = queue.enqueue("web", "1", "asked", (), 1.0)
    with pytest.raises(sqlite3.IntegrityError):
        queue.drop(run, "vanished", "", 3.0)


def test_seconds_are_of_stages_that_worked(queue: Queue, records: Records) -> None:
    for seconds, cached in ((3.0, False), (5.0, False), (0.0, True)):
        run = records.start_run("web", "1", "asked", (), 1.0)
        records.add_stage(run, StageRow("compile", "k", cached, seconds, {}))
    assert queue.stage_seconds("web") == {"compile": 5.0}


def test_settings_stay(queue: Queue) -> None:
    assert queue.setting("paused", "no") == "no"
    queue.set_setting("paused", "yes")
    queue.set_setting("paused", "drain")
    assert queue.setting("paused") == "drain"


def test_events_come_in_order_and_old_ones_go(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minid.store.events.KEPT", 3)
    monkeypatch.setattr("minid.store.events._TRIM_EVERY", 5)
    events = Events(records.database)
    for n in range(10):
        events.add("failed", f"number {n}", float(n), recipe="ab"[n % 2], detail={"n": str(n)})
    assert [row.id for row in events.after(0)] == [8, 9, 10]
    assert [row.detail for row in events.newest(1, "b")] == [{"n": "9"}]
    assert [row.id for row in events.newest(2)] == [9, 10]


def test_memory_and_locks_come_back_as_they_were(records: Records) -> None:
    releases = Releases(records.database)
    row = TrackRow("web", {"high_water": "1.2"}, "1.3", "held", 5.0)
    releases.keep_track(row)
    assert releases.tracks() == {"web": row}
    assert releases.track("other") is None
    lock = Lock("1.3", "https://x.example/a", Digest.of(b"3"), "1.2", Digest.of(b"2"), True)
    releases.set_lock("web", lock, 1.0)
    assert releases.locks() == {"web": lock}
    releases.set_lock("web", None, 1.0)
    assert releases.locks() == {}


def first_database(path: Path) -> None:
    """What the first version of minid wrote: its tables, a run, and a tag with its publication."""
    connection = sqlite3.connect(path)
    connection.executescript((DATA / "records-1.sql").read_text())
    connection.close()


def test_an_old_database_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    first_database(path)
    with pytest.raises(StoreError, match="expected schema version 4, got 1"):
        Records(path, writable=False)
    records = Records(path, writable=True)
    (run,) = records.runs()
    assert (run.recipe, run.status, run.started, run.queued) == ("web", "ok", 10.0, 10.0)
    assert [tag.name for tag in records.tags()] == ["web:latest"]
    assert records.stages(run.id)[0].name == "compile"
    # References still hold: a stage of no run is refused, one of the old run is taken.
    records.add_stage(run.id, StageRow("pack", "k", False, 1.0, {}))
    with pytest.raises(sqlite3.IntegrityError):
        records.add_stage(99, StageRow("pack", "k", False, 1.0, {}))
    assert Queue(records.database).queued() == []
    records.close()
    Records(path, writable=False).close()


def test_two_writers_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    first = Records(path, writable=True, shared=True)
    second = Records(path, writable=True, shared=True)
    for n in range(5):
        run = first.start_run("a", str(n), "asked", (), 1.0)
        second.add_stage(run, StageRow("compile", "k", False, 1.0, {}))
    assert len(second.runs()) == 5
    assert all(first.stages(row.id) for row in first.runs())


def test_a_batch_is_on_disk_at_its_end(records: Records, queue: Queue) -> None:
    reader = Records(records.path, writable=False)
    with records.database.batch():
        for n in range(3):
            queue.enqueue(f"r{n}", "1", "asked", (), 1.0)
        assert len(queue.queued()) == 3
        assert reader.runs() == []
    assert len(reader.runs()) == 3
    with pytest.raises(RuntimeError), records.database.batch():
        queue.enqueue("r4", "1", "asked", (), 1.0)
        raise RuntimeError
    assert len(reader.runs()) == 4
    reader.close()


def test_a_writer_that_failed_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    first = Records(path, writable=True, shared=True)
    second = Records(path, writable=True, shared=True)
    second.database._connection.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(RuntimeError), first.database.transaction():
        raise RuntimeError
    assert second.start_run("a", "1", "asked", (), 1.0) == 1
    with pytest.raises(RuntimeError), first.database.batch():
        first.start_run("b", "1", "asked", (), 1.0)
        with first.database.transaction() as connection:
            connection.execute("DELETE FROM runs")
            raise RuntimeError
    assert [row.recipe for row in second.runs()] == ["b", "a"], "what a batch wrote before it stays"
