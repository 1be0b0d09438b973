"""The machine's package archives, as apt is set up to use them, as a source of upstream archives.

The only host names are those in apt's own files. Nothing here is trusted: an index only says
where the bytes may be, the recipe's digest says whether they are right.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from minid.config import Fetching
from minid.errors import FetchError, HostError, UnpackError
from minid.formats.apt import AptSource, SourcesScanner, parse_deb822, parse_one_line
from minid.formats.compression import Compression, decompress
from minid.formats.digest import Digest
from minid.formats.url import refusal, shown
from minid.host.http import AbsentError, retrying
from minid.host.process import run
from minid.host.transfer import transfer

SUFFIXES = ("gz", "xz", "bz2", "zst")
_INDEX_BYTES = 64 << 20
_INDEX_UNPACKED_BYTES = 1 << 30
_INDEXES: tuple[tuple[str, Compression], ...] = (("Sources.xz", "xz"), ("Sources.gz", "gzip"))
_MAX_SIBLINGS = 8
# Where distro-info-data is missing there are still the names that every Debian archive has.
_ALIASES = ("stable", "testing", "unstable", "oldstable")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~-]*")
_PROXY_LINE = re.compile(r'Acquire::(https?)::Proxy(?:::([^\s":]+))? "([^"]*)";')


@dataclass(frozen=True, slots=True)
class Apt:
    """apt's set-up. `proxies` maps (scheme, host or empty for all) to a proxy's URL or `DIRECT`."""

    sources: tuple[AptSource, ...]
    proxies: tuple[tuple[tuple[str, str], str], ...] = ()
    root: Path = Path("/")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A URL that may hold the archive, in the package archive at `archive`."""

    archive: str
    url: str


def load_apt(root: Path = Path("/")) -> Apt:
    """Read apt's files below `root`; of the machine's own also the proxies. Never raises."""
    folder = root / "etc/apt"
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    found: list[AptSource] = []
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file():
            text = file.read_text("utf-8", "replace")
            found += parse_one_line(text) if file.suffix == ".list" else parse_deb822(text)
    sources = tuple(source for source in found if _is_usable(source.uri))
    return Apt(sources, _load_proxies() if root == Path("/") else (), root)


def _is_usable(uri: str) -> bool:
    """Discs, mirror lists and archives with a password in their address are left to apt."""
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https", "file") and "@" not in parts.netloc


def _load_proxies() -> tuple[tuple[tuple[str, str], str], ...]:
    try:
        dump = run(["apt-config", "dump"], timeout_s=10).stdout
    except HostError:
        return ()
    return parse_proxies(dump.decode("utf-8", "replace"))


def parse_proxies(dump: str) -> tuple[tuple[tuple[str, str], str], ...]:
    """Read the proxies from what `apt-config dump` prints; see `Apt`."""
    lines = (_PROXY_LINE.fullmatch(line.strip()) for line in dump.splitlines())
    return tuple(((m[1], (m[2] or "").lower()), m[3]) for m in lines if m and m[3])


def proxied(apt: Apt, url: str, limits: Fetching) -> Fetching:
    """`limits` with the proxy that apt would use for `url` (apt.conf(5)), if it has one."""
    parts = urlsplit(url)
    proxies = dict(apt.proxies)
    host = parts.hostname or ""
    # https takes http's settings where it has none of its own.
    for key in ((parts.scheme, host), (parts.scheme, ""), ("http", host), ("http", "")):
        if key in proxies:
            chosen = proxies[key]
            return replace(limits, proxy="" if chosen == "DIRECT" else chosen)
    return limits


def orig_candidates(
    apt: Apt,
    package: str,
    version: str,
    digest: Digest,
    limits: Fetching,
    *,
    complain: Callable[[str], None],
) -> Iterator[Candidate]:
    """URLs that may hold `<package>_<version>.orig.tar.*`, the likely first.

    First the names that the file would have in each archive's pool, which reaches every suite whose
    files are still there; then, slowly, what the Sources indexes of the configured suites and of
    the archive's other suites say, by name or by digest. `complain` gets a line for each index that
    could not be read, and for each file of that name with other bytes. FetchError for a package or
    version that cannot be part of a file's name.
    """
    upstream = version.partition(":")[2] or version
    if not _PACKAGE.fullmatch(package):
        raise refusal("source.distro", "a source package's name", repr(package))
    if not _VERSION.fullmatch(upstream):
        raise refusal("source.distro", "an upstream version", repr(version))
    if not apt.sources:
        complain("apt's sources name no package archive")
    yield from pool_guesses(apt, package, upstream)
    for source, suite, component in _indexes(apt):
        yield from _search(
            f"{source}/dists/{suite}/{component}/source",
            source,
            SourcesScanner(package, upstream, digest),
            digest,
            proxied(apt, source, limits),
            complain,
        )


