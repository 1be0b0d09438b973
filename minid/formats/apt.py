"""apt's files: sources.list in its one-line and deb822 forms, and the stanzas of Sources indexes.

Pure. Which machine's files are read, and what is fetched then, is `host.distro`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minid.formats.digest import Digest

# A stanza of Debian's Sources is a few KB; the largest (linux) is under 1 MB.
_MAX_STANZA = 8 << 20


@dataclass(frozen=True, slots=True)
class AptSource:
    """Where packages come from: one archive with its suites and components."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a source package. `directory` is relative to the archive's URI."""

    package: str
    version: str
    directory: str
    name: str
    digest: Digest


def parse_one_line(text: str) -> list[AptSource]:
    """Read the form `deb [option=value …] uri suite component …` (sources.list(5)).

    Lines of other types, comments and lines without components (flat archives) are left out.
    """
    found = []
    for line in text.splitlines():
        kind, rest = [*line.partition("#")[0].split(None, 1), "", ""][:2]
        if rest.startswith("["):
            rest = rest.partition("]")[2]
        uri, *words = rest.split() or [""]
        if kind in ("deb", "deb-src") and len(words) >= 2:
            found.append(AptSource(uri.rstrip("/"), (words[0],), tuple(words[1:])))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """Read the form of `*.sources` files; disabled stanzas and flat archives are left out."""
    found = []
    for stanza in _stanzas_of(text):
        wanted = {"deb", "deb-src"} & set(stanza.get("types", "").split())
        suites = tuple(stanza.get("suites", "").split())
        components = tuple(stanza.get("components", "").split())
        enabled = stanza.get("enabled", "yes").lower() not in ("no", "false", "off", "0", "without")
        if wanted and enabled and suites and components:
            uris = stanza.get("uris", "").split()
            found += [AptSource(uri.rstrip("/"), suites, components) for uri in uris]
    return found


def _stanzas_of(text: str) -> Iterator[dict[str, str]]:
    """Stanzas as fields with lower-case names; comment lines vanish also within a field."""
    stanza: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t":
            if field:
                stanza[field] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            field = name.strip().lower()
            stanza[field] = value.strip()


class SourcesScanner:
    """Finds a package's upstream archive in a Sources index that is fed in pieces.

    Collects in `found` what has the digest, and the `<package>_<version>.orig.tar.*` of that name.
    Memory is bounded: a stanza of more than 8 MiB is skipped.
    """

    def __init__(self, package: str, version: str, digest: Digest) -> None:
        self.found: list[SourceFile] = []
        self._name = f"{package}_{version}.orig.tar."
        self._needles = (self._name.encode(), digest.hex.encode())
        self._digest = digest
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        *stanzas, self._rest = (self._rest + piece).split(b"\n\n")
        for stanza in stanzas:
            self._look_at(stanza)
        if len(self._rest) > _MAX_STANZA:
            self._rest = b""

    def close(self) -> None:
        """Take the last stanza, which may end without an empty line."""
        self._look_at(self._rest)
        self._rest = b""

    def _look_at(self, stanza: bytes) -> None:
        # An index has tens of thousands of stanzas: only those that can match are parsed.
        if any(needle in stanza for needle in self._needles):
            for fields in _stanzas_of(stanza.decode("utf-8", "replace")):
                self.found += (file for file in parse_source_files(fields) if self._fits(file))

    def _fits(self, file: SourceFile) -> bool:
        named = file.name.startswith(self._name) and not file.name.endswith(".asc")
        return named or file.digest == self._digest


def parse_source_files(fields: dict[str, str]) -> Iterable[SourceFile]:
    """The files of one stanza, by its Checksums-Sha256; malformed lines are left out."""
    for line in fields.get("checksums-sha256", "").splitlines():
        words = line.split()
        if len(words) != 3 or "/" in words[2]:
            continue
        try:
            digest = Digest.parse(words[0])
        except ValueError:
            continue
        yield SourceFile(
            package=fields.get("package", ""),
            version=fields.get("version", ""),
            directory=fields.get("directory", "").strip("/"),
            name=words[2],
            digest=digest,
        )
