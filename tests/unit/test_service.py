"""What becomes of a change of the folder, of a release, of a question: which runs are queued."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minid.config import Config, Paths, Serving
from minid.config_reader import load_config
from minid.daemon.foreman import Foreman
from minid.daemon.job import Job
from minid.daemon.service import FIRST, Desk, Service
from minid.errors import MinidError, RecipeError, StoreError
from minid.formats.digest import Digest
from minid.recipe_lock import Lock
from minid.store.blobs import Blobs
from minid.store.events import EventRow, Events
from minid.store.queue import Queue
from minid.store.records import Records
from minid.store.releases import Releases

OLD, NEW = Digest.of(b"1"), Digest.of(b"2")


def text(base: str = "scratch", extra: str = "") -> str:
    return f"""\
[source]
version = "1.0"
url = "https://upstream.test/x-{{version}}.tar.gz"
sha256 = "{OLD.hex}"
[build]
environment = "host"
steps = ["make"]
[rootfs]
base = "{base}"
{extra}
"""


class Office:
    """A service whose foreman starts nothing, over recipes that were never built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "recipes"
        self.folder.mkdir()
        config = load_config(None, {}, start=folder)
        self.config = Config(
            None,
            Paths(self.folder, folder / "var"),
            environments=config.environments,
            daemon=Serving(min_free_bytes=0),
        )
        self.config.paths.state.mkdir()
        self.records = Records(self.config.paths.records, writable=True, shared=True)
        database = self.records.database
        blobs = Blobs(self.config.paths.store)
        blobs.prepare()
        self.heard: list[EventRow] = []
        self.later: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        queue, events = Queue(database), Events(database)
        self.foreman = Foreman(
            self.config, self.records, queue, events, clock=lambda: 1.0, spawn=_refuse
        )
        desk = Desk(
            blobs,
            self.records,
            queue,
            events,
            Releases(database),
            lambda: 1.0,
            self.heard.append,
        )
        self.service = Service(self.config, desk, self.foreman, self._call_later)

    def _call_later(self, _delay: float, call: Callable[..., object], *words: object) -> None:
        self.later.append((call, words))

    def write(self, name: str, content: str) -> None:
        (self.folder / f"{name}.toml").write_text(content)

    def changed(self, *names: str) -> None:
        self.service.folder_changed(frozenset(names) if names else None)

    def wait(self) -> None:
        """Let what is to be called later be called."""
        waiting, self.later = self.later, []
        for call, words in waiting:
            call(*words)

    def queued(self) -> dict[str, str]:
        return {row.recipe: row.version for row, _ in self.foreman.queued()}

    def kinds(self) -> list[tuple[str, str]]:
        return [(event.kind, event.recipe) for event in self.heard]


def _refuse(_job: Job) -> subprocess.Popen[bytes]:
    raise AssertionError("nothing is to start")


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def run(office: Office, work: Callable[[], None]) -> None:
    async def go() -> None:
        office.foreman.start_up()
        office.foreman.pause()
        office.service.start()
        work()
        await office.foreman.stop()

    asyncio.run(go())
    office.records.close()


def test_all_recipes_are_queued_at_first(office: Office) -> None:
    office.write("ground", text())
    office.write("top", text("ground"))

    def work() -> None:
        assert office.queued() == {"ground": "1.0", "top": "1.0"}

    run(office, work)


def test_a_comment_queues_nothing_more(office: Office) -> None:
    office.write("ground", text())

    def work() -> None:
        before = [row.id for row, _ in office.foreman.queued()]
        office.write("ground", "# a comment\n\n" + text())
        office.changed("ground")
        assert [row.id for row, _ in office.foreman.queued()] == before
        assert [kind for kind, _ in office.kinds()] == ["queued"]

    run(office, work)


def test_ten_saves_are_one_run_of_the_last(office: Office) -> None:
    office.write("ground", text())

    def work() -> None:
        for number in range(10):
            office.write("ground", text(extra=f'remove = ["/a{number}"]'))
            office.changed("ground")
        assert len(office.foreman.queued()) == 1
        recipe = office.service.catalogue.recipes["ground"]
        assert recipe.rootfs.remove == ("/a9",)

    run(office, work)


