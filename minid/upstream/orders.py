"""What a person says about releases: take this one, never that one, stay here, follow again."""

from __future__ import annotations

from dataclasses import replace

from minid.errors import UsageError
from minid.formats.digest import Digest
from minid.formats.version import release_key
from minid.recipe_lock import Lock
from minid.upstream import candidate as life
from minid.upstream.archives import Archives, Release
from minid.upstream.ledger import Ledger
from minid.upstream.looking import fetch_approved
from minid.upstream.rewatch import fetch_held
from minid.upstream.tracking import Tracked, lock_of
from minid.upstream.values import Found, Verdict
from minid.upstream.visits import Visits


class Orders:
    """Carries out what a person says."""

    def __init__(self, ledger: Ledger, visits: Visits, archives: Archives) -> None:
        self._ledger = ledger
        self._visits = visits
        self._archives = archives

    async def approve(self, name: str, version: str) -> None:
        """Take this release, though it is held, refused or below the high-water mark.

        UsageError where the page does not list it, FetchError where its archive has changed."""
        tracked = self._ledger.need(name)
        if version == tracked.current and tracked.watch.held:
            digest = await fetch_held(tracked, self._archives)
            self._ledger.end_hold(tracked)
            self._ledger.move(tracked, version, tracked.archive_url, digest)
            return
        held = tracked.memory.candidate
        if held is not None and held.version == version and held.state == "held" and held.digest:
            await fetch_approved(tracked, self._archives, held.url, held.digest)
            self._ledger.step(tracked, life.approve(tracked.memory, version))
            return
        self._expect_listed(tracked, version)
        self._ledger.step(tracked, life.approve(tracked.memory, version))
        candidate = tracked.memory.candidate
        if candidate is None or candidate.version != version:
            reasons = {item.version: item.reason for item in tracked.dropped}
            why = reasons.get(version) or tracked.note or "it is no release that counts"
            raise UsageError(f"{name}: expected a release that can be taken, got {version}: {why}")
        await self._visits.visit(name)

    def _expect_listed(self, tracked: Tracked, version: str) -> None:
        name, candidate = tracked.recipe.name, tracked.memory.candidate
        known = {found.version for found in self._ledger.listing(tracked)}
        if version not in known and (candidate is None or candidate.version != version):
            raise UsageError(
                f"{name}: expected a release that its page lists, got {version!r}",
                hint=f"`minid check {name}` shows what is there, `minid pin` takes any version",
            )

    def reject(self, name: str, version: str) -> None:
        """Never take this release. What was built of it stays; a recipe that was moved to it goes
        back to the release before."""
        tracked, lock = self._ledger.need(name), self._ledger.lock(name)
        step, releases = life.reject(tracked.memory, version), self._ledger.releases
        if lock is None or lock.version != version:
            self._ledger.step(tracked, step)
            return
        with releases.together():
            self._ledger.step(tracked, replace(step, action="none"))
            self._ledger.set_lock(tracked, self._earlier(tracked, lock))
        self._ledger.judge_stored(self._ledger.need(name))

    def _earlier(self, tracked: Tracked, lock: Lock) -> Lock | None:
        """The lock on the newest release below, of which the archive is here; None for the file."""
        memory, blobs = tracked.memory, self._archives.blobs
        low, high = release_key(lock.of_version), release_key(lock.version)
        digests = {version: Digest(digest) for digest, version in memory.digests}
        fit = [
            version
            for version, digest in digests.items()
            if low < release_key(version) < high
            and version not in memory.rejected
            and blobs.has(digest)
        ]
        if not fit:
            return None
        version = max(fit, key=release_key)
        url = tracked.rules.artifact_url(self._found(tracked, version))
        return replace(lock, version=version, url=url, sha256=digests[version], pinned=False)

    def follow(self, name: str) -> Lock | None:
        """Let the recipe be what its file says, and follow its upstream again; the lock that it
        had."""
        tracked, lock = self._ledger.need(name), self._ledger.lock(name)
        with self._ledger.releases.together():
            self._ledger.step(tracked, life.follow_again(tracked.memory))
            if lock is not None:
                self._ledger.set_lock(tracked, None)
        now = self._ledger.need(name)
        now.pinned = False
        self._ledger.judge_stored(now)
        return lock

    async def find_release(self, name: str, version: str) -> tuple[Lock, Verdict]:
        """The lock that pins a recipe to a version, and what verifying its archive came to; the
        archive is in the store then. FetchError where it cannot be fetched, UsageError where it is
        refused."""
        tracked = self._ledger.need(name)
        before = self._ledger.lock(name)
        if version == tracked.current:
            digest, url = tracked.recipe.source.sha256, tracked.archive_url
            lock = lock_of(tracked.recipe, before, version, url, digest)
            return replace(lock, pinned=True), Verdict("good", "pinned to the release it is at")
        found = self._found(tracked, version)
        url = tracked.rules.artifact_url(found)
        release = Release(tracked.recipe, version, url, tracked.rules.verify, found.sha256)
        async with self._archives.receive(url) as arrival:
            refused = await arrival.refused(version, tracked.known_digests())
            verdict = refused or await arrival.verdict(release)
            if verdict.status == "bad":
                raise UsageError(f"{name} {version}: expected its archive, got: {verdict.reason}")
            await arrival.keep(self._archives.blobs)
            digest = arrival.digest
        return replace(lock_of(tracked.recipe, before, version, url, digest), pinned=True), verdict

    def _found(self, tracked: Tracked, version: str) -> Found:
        """The version as the page lists it, packed as the recipe's own where there are several."""
        listed = [item for item in self._ledger.listing(tracked) if item.version == version]
        fit = [item for item in listed if tracked.rules.fits(item)]
        return next(iter(fit or listed), Found(version))
