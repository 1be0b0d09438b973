"""The whole tracker over a folder: web, poller, archives, ledger and records, with a clock that the
test moves. Recipes are real ones; what a release's archive holds is made of its name.

    with following(folder, site) as f:
        f.add("foo", "1.0")
        f.page("foo-1.0.tar.gz", "foo-1.1.tar.gz")     # with an archive each
        f.go(8)                                        # hours
        assert f.at("foo") == "1.1"
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import lzma
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from minid.config import Fetching, Tracking
from minid.host.web import Web
from minid.recipe import Recipe
from minid.recipe_lock import Lock, apply_lock
from minid.recipe_reader import parse_recipe
from minid.store.blobs import Blobs
from minid.store.database import Database
from minid.store.polls import Polls
from minid.store.releases import Releases
from minid.upstream.archives import Archives
from minid.upstream.poller import Poller
from minid.upstream.tracker import Tracker
from minid.upstream.tracking import Decision
from minid.upstream.values import Event
from tests.support.line import source_archive
from tests.support.upstream_site import Page, UpstreamSite, index_page

T = TypeVar("T")
HOUR = 3600.0
START = 1_800_000_000.0
UNSIGNED = "verify = { unsigned = true }"
RECIPE = """\
summary = "{name}"

[source]
version = "{version}"
url = "{url}"
sha256 = "{sha256}"

[track]
{track}