def test_a_broken_recipe_is_told_once_it_stays_so(office: Office) -> None:
    office.write("ground", text())
    office.write("top", text("ground"))

    def work() -> None:
        office.write("ground", "[source")
        office.changed("ground")
        assert office.queued() == {"top": "1.0"}
        assert ("broken", "ground") not in office.kinds()
        office.wait()
        assert ("broken", "ground") in office.kinds()
        office.write("ground", text())
        office.changed("ground")
        assert office.kinds()[-2:] == [("mended", "ground"), ("queued", "ground")]
        assert office.queued().keys() == {"ground", "top"}

    run(office, work)


def test_a_checkout_that_is_half_done_is_no_event(office: Office) -> None:
    office.write("top", text("ground"))

    def work() -> None:
        assert office.queued() == {}
        office.write("ground", text())
        office.changed("ground")
        office.wait()
        assert office.queued().keys() == {"ground", "top"}
        assert {"broken", "mended"}.isdisjoint(kind for kind, _ in office.kinds())

    run(office, work)


def test_a_deleted_recipe_leaves_the_queue(office: Office) -> None:
    office.write("ground", text())

    def work() -> None:
        (office.folder / "ground.toml").unlink()
        office.changed("ground")
        assert office.queued() == {}
        assert ("removed", "ground") in office.kinds()

    run(office, work)


def test_a_release_moves_the_recipe_and_its_file_brings_it_back(office: Office) -> None:
    office.write("ground", text())

    def work() -> None:
        lock = Lock("2.0", "https://upstream.test/x-2.0.tar.gz", NEW, "1.0", OLD)
        office.service.moved("ground", lock)
        assert office.queued() == {"ground": "2.0"}
        office.write("ground", text().replace('"1.0"', '"1.5"'))
        office.changed("ground")
        assert office.queued() == {"ground": "1.5"}

    run(office, work)


def test_what_a_person_asks_for_brings_what_it_stands_on(office: Office) -> None:
    for name, base in (("ground", "scratch"), ("top", "ground"), ("other", "scratch")):
        office.write(name, text(base))

    def work() -> None:
        runs = office.service.ask(["top"], first=True)
        assert list(runs) == ["ground", "top"]
        priorities = {row.recipe: row.priority for row, _ in office.foreman.queued()}
        assert priorities == {"ground": FIRST, "top": FIRST, "other": 0}

    run(office, work)


def test_a_file_that_went_between_reading_and_planning(office: Office) -> None:
    office.write("ground", text(extra='files = [{ path = "/x", source = "x" }]'))
    (office.folder / "ground").mkdir()
    (office.folder / "ground" / "x").write_text("x")
    office.write("other", text())

    def work() -> None:
        (office.folder / "ground" / "x").unlink()
        with pytest.raises(MinidError):
            office.service.ask(["ground"])
        office.service.plan(["ground", "other"])
        assert ("broken", "ground") in office.kinds()

    run(office, work)


def test_another_configuration_reads_everything_anew(office: Office, tmp_path: Path) -> None:
    office.write("ground", text())

    def work() -> None:
        other = tmp_path / "elsewhere"
        other.mkdir()
        (other / "fresh.toml").write_text(text())
        paths = Paths(other, office.config.paths.state)
        environments = office.config.environments
        office.service.configure(Config(None, paths, environments=environments))
        assert list(office.service.catalogue.recipes) == ["fresh"]
        assert office.queued() == {"fresh": "1.0"}
        with pytest.raises(RecipeError):
            office.service.ask(["ground"])

    run(office, work)


def test_what_a_full_disk_kept_from_the_queue_is_queued_later(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue knows the change already: nobody would tell of it again."""

    def work() -> None:
        office.service.start()
        office.write("a", text())
        with monkeypatch.context() as full:
            full.setattr(office.foreman, "submit", _full_disk)
            with pytest.raises(StoreError):
                office.changed("a")
        assert office.queued() == {}
        office.wait()
        assert office.queued() == {"a": "1.0"}
        assert office.later == []

    run(office, work)


def _full_disk(*_words: object, **_options: object) -> None:
    raise StoreError("records: database or disk is full")
