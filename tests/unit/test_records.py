"""The records: runs, tags and publications, in a real SQLite file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.errors import StoreError
from minid.store.records import PublicationRow, Records
from minid.store.schema import VERSION

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    made = Records(tmp_path / "records.sqlite", writable=True)
    yield made
    made.close()


def start(records: Records, recipe: str = "web") -> int:
    return records.start_run(recipe, "1.2", "asked", ("image.user",), 1.0)


def image(manifest: str, recipe: str = "web") -> dict[str, object]:
    return {"manifest": manifest, "recipe": recipe, "version": "1.2"}


def tags(records: Records) -> dict[str, str]:
    return {row.name: row.manifest for row in records.tags()}


def test_tags_move_and_remember_where_they_were(records: Records) -> None:
    run = start(records)
    names = ["web:1.2", "web:latest"]
    first = records.publish(run, image(ONE), names, 1.0)
    assert [(row.name, row.from_manifest, row.to_manifest) for row in first] == [
        ("web:1.2", "", ONE),
        ("web:latest", "", ONE),
    ]
    again = records.publish(run, image(TWO), ["web:latest"], 2.0)
    assert again == [PublicationRow(run, "store", "web:latest", ONE, TWO, 2.0)]
    assert tags(records) == {"web:1.2": ONE, "web:latest": TWO}
    assert records.publications("web:latest") == [again[0], first[1]]
    assert records.publish(run, image(TWO), ["web:latest"], 3.0) == []
    assert len(records.publications()) == 3


def test_a_publication_that_fails_moves_no_tag(records: Records) -> None:
    run = start(records)
    records.publish(run, image(ONE), ["web:1.2", "web:latest"], 1.0)
    with pytest.raises(sqlite3.Error):
        # The second name cannot be bound, after the first has moved.
        records.publish(run, image(TWO), ["web:1.2", object()], 2.0)  # type: ignore[list-item]
    assert tags(records) == {"web:1.2": ONE, "web:latest": ONE}
    assert records.image(TWO) is None
    assert len(records.publications()) == 2


def test_publication_of_an_unknown_run_is_refused(records: Records) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        records.publish(99, image(ONE), ["web:1.2"], 1.0)
    assert tags(records) == {}


def test_published_is_the_last_at_its_target(records: Records) -> None:
    run = start(records)
    for target, manifest in (("docker", ONE), ("docker", TWO), ("export", ONE)):
        records.add_publication(PublicationRow(run, target, "web:1.2", "", manifest, 1.0))
    assert records.published("docker", "web:1.2") == TWO
    assert records.published("export", "web:1.2") == ONE
    assert records.published("docker", "web:latest") == ""


def test_a_run_from_start_to_end(records: Records) -> None:
    run = start(records)
    records.set_log(run, "run.log")
    assert records.has_running()
    records.finish_run(run, "web", ONE, {"image.user": "web"}, 2.0)
    row = records.run(run)
    assert row is not None
    assert (row.status, row.manifest, row.changes) == ("ok", ONE, ("image.user",))
    assert (row.started, row.finished, row.log) == (1.0, 2.0, "run.log")
    assert records.inputs("web") == {"image.user": "web"}
    failed = start(records)
    records.fail_run(failed, "web.toml: no", 22, 3.0)
    row = records.run(failed)
    assert row is not None
    assert (row.status, row.error, row.exit_code) == ("failed", "web.toml: no", 22)
    # What failed does not count as the last good run.
    assert records.inputs("web") == {"image.user": "web"}
    assert [row.id for row in records.runs("web")] == [failed, run]
    assert records.runs("other") == []
    assert records.run(99) is None
    assert not records.has_running()


def test_unchanged_runs_do_not_add_up(records: Records) -> None:
    for moment in range(100):
        records.record_unchanged("web", "1.2", ONE, float(moment))
        records.record_unchanged("other", "1", TWO, float(moment))
    assert [(row.recipe, row.started, row.finished) for row in records.runs()] == [
        ("other", 0.0, 99.0),
        ("web", 0.0, 99.0),
    ]
    run = start(records)
    records.fail_run(run, "no", 1, 100.0)
    records.record_unchanged("web", "1.2", ONE, 101.0)
    assert [row.status for row in records.runs("web")] == ["unchanged", "failed", "unchanged"]


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=f"version {VERSION} or older, got {VERSION + 1}") as found:
        Records(path, writable=True)
    assert "newer minid" in found.value.hint
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_no_database_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"text, and no database at all" * 100)
    with pytest.raises(StoreError, match="expected a database of minid"):
        Records(path, writable=True)


def test_a_reader_writes_nothing(records: Records) -> None:
    start(records)
    records.settle()
    reader = Records(records.path, writable=False)
    assert len(reader.runs()) == 1
    with pytest.raises(StoreError):
        start(reader)
    reader.close()


def test_killed_in_a_transaction_the_database_is_as_before(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    records = Records(path, writable=True)
    run = start(records)
    records.publish(run, image(ONE), ["web:1.2", "web:latest"], 1.0)
    records.close()
    # A cache of one page makes SQLite write to the file before the commit, as a large one does.
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from minid.store.records import Records\n"
        "records = Records(Path(sys.argv[1]), writable=True)\n"
        "records.database._connection.execute('PRAGMA cache_size = 1')\n"
        "def names():\n"
        "    yield 'web:latest'\n"
        "    for number in range(500):\n"
        "        yield f'web:{number}'\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        f"image = {image(TWO)!r}\n"
        f"records.publish({run}, image, names(), 2.0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, path], check=False, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    journal = path.with_name(path.name + "-journal")
    assert journal.stat().st_size > 0  # or nothing would have to be rolled back
    records = Records(path, writable=True)
    assert tags(records) == {"web:1.2": ONE, "web:latest": ONE}
    assert records.image(TWO) is None
    assert len(records.publications()) == 2
    records.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