[build]
steps = ["make"]
"""


def archive(name: str, text: str = "") -> bytes:
    """The bytes of a release called `name`, packed as the name says."""
    top = name.partition(".tar")[0]
    tar = gzip.decompress(source_archive(top, {"main.c": text or f"// {top}\n"}))
    if name.endswith(".bz2"):
        return bz2.compress(tar)
    return lzma.compress(tar) if name.endswith(".xz") else gzip.compress(tar, mtime=0)


class Following:
    """A tracker of `recipes`, which are moved as the service moves them. `told` are the events as
    (recipe, event), `moves` the recipes that were moved and the versions."""

    def __init__(self, folder: Path, site: UpstreamSite, *, fetch: Fetching, **track: Any) -> None:
        self.folder = folder
        self.site = site
        self.now = START
        self.told: list[tuple[str, Event]] = []
        self.moves: list[tuple[str, str]] = []
        self.files: dict[str, Recipe] = {}
        self.slept: list[float] = []
        self.killed = False
        self._fetch = fetch
        self._tracking = Tracking(**{"gap_s": 0.0, **track})
        self._runner = asyncio.Runner()
        self._open()

    # what is followed

    def add(
        self,
        name: str,
        version: str,
        track: str = "",
        *,
        match: str = "",
        url: str = "",
        verify: str = UNSIGNED,
        file: str = "",
    ) -> None:
        """A recipe at that version; `track` holds further keys, `file` its archive's name."""
        file = file or f"{name}-{{version}}.tar.gz"
        sha256 = hashlib.sha256(archive(file.replace("{version}", version))).hexdigest()
        match = match or rf"{name}-(?P<version>\d.*)\.tar\.gz"
        table = (
            track if track.startswith("from") else f"from = \"index\"\nmatch = '{match}'\n{track}"
        )
        self.write(
            name,
            RECIPE.format(
                name=name,
                version=version,
                url=self.site.url(f"/{file}"),
                sha256=sha256,
                track=f'url = "{url or self.site.url("/")}"\n{verify}\n{table}',
            ),
        )

    def write(self, name: str, text: str) -> None:
        """The recipe's file, new or changed."""
        file = self.folder / f"{name}.toml"
        file.write_text(text)
        self.files[name] = parse_recipe(text.encode(), file)
        self.follow_all()

    def edit(self, name: str, before: str, after: str) -> None:
        """Change the recipe's file, which must hold `before`."""
        text = (self.folder / f"{name}.toml").read_text()
        assert before in text
        self.write(name, text.replace(before, after))

    def page(self, *names: str, at: str = "/", archives: bool = True, **page: Any) -> None:
        """An index with these links; with an archive each that is packed, unless one is there."""
        self.site.put(at, Page(index_page(*names), **page))
        if archives:
            self.publish(*(name for name in names if ".tar" in name and name[-4:] != ".asc"))

    def publish(self, *names: str, text: str = "") -> None:
        """Put archives on the site."""
        for name in names:
            self.site.put(f"/{name}", Page(archive(name, text), "application/octet-stream"))

    # what happens

    def go(self, hours: float) -> None:
        """Let that time pass; all that comes due is done at its time."""
        self.run(self._go(hours * HOUR))

    async def _go(self, seconds: float) -> None:
        end, turns = self.now + seconds, 0
        while (due := self.tracker.next_due()) is not None and due <= end and not self.killed:
            self.now = max(self.now, due)
            await self.tracker.run_due()
            await self.tracker.quiet()
            turns += 1
            assert turns < 3000, "the schedule spins"
        self.now = max(self.now, end)

    def run(self, work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
        """Do this on the tracker's event loop."""

        async def main() -> T:
            return await work

        return self._runner.run(main())

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The tracker's event loop."""
        return self._runner.get_loop()

    def check(self, name: str) -> Decision:
        """`minid check`."""
        return self.run(self.tracker.check([name]))[0]

    def approve(self, name: str, version: str) -> Decision:
        return self.run(self.tracker.approve(name, version))

    def restart(self) -> None:
        """What a new process would see, after this one was killed."""
        self._close()
        self.killed = False
        self._open()

    # what came of it

    def at(self, name: str) -> str:
        """The version that the recipe is built from, by the records."""
        recipe = apply_lock(self.files[name], self.releases.locks().get(name))
        return recipe.source.version

    def decision(self, name: str) -> Decision:
        """Where it stands, without a request."""
        (found,) = [item for item in self.tracker.decisions() if item.recipe == name]
        return found

    def kinds(self, name: str = "foo") -> list[str]:
        """The kinds of events told of a recipe."""
        return [event.kind for recipe, event in self.told if recipe == name]

    def text(self, kind: str) -> str:
        """The text of the last event of a kind."""
        return [event.text for _, event in self.told if event.kind == kind][-1]

    def gets(self, path: str) -> int:
        """How often a path was fetched."""
        return sum(asked.method == "GET" for asked in self.site.requests(path))

    # parts

    def follow_all(self) -> None:
        locks = self.releases.locks()
        moved = {name: apply_lock(recipe, locks.get(name)) for name, recipe in self.files.items()}
        self.tracker.set_recipes(moved)

    def _open(self) -> None:
        self.database = Database(self.folder / "records.sqlite", writable=True)
        self.releases = Releases(self.database)
        self.blobs = Blobs(self.folder / "store")
        self.blobs.prepare()
        self.web = Web(self._fetch, inside=self._tracking.inside)
        self.poller = Poller(
            self.web,
            Polls(self.database),
            clock=lambda: self.now,
            random=lambda: 0.5,
            tracking=self._tracking,
            sleep=self._sleep,
        )
        self.tracker = Tracker(
            self.poller,
            Archives(self.web, self.blobs, self.poller.hosts),
            self.releases,
            tracking=self._tracking,
            clock=lambda: self.now,
            on_event=lambda name, event: self.told.append((name, event)),
            on_move=self.moved,
        )
        self.follow_all()

    def moved(self, name: str, lock: Lock | None) -> None:
        self.releases.set_lock(name, lock, self.now)
        self.moves.append((name, lock.version if lock else ""))
        self.follow_all()

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def _close(self) -> None:
        self.run(self.tracker.close())
        self.run(self.web.close())
        self.poller.close()
        self.database.close()

    def close(self) -> None:
        self._close()
        self._runner.close()


@contextmanager
def following(
    folder: Path, site: UpstreamSite, *, fetch: Fetching | None = None, **track: Any
) -> Iterator[Following]:
    """A tracker that may ask all of loopback, unless `fetch` says otherwise."""
    made = Following(folder, site, fetch=fetch or Fetching(allow_private=True), **track)
    try:
        yield made
    finally:
        made.close()
