"""What the ledger makes of pages that were asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minid.config import Tracking
from minid.recipe_reader import parse_recipe
from minid.store.database import Database
from minid.store.releases import Releases
from minid.upstream.ledger import Ledger
from minid.upstream.poll_answer import PollResult

URL = "https://example.org/foo/"
RECIPE = f"""\
summary = "foo"

[source]
version = "1.0"
url = "{URL}foo-{{version}}.tar.gz"
sha256 = "{"a" * 64}"

[track]
from = "index"
url = "{URL}"
match = 'foo-(?P<version>[0-9.]+)\\.tar\\.gz'
verify = {{ unsigned = true }}

[build]
steps = ["make"]
"""
NOW = 1_800_000_000.0


def page(*versions: str) -> PollResult:
    links = "".join(f"<a href=foo-{version}.tar.gz>x</a>" for version in versions)
    return PollResult(URL, "fresh", links.encode(), "text/html", URL)


class Book:
    """A ledger of one recipe; `stored` is the page that the poller has kept."""

    def __init__(self, database: Database, file: Path) -> None:
        self.now = NOW
        self.stored = page("1.0")
        self._database = database
        self._recipe = parse_recipe(RECIPE.encode(), file)
        self.restart()

    def restart(self) -> None:
        self.ledger = Ledger(
            Releases(self._database),
            lambda _url: self.stored,
            tracking=Tracking(),
            clock=lambda: self.now,
            on_event=lambda _recipe, _event: None,
            on_move=lambda _recipe, _lock: None,
        )
        self.ledger.set_recipes({"foo": self._recipe})

    def newest(self) -> str:
        return self.ledger.need("foo").newest


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    database = Database(tmp_path / "records.sqlite", writable=True)
    yield Book(database, tmp_path / "foo.toml")
    database.close()


def test_a_page_that_was_kept_and_not_judged_is_judged_when_it_has_not_changed(book) -> None:
    book.ledger.take(book.stored)
    book.now += 60
    book.stored = page("1.0", "1.1")  # kept, and then the service was killed
    book.restart()
    book.now += 3600
    book.ledger.take(PollResult(URL, "not-modified", changed_at=NOW))
    assert book.newest() == "1.0", "judged already, as far as that answer says"
    book.ledger.take(PollResult(URL, "not-modified", changed_at=NOW + 60))
    assert book.newest() == "1.1"


def test_a_watch_of_a_clock_that_was_ahead_is_due_in_a_day(book) -> None:
    book.ledger.take(book.stored)
    foo = book.ledger.need("foo")
    foo.watch = replace(foo.watch, checked=NOW + 1e9)
    book.ledger.take(book.stored)
    assert foo.watch.checked == NOW
