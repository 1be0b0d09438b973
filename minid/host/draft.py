"""The first draft of a recipe, from an archive that lies on the disk: what `minid new` writes.

It is a guess for a person to go on with: name and version from the file's name, the build steps
from the names of the archive's members. Nothing is unpacked and nothing is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minid.errors import RecipeError
from minid.formats.archive_name import ArchiveName, parse_archive_name
from minid.formats.build_system import BuildSystem, find_build_system
from minid.formats.compression import HEAD_BYTES, decompress, detect_compression
from minid.formats.digest import Digest
from minid.formats.tar_reader import TarLimits, TarReader
from minid.formats.values import URL
from minid.recipe import expand

_LIMITS = TarLimits(total_bytes=4 << 30)
_MAKEFILE_BYTES = 1 << 18
_MAKEFILES = ("Makefile", "makefile", "GNUmakefile", "src/Makefile")
_MAX_DEPTH = 3
_TAG = re.compile(r"[A-Za-z0-9._+-]+")


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive holds: names relative to its one top folder, and its makefiles' text."""

    names: frozenset[str]
    makefiles: str


def draft_name(url: str) -> str:
    """The name of the recipe for the archive at `url`; RecipeError where there is none to see."""
    return _archive_name(url).name


def draft_recipe(archive: Path, url: str, sha256: Digest) -> str:
    """The text of a recipe for `archive`, which came from `url` and has this digest.

    RecipeError where the address holds no name or version, or where the archive shows no known
    build system; UnpackError where it is no tar archive.
    """
    if not URL.accepts(url) or not re.fullmatch(str(URL.schema["pattern"]), url):
        raise RecipeError(f"{url}: expected {URL.expects}, got {json.dumps(url)}")
    about = _archive_name(url)
    listing = list_archive(archive)
    system = find_build_system(listing.names, listing.makefiles)
    if system is None:
        raise RecipeError(
            f"{url}: expected a build system (configure, CMakeLists.txt, meson.build, "
            "Makefile), got none at the top of the archive",
            hint="write the recipe by hand, see docs/reference/recipe.md",
        )
    return "\n".join(
        [
            *_head(about, url, sha256),
            *_track(about, url),
            *_build(system),
            *_image(about, system, is_library=_is_library(about, listing)),
        ]
    )


def list_archive(archive: Path) -> Listing:
    """The names in a tar archive, three folders deep; UnpackError when it is damaged."""
    names: list[str] = []
    texts: dict[str, str] = {}
    with archive.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        kind = detect_compression(head)
        reader = TarReader(decompress(stream.read, kind, _LIMITS.total_bytes), _LIMITS)
        for member in reader:
            name = member.name.decode("utf-8", "replace")
            if name.count("/") <= _MAX_DEPTH:
                names.append(name)
            if member.kind == "file" and name.partition("/")[2] in _MAKEFILES:
                texts[name] = _first_bytes(reader).decode("utf-8", "replace")
    tops = {name.partition("/")[0] for name in names if name}
    strip = len(tops) == 1 and any("/" in name for name in names)
    relative = (name.partition("/")[2] if strip else name for name in names)
    return Listing(frozenset(name for name in relative if name), "\n".join(texts.values()))


def _first_bytes(reader: TarReader) -> bytes:
    kept = bytearray()
    for chunk in reader.content():
        kept += chunk[: _MAKEFILE_BYTES - len(kept)]
    return bytes(kept)


def _archive_name(url: str) -> ArchiveName:
    try:
        return parse_archive_name(url)
    except ValueError as error:
        raise RecipeError(f"{url}: {error}", hint="write the recipe by hand") from error


def _is_library(about: ArchiveName, listing: Listing) -> bool:
    described = any("/" not in name and name.endswith(".pc.in") for name in listing.names)
    return described or about.name.startswith("lib")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escape(text: str) -> str:
    return re.escape(text).replace("\\-", "-")


def _template(url: str, about: ArchiveName) -> str:
    """`url` with the version, and its series in a folder's name, as placeholders."""
    folder, _, file_name = url.rpartition("/")
    start = len(about.prefix)
    if file_name != f"{about.prefix}{about.version}{about.suffix}":
        return url
    series = ".".join(about.version.split(".")[:2])
    folder = folder.replace(about.version, "{version}")
    folder = re.sub(rf"/{re.escape(series)}(?=/|$)", "/{major}.{minor}", folder)
    template = f"{folder}/{file_name[:start]}{{version}}{about.suffix}"
    return template if expand(template, about.version) == url else url


def _head(about: ArchiveName, url: str, sha256: Digest) -> Iterator[str]:
    yield "# A draft: check every line. All keys are in docs/reference/recipe.md."
    yield 'summary = ""  # what it is, in a few words'
    yield 'license = ""  # an SPDX expression such as "MIT"'
    yield ""
    yield "[source]"
    yield f"version = {_quoted(about.version)}"
    yield f"url = {_quoted(_template(url, about))}"
    yield f"sha256 = {_quoted(sha256.hex)}  # compare it with what upstream states"
    yield f"# distro = {_quoted(about.name)}  # a Debian source package with the same archive"
    yield ""


def _track(about: ArchiveName, url: str) -> Iterator[str]:
    plain = r"[0-9]+(?:[._][0-9]+)*"
    more = "" if re.fullmatch(plain, about.version) else "[0-9A-Za-z._-]*"
    number = f"(?P<version>{plain}{more})"
    if forge := re.match(r"https://(?:github|gitlab)\.com/[^/]+/[^/]+", url):
        tags = [part for part in url.split("/")[5:-1] if about.version in part]
        tag = next((part for part in tags if _TAG.fullmatch(part)), f"v{about.version}")
        before, _, after = tag.partition(about.version)
        lines = ('from = "git-tags"', f"url = {_quoted(forge[0])}")
        yield from _track_table(lines, _escape(before) + number + _escape(after))
        yield f"artifact = {_quoted(_template(url, about))}"
    elif about.version not in url.rpartition("/")[0]:
        lines = ('from = "index"', f"url = {_quoted(url.rpartition('/')[0] + '/')}")
        yield from _track_table(lines, _escape(about.prefix) + number + _escape(about.suffix))
    else:
        yield "# [track] is missing: this address holds one release only."
    yield ""


def _track_table(lines: tuple[str, ...], match: str) -> Iterator[str]:
    yield "[track]  # where new releases show up; look whether the page lists them"
    yield from lines
    yield f"match = '{match}'"


def _build(system: BuildSystem) -> Iterator[str]:
    yield f"[build]  # {system.title}"
    packages = ", ".join(_quoted(name) for name in system.packages)
    yield f"packages = [{packages}]  # Debian packages with headers, tools"
    yield "needs = []  # library recipes"
    yield "steps = ["
    for step in system.steps:
        yield f"  {_quoted(step)},"
    yield "]"
    yield ""


def _image(about: ArchiveName, system: BuildSystem, *, is_library: bool) -> Iterator[str]:
    program = system.program.format(name=about.name)
    lines = (
        "[image]",
        f"cmd = [{_quoted(program)}]  # a guess",
        f"comment = {_quoted(about.name + ' {version}')}",
        'tags = ["{version}", "latest"]',
        "",
        "[[check]]  # a tag moves only when this passes",
        f"exec = [{_quoted(program)}, {_quoted(system.version_option)}]",
        'contains = "{version}"',
    )
    if is_library:
        yield "# It looks like a library: others build against it. For an image, take the # away."
        yield from (f"# {line}".rstrip() for line in lines)
    else:
        yield "# Without [image] and [[check]] this is a library that others build against."
        yield from lines
    yield ""
