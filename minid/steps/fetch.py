"""fetch: from a recipe's source to its archive in the store, whole and of the right digest.

The places in turn: the store, the mirrors, upstream, the recipe's alternatives, the distribution.
Nothing is decompressed here.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from minid.config import Fetching
from minid.errors import DigestMismatchError, FetchError, HostError, MinidError
from minid.formats.digest import Digest
from minid.formats.url import file_name, shown
from minid.host.distro import Apt, load_apt, orig_candidates, proxied
from minid.host.http import AbsentError, Progress, StatusError, download, retrying
from minid.host.transfer import transfer
from minid.model import Archive
from minid.recipe import Source, expand
from minid.store.blobs import Blobs

FileProgress = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True, slots=True)
class _File:
    """Bytes that would do, under one of the names that they have."""

    label: str
    url: str
    digest: Digest
    name: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to try. `archive` is the package archive that a distro place belongs to."""

    label: str
    url: str
    digest: Digest
    limits: Fetching
    trusted: bool = False
    archive: str = ""


@dataclass(frozen=True, slots=True)
class _Failure:
    place: str
    error: FetchError
    archive: str = ""


class _InterruptedError(Exception):
    """Ends a download whose caller has gone; no error of a place, so no other place is tried."""


def fetch_archive(
    source: Source,
    blobs: Blobs,
    mirrors: tuple[str, ...],
    limits: Fetching,
    *,
    progress: Progress | None = None,
    load_distro: Callable[[], Apt] = load_apt,
) -> Archive:
    """The archive of `source`, from the first place that has it.

    FetchError names every place tried and why it failed, one a line; DigestMismatchError where
    bytes came, of whatever place, and all of them were others. HostError where the store's disk is
    full, StoreError where the stored archive is damaged. `load_distro` is asked only if all else
    failed.
    """
    files = _files(source)
    kept = _kept_archive(source, files, blobs)
    if kept is not None:
        return kept
    failures: list[_Failure] = []
    for place in _places(source, files, mirrors, limits, failures, load_distro):
        try:
            size = retrying(partial(_receive, place, blobs, progress), limits.attempts)
        except FetchError as error:
            failures.append(_Failure(place.label, error, place.archive))
            continue
        notes = tuple(_lines(failures))
        return Archive(file_name(place.url), place.digest, size, shown(place.url), notes)
    raise _nothing(files[0], failures)


def fetch_all(
    sources: Mapping[str, Source],
    blobs: Blobs,
    mirrors: tuple[str, ...],
    limits: Fetching,
    *,
    progress: FileProgress | None = None,
    load_distro: Callable[[], Apt] = load_apt,
) -> dict[str, Archive | MinidError]:
    """What `fetch_archive` returns or raises for each name, `limits.parallel` of them at once.

    `progress` is called from several threads, with the name first. An exception that is not minid's
    own, such as the operator's interrupt, ends the downloads under way and passes.
    """
    from concurrent.futures import ThreadPoolExecutor

    stopped = threading.Event()

    def fetch_one(name: str) -> Archive | MinidError:
        def report(done: int, total: int | None) -> None:
            if stopped.is_set():
                raise _InterruptedError
            if progress is not None:
                progress(name, done, total)

        try:
            return fetch_archive(
                sources[name], blobs, mirrors, limits, progress=report, load_distro=load_distro
            )
        except MinidError as error:
            return error

    with ThreadPoolExecutor(max(1, limits.parallel), "fetch") as threads:
        try:
            return dict(zip(sources, threads.map(fetch_one, sources), strict=True))
        finally:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)


def _files(source: Source) -> list[_File]:
    """The primary archive and its alternatives, with the version filled in."""
    given = [("upstream", source.url, source.sha256)]
    given += [("alternative", other.url, other.sha256) for other in source.alternatives]
    urls = [(label, expand(url, source.version), digest) for label, url, digest in given]
    return [_File(label, url, digest, file_name(url)) for label, url, digest in urls]


