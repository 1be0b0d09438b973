"""A bill of materials before it is worded as SPDX or CycloneDX, and names that both share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from minid.formats.digest import Digest
from minid.formats.package_record import Package

_URI = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=-]|\[(?=[0-9a-f:]+\])|\]|%[0-9A-Fa-f]{2})+"
)
_LONGEST = 2000

Kind = Literal["image", "release", "package", "source"]
How = Literal[
    "contains",
    "made from",
    "stands on",
    "links dynamically",
    "links statically",
    "needs",
    "needs to build",
]


@dataclass(frozen=True, slots=True)
class Item:
    """An image, an upstream release, a package of a distribution or the source of one.

    `key` is unique in the bill, made of letters, digits, `.` and `-`. `license` is an SPDX
    expression or empty, `url` and `homepage` are URIs or empty. `digest` is that of a release's
    archive at `url`, or of an image's manifest.
    """

    key: str
    kind: Kind
    name: str
    version: str
    purl: str = ""
    cpe: str = ""
    url: str = ""
    digest: Digest | None = None
    license: str = ""
    homepage: str = ""
    summary: str = ""
    library: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file of the image; `holder` is the key of the item that has it."""

    image_path: str
    sha1: str
    sha256: str
    holder: str


@dataclass(frozen=True, slots=True)
class Link:
    """How one item, or one file by its path with a leading slash, is related to another."""

    of: str
    how: How
    to: str


@dataclass(frozen=True, slots=True)
class Bom:
    """The bill of an image, which is the first item. `created` in seconds since the epoch; `texts`
    has the text of each LicenseRef- that is used; `tool` is the version of minid."""

    items: tuple[Item, ...]
    files: tuple[File, ...]
    links: tuple[Link, ...]
    created: int
    tool: str
    texts: Mapping[str, str] = field(default_factory=dict)


def item_key(*words: str) -> str:
    """A key from words of any characters."""
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-") or "x" for word in words)


def uri_or_nothing(text: str) -> str:
    """The text where it is a URI (RFC 3986) that the formats take, else empty."""
    return text if len(text) <= _LONGEST and _URI.fullmatch(text) else ""


def release_purl(name: str, version: str, url: str, digest: Digest) -> str:
    """The package URL of an upstream release."""
    pairs = {"checksum": str(digest)} | ({"download_url": url} if url else {})
    return f"pkg:generic/{_quoted(name)}@{_quoted(version)}?{_qualifiers(pairs)}"


def package_purl(package: Package, *, source: bool = False) -> str:
    """The package URL of a distribution's package, or of its source."""
    kind = {"dpkg": "deb", "apk": "apk"}.get(package.manager, "generic")
    vendor, _, number = package.distribution.partition(" ")
    vendor = vendor or {"deb": "debian", "apk": "alpine"}.get(kind, "")
    name, version = (
        (package.source, package.source_version) if source else (package.name, package.version)
    )
    pairs = {"arch": "source" if source else package.architecture}
    if number:
        pairs["distro"] = f"{vendor}-{number}"
    pairs = {key: value for key, value in pairs.items() if value}
    place = f"{_quoted(vendor)}/" if vendor else ""
    tail = f"?{_qualifiers(pairs)}" if pairs else ""
    return f"pkg:{kind}/{place}{_quoted(name)}@{_quoted(version)}{tail}"


def image_purl(name: str, manifest: Digest, architecture: str) -> str:
    """The package URL of an image; `name` is its repository or recipe."""
    leaf = name.rpartition("/")[2].lower()
    return f"pkg:oci/{_quoted(leaf)}@sha256%3A{manifest.hex}?arch={_quoted(architecture)}"


def release_cpe(name: str, version: str) -> str:
    """A CPE 2.3 name that leaves the vendor open: recipes do not know it."""
    return f"cpe:2.3:a:*:{_cpe_word(name)}:{_cpe_word(version)}:*:*:*:*:*:*:*"


def _cpe_word(text: str) -> str:
    plain = re.sub(r"[^!-~]+", "_", text.lower())
    return re.sub(r"([^a-z0-9._-])", r"\\\1", plain) or "-"


def _quoted(text: str) -> str:
    return quote(text, safe="~")


def _qualifiers(pairs: Mapping[str, str]) -> str:
    return "&".join(f"{key}={quote(value, safe='~:/')}" for key, value in sorted(pairs.items()))
