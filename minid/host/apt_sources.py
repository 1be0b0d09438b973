"""The machine's own package sources, read so that an environment comes from where the machine does.

Both formats of sources.list(5) are read. No source is invented: minid knows no archive by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from minid.errors import HostError

APT = Path("/etc/apt")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One archive: where, which suite and components, and what its signature is checked with.

    `signed_by` is a keyring's path or fingerprints, or the text of a key itself.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: str = ""


def load_sources(apt: Path = APT) -> tuple[AptSource, ...]:
    """Every enabled binary source of the machine, in apt's order."""
    parts = apt / "sources.list.d"
    files = [apt / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
    found: list[AptSource] = []
    for file in files:
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            found += parse_deb822(text) if file.suffix == ".sources" else parse_one_line(text)
    return tuple(dict.fromkeys(found))


def parse_one_line(text: str) -> list[AptSource]:
    """Sources of the `deb [options] uri suite component...` format."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if match is None:
            continue
        options = dict(word.split("=", 1) for word in (match[1] or "").split() if "=" in word)
        sources.append(
            AptSource(
                uri=match[2],
                suite=match[3],
                components=tuple(match[4].split()),
                signed_by=options.get("signed-by", ""),
                trusted=options.get("trusted", ""),
            )
        )
    return sources


def parse_deb822(text: str) -> list[AptSource]:
    """Sources of the stanza format; each combination of URI and suite is one."""
    sources = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _parse_stanza(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                sources.append(
                    AptSource(
                        uri=uri,
                        suite=suite,
                        components=tuple(fields.get("components", "").split()),
                        signed_by=fields.get("signed-by", ""),
                        trusted=fields.get("trusted", ""),
                    )
                )
    return sources


def _parse_stanza(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in " \t" and name:
            # A key inside the field writes its empty lines as a single dot.
            fields[name] += "\n" + ("" if line.strip() == "." else line.strip())
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def select_sources(
    sources: tuple[AptSource, ...], suite: str, own_suite: str
) -> tuple[AptSource, ...]:
    """The sources of `suite` with its updates and security; HostError when there are none.

    For a suite that the machine does not follow, the archives of its own suite are asked.
    """
    chosen = tuple(source for source in sources if _is_of(source, suite))
    if not chosen and own_suite:
        chosen = tuple(
            replace(source, suite=suite + source.suite.removeprefix(own_suite))
            for source in sources
            if _is_of(source, own_suite)
        )
    if not chosen:
        raise HostError(
            f"apt: expected a source of suite {suite!r} in {APT}, got none",
            hint="set mirror in the [environments] table, or suite to one of the machine's sources",
        )
    return chosen


def _is_of(source: AptSource, suite: str) -> bool:
    return (
        re.fullmatch(re.escape(suite) + "(-updates|-security|-proposed-updates)?", source.suite)
        is not None
    )


def write_lines(sources: tuple[AptSource, ...], folder: Path) -> Iterator[str]:
    """One-line entries for the sources; a key that was inline becomes a file in `folder`."""
    for number, source in enumerate(sources):
        options = []
        if "BEGIN PGP" in source.signed_by:
            key = folder / f"source-{number}.asc"
            key.write_text(source.signed_by.strip() + "\n")
            options.append(f"signed-by={key}")
        elif source.signed_by:
            options.append(f"signed-by={','.join(source.signed_by.split())}")
        if source.trusted:
            options.append(f"trusted={source.trusted}")
        prefix = f"deb [{' '.join(options)}]" if options else "deb"
        yield " ".join([prefix, source.uri, source.suite, *source.components])