def _kept_archive(source: Source, files: list[_File], blobs: Blobs) -> Archive | None:
    """The archive if the store has it, hashed again: what is used is what was verified."""
    wanted = [(file.name, file.digest) for file in files]
    if source.distro is not None:
        name = f"{source.distro.package}_{expand(source.distro.version, source.version)}.orig.tar"
        wanted.append((name, source.distro.sha256))
    for name, digest in wanted:
        if blobs.claim(digest):
            size = sum(map(len, blobs.iterate(digest)))
            return Archive(name, digest, size, "store")
    return None


def _places(
    source: Source,
    files: list[_File],
    mirrors: tuple[str, ...],
    limits: Fetching,
    failures: list[_Failure],
    load_distro: Callable[[], Apt],
) -> Iterator[_Place]:
    """The places in the order in which they are tried; `failures` grows between two of them."""
    for file in files:
        for mirror in mirrors:
            url = f"{mirror.rstrip('/')}/{file.name}"
            yield _Place("mirror", url, file.digest, limits, trusted=True)
    for file in files:
        yield _Place(file.label, file.url, file.digest, limits)
    if source.distro is not None and limits.distro:
        yield from _distro_places(source, limits, failures, load_distro())


def _distro_places(
    source: Source, limits: Fetching, failures: list[_Failure], apt: Apt
) -> Iterator[_Place]:
    assert source.distro is not None
    package = expand(source.distro.package, source.version)
    version = expand(source.distro.version, source.version)
    digest = source.distro.sha256

    def complain(line: str) -> None:
        failures.append(_Failure("distro", FetchError(line)))

    try:
        candidates = orig_candidates(apt, package, version, digest, limits, complain=complain)
        for candidate in candidates:
            if candidate.archive not in _silent_archives(failures):
                own = proxied(apt, candidate.url, limits)
                yield _Place("distro", candidate.url, digest, own, True, candidate.archive)
    except FetchError as error:
        failures.append(_Failure("distro", error))


def _silent_archives(failures: list[_Failure]) -> set[str]:
    """Archives that did not answer at all: their other names need not be tried."""
    answers = (StatusError, DigestMismatchError)
    return {failure.archive for failure in failures if not isinstance(failure.error, answers)}


def _receive(place: _Place, blobs: Blobs, progress: Progress | None) -> int:
    """Fetch one place into the store; the size in bytes. Nothing is kept of other bytes."""
    take = transfer if place.trusted else download
    with _disk_errors(), blobs.receive() as sink:
        take(place.url, sink.write, place.limits, progress=progress)
        digest = sink.digest_so_far()
        if digest != place.digest:
            where = shown(place.url)
            raise DigestMismatchError(f"{where}: expected {place.digest}, got {digest}")
        sink.commit(place.digest)
        return sink.size


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """The network's errors are FetchErrors by now: an OSError is the store's disk."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise HostError(
            f"store: expected to write an archive, got {error.strerror}",
            hint="make room on the disk that holds the state folder" if full else "",
        ) from error


def _nothing(file: _File, failures: list[_Failure]) -> FetchError:
    """The error that names every place. A file that a place lacks says nothing about digests."""
    lines = "".join(f"\n  {line}" for line in _lines(failures))
    told = [f.error for f in failures if not isinstance(f.error, AbsentError)]
    failed: FetchError
    if any(isinstance(error, DigestMismatchError) for error in told):
        failed = DigestMismatchError(
            f"{file.name}: expected {file.digest}, got other bytes{lines}",
            hint="compare with upstream's own checksum before you change the recipe's sha256",
        )
    else:
        failed = FetchError(
            f"{file.name}: expected {file.digest} from one of these, got it from none{lines}",
            hint="put the file into a mirror folder (config.toml, mirrors), "
            "or mend the recipe's url",
        )
    failed.retryable = any(error.retryable for error in told)
    return failed


def _lines(failures: list[_Failure]) -> Iterator[str]:
    """A line a failure; the distribution's many possible names that are not there are one."""
    guesses = 0
    for failure in failures:
        if failure.place == "distro" and isinstance(failure.error, AbsentError):
            guesses += 1
        else:
            yield f"{failure.place}: {failure.error.message}"
    if guesses:
        yield f"distro: expected the archive under a usual name, got none of {guesses}"
