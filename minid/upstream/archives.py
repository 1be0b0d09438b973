"""A release's archive on its way into the store: fetched whole, looked at, verified, kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from minid.formats.digest import Digest
from minid.host.web import Answer, Web, answer_error
from minid.recipe import Recipe
from minid.store.blobs import Blobs, Sink
from minid.upstream.hosts import Hosts
from minid.upstream.reroll import refuse_archive
from minid.upstream.tracking import ArchiveWatch
from minid.upstream.values import Verdict, Verify
from minid.upstream.verify import Fetch, verify_release


@dataclass(frozen=True, slots=True)
class Release:
    """What is to be verified of whom: a version at its address, by a recipe's rules. `stated` is
    the digest that the page states, in hex, or empty."""

    recipe: Recipe
    version: str
    url: str
    verify: Verify
    stated: str = ""


class Arrival:
    """An archive that has come whole and is in the store once `keep` was called."""

    def __init__(self, sink: Sink, answer: Answer, fetch: Fetch) -> None:
        self._sink = sink
        self._fetch = fetch
        self.answer = answer
        self.digest = sink.digest_so_far()

    @property
    def path(self) -> Path:
        """The file, as long as it is not kept."""
        return self._sink.peek()

    async def refused(self, version: str, known: Mapping[Digest, str]) -> Verdict | None:
        """Why this cannot be the archive of that version; see `refuse_archive`."""
        return await asyncio.to_thread(refuse_archive, self.path, version, self.digest, known)

    async def verdict(self, release: Release) -> Verdict:
        """What `verify_release` says of it."""
        return await verify_release(
            release.verify,
            self.path,
            self.digest,
            release.url,
            release.version,
            release.recipe.folder,
            release.stated,
            self._fetch,
        )

    async def keep(self, blobs: Blobs) -> None:
        """Put it into the store, durably."""
        await asyncio.to_thread(self._sink.commit, self.digest)
        await asyncio.to_thread(blobs.flush)


class Archives:
    """Fetches archives of releases that no recipe names yet, and their signatures; every request
    takes its host's turn, and is a WaitError where that host is left alone."""

    def __init__(self, web: Web, blobs: Blobs, hosts: Hosts) -> None:
        self._web = web
        self._hosts = hosts
        self.blobs = blobs

    async def head(self, url: str, known: ArchiveWatch) -> tuple[int, Mapping[str, str]]:
        """The status and the headers of an archive, asked for with the words that are known of it;
        304 where they still hold."""
        headers = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
        asked = {name: value for name, value in headers.items() if value}
        async with self._hosts.turn(url):
            answer = await self._web.head(url, headers=asked)
            if answer.status in (429, 503):
                raise answer_error(answer)
        return answer.status, answer.headers

    @asynccontextmanager
    async def receive(
        self, url: str, watch: Callable[[int, int | None], None] | None = None
    ) -> AsyncIterator[Arrival]:
        """Fetch an archive; what was not kept inside is gone afterwards. FetchError as
        `Web.download`."""
        with self.blobs.receive() as sink:
            async with self._hosts.download(url):
                answer = await self._web.download(url, sink.write, progress=watch)
            yield Arrival(sink, answer, self._fetch)

    async def _fetch(self, url: str, max_bytes: int) -> bytes:
        async with self._hosts.turn(url):
            return await self._web.fetch(url, max_bytes)
