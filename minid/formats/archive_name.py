"""A program's name and version from the name of its source archive. Pure, and a guess."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_EXTENSION = re.compile(
    r"\.(?:tar(?:\.(?:gz|bz2|xz|zst|zstd|lzma|lz|Z))?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE
)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,200}")
# What may follow the numbers and still be the version: 1.1.1w, 9.9p1, 1.0-rc1, 2.0beta3.
_VERSION = (
    r"[0-9]+(?:[._][0-9]+)*"
    r"(?:[-._]?(?:alpha|beta|pre|rc)[-._]?[0-9]*|p[0-9]+|[a-z](?![a-z]))?(?![0-9A-Za-z])"
)
_GLUED = re.compile(rf"(?P<name>[A-Za-z][A-Za-z+-]*?)(?P<version>{_VERSION})")
_BARE = re.compile(rf"v?(?P<version>{_VERSION})")
# The folders of a hosting site's addresses that are not the project's name.
_NOT_A_NAME = {"archive", "refs", "tags", "releases", "download", "downloads", "-", "src", "source"}


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """`prefix + version + suffix` is the file's name; `name` is the program's, fit for a recipe."""

    name: str
    version: str
    prefix: str
    suffix: str


def parse_archive_name(url: str) -> ArchiveName:
    """Take the name of the file that `url` (or a bare file name) ends in apart.

    The version is what follows the first separator and holds a dot, or else the first number that
    follows one: `mysql-boost-8.4.10`, `pcre2-10.46`. What stands behind it, as in
    `zlib-1.3.2-dfsg`, belongs to the suffix. Where the file's name is a version (`v1.2.tar.gz`),
    the name is the project's in the address. ValueError where there is no version or name.
    """
    parts = [unquote(part) for part in urlsplit(url).path.split("/") if part]
    file_name = parts[-1] if parts else ""
    extension = _EXTENSION.search(file_name)
    if extension is None or not _PLAIN_NAME.fullmatch(file_name):
        raise ValueError(f"expected the name of a tar archive, got {file_name!r}")
    stem = file_name[: extension.start()]
    match = _find_version(stem)
    if match is None:
        raise ValueError(f'expected a version in the name, such as "1.2.3", got {file_name!r}')
    name = match.groupdict().get("name") or _project_name(parts[:-1])
    start, end = match.span("version")
    return ArchiveName(
        name=_recipe_name(name),
        version=match["version"],
        prefix=file_name[:start],
        suffix=file_name[end:],
    )


def _find_version(stem: str) -> re.Match[str] | None:
    if bare := _BARE.match(stem):
        return bare
    found = []
    for match in re.finditer(r"[-_.]v?(?=[0-9])", stem):
        candidate = re.compile(
            rf"(?P<name>.{{{match.start()}}})[-_.]v?(?P<version>{_VERSION})"
        ).match(stem)
        if candidate and re.search("[A-Za-z]", candidate["name"]):
            found.append(candidate)
    dotted = [match for match in found if re.search(r"[._]", match["version"])]
    return next(iter(dotted or found), None) or _GLUED.fullmatch(stem)


def _project_name(folders: list[str]) -> str:
    names = [part for part in folders if part not in _NOT_A_NAME and not _BARE.match(part)]
    return names[-1] if names else ""


def _recipe_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", lambda run: "-" if run[0] not in "._-" else run[0], text.lower())
    name = name.strip("._-")[:64]
    if not name:
        raise ValueError(f"expected a name before the version, got {text!r}")
    return name
