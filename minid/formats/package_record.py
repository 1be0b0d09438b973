"""Packages of a distribution as a payload's report keeps them: who owns a file that was copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package. `manager` is dpkg or apk, `distribution` as in os-release, such as
    `debian 12`.

    `source` and `source_version` are those of the source package. `license` is an SPDX expression
    and may be empty: not known. `texts` has the text of each of its LicenseRef- names.
    """

    manager: str
    name: str
    version: str
    architecture: str = ""
    source: str = ""
    source_version: str = ""
    license: str = ""
    texts: tuple[tuple[str, str], ...] = ()
    distribution: str = ""


def dump_package(package: Package) -> dict[str, object]:
    """The package as JSON values."""
    return asdict(package) | {"texts": [list(pair) for pair in package.texts]}


def parse_package(value: Mapping[str, object]) -> Package:
    """Read what `dump_package` wrote; ValueError for anything else."""
    texts = value.get("texts") or []
    if not isinstance(texts, list):
        raise ValueError("expected a package of a report")
    words = {name: str(text) for name, text in value.items() if name != "texts"}
    try:
        return Package(**words, texts=tuple((str(name), str(text)) for name, text in texts))
    except TypeError as error:
        raise ValueError(f"expected a package of a report: {error}") from None