def pool_guesses(apt: Apt, package: str, version: str) -> Iterator[Candidate]:
    """Where the archive's pool would hold the file, for each archive and component once."""
    prefix = package[:4] if package.startswith("lib") else package[:1]
    seen = dict.fromkeys(
        (source.uri, component) for source in apt.sources for component in source.components
    )
    for uri, component in seen:
        pools = [f"pool/{component}"]
        if "security" in uri.rpartition("/")[2]:
            pools.append(f"pool/updates/{component}")  # where Debian's security archive has it
        for pool in pools:
            for suffix in SUFFIXES:
                name = f"{package}_{version}.orig.tar.{suffix}"
                yield Candidate(uri, f"{uri}/{pool}/{prefix}/{package}/{name}")


def _indexes(apt: Apt) -> Iterator[tuple[str, str, str]]:
    """(archive, suite, component) of every index worth reading: the configured suites first."""
    configured = [
        (source.uri, suite, component)
        for source in apt.sources
        for suite in source.suites
        for component in source.components
    ]
    siblings = [
        (uri, sibling, component)
        for uri, suite, component in configured
        for sibling in sibling_suites(suite, apt.root)
    ]
    yield from dict.fromkeys(configured + siblings)


def sibling_suites(suite: str, root: Path = Path("/")) -> list[str]:
    """The other suites of the archive that has `suite`, newest first, by distro-info's tables.

    Empty for a suite that no table knows: another vendor's archive. Without tables, some aliases.
    """
    base, _, pocket = suite.partition("-")
    if pocket not in ("", "security"):
        return []
    tables = [table for table in map(_load_series, _tables(root)) if table]
    fitting = [table for table in tables if base in table or base in _ALIASES]
    names = fitting[0] if fitting else () if tables else _ALIASES
    ending = f"-{pocket}" if pocket else ""
    return [name + ending for name in names[:_MAX_SIBLINGS] if name != base]


def _tables(root: Path) -> list[Path]:
    return [root / "usr/share/distro-info" / name for name in ("debian.csv", "ubuntu.csv")]


def _load_series(table: Path) -> list[str]:
    """The code names of a distro-info table, newest first; none where it is missing."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            names = [row["series"] for row in csv.DictReader(file) if row.get("series")]
    except OSError:
        return []
    return names[::-1]


def _search(
    folder: str,
    archive: str,
    scanner: SourcesScanner,
    digest: Digest,
    limits: Fetching,
    complain: Callable[[str], None],
) -> Iterator[Candidate]:
    """Candidates out of one Sources index."""
    try:
        _scan(folder, scanner, limits)
    except (FetchError, UnpackError) as error:
        complain(error.message)
    for file in scanner.found:
        url = f"{archive}/{file.directory}/{file.name}"
        if file.digest == digest:
            yield Candidate(archive, url)
        else:
            complain(f"{shown(url)}: expected {digest}, got {file.digest} by its index")


def _scan(folder: str, scanner: SourcesScanner, limits: Fetching) -> None:
    """Feed the index in that folder to the scanner; no index there is no error."""
    for name, compression in _INDEXES:
        with tempfile.TemporaryFile() as file:
            try:
                _load_index(f"{folder}/{name}", file, limits)
            except AbsentError:
                continue
            for piece in decompress(file.read, compression, _INDEX_UNPACKED_BYTES):
                scanner.feed(piece)
            scanner.close()
            return


def _load_index(url: str, file: IO[bytes], limits: Fetching) -> None:
    """Write the index to `file` and go back to its beginning."""
    small = replace(limits, max_bytes=min(limits.max_bytes, _INDEX_BYTES))

    def attempt() -> None:
        file.seek(0)
        file.truncate()
        transfer(url, file.write, small)

    retrying(attempt, limits.attempts)
    file.seek(0)
