"""What dpkg and apk write down about installed packages.

Sources of the formats: dpkg's `deb-control(5)`, `dpkg-divert(1)`, and the wiki page "Apk spec" of
Alpine Linux ("Installed Database V2").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Mapping

from minid.formats.package_record import Package
from minid.formats.spdx_license import need_expression

_SOURCE = re.compile(r"(\S+)(?:\s+\(([^)]+)\))?")


def read_dpkg_status(text: str, wanted: Collection[str]) -> dict[tuple[str, str], Package]:
    """Those installed packages whose names are wanted, by name and architecture."""
    found = {}
    for stanza in text.split("\n\n"):
        name = re.match(r"\s*Package: (\S+)", stanza)
        if name is None or name[1] not in wanted:
            continue
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed") or "Version" not in fields:
            continue
        version, architecture = fields["Version"], fields.get("Architecture", "")
        source = _SOURCE.fullmatch(fields.get("Source", "").strip())
        found[name[1], architecture] = Package(
            "dpkg",
            name[1],
            version,
            architecture,
            source=source[1] if source else name[1],
            source_version=(source[2] if source else None) or version,
        )
    return found


def read_diversions(text: str) -> dict[str, tuple[str, str]]:
    """Diversions: the path that a file was moved to → its own path, and the package that has its
    place now. Three lines each: from, to, package (`:` for one of the administrator's)."""
    lines = text.split("\n")
    triples = zip(lines[0::3], lines[1::3], lines[2::3], strict=False)
    return {moved: (path, package) for path, moved, package in triples if path.startswith("/")}


def listed_paths(data: bytes, wanted: Container[bytes]) -> list[bytes]:
    """Which of the wanted paths a package's `.list` has a line of."""
    return [line for line in dict.fromkeys(data.split(b"\n")) if line in wanted]


def read_apk_installed(text: str, wanted: Collection[str]) -> dict[str, Package]:
    """The packages that own the wanted image paths, by path, from apk's `installed`."""
    owners: dict[str, Package] = {}
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        folder, paths = "", []
        for line in stanza.split("\n"):
            key, value = line[:1], line[2:]
            if key == "F":
                folder = value
            elif key == "R":
                paths.append(f"{folder}/{value}" if folder else value)
            else:
                fields.setdefault(key, value)
        owned = [path for path in paths if path in wanted]
        if owned and fields.get("P") and fields.get("V"):
            owners.update(dict.fromkeys(owned, _apk_package(fields)))
    return owners


def _apk_package(fields: Mapping[str, str]) -> Package:
    expression, unknown = need_expression(fields.get("L", ""))
    return Package(
        "apk",
        fields["P"],
        fields["V"],
        fields.get("A", ""),
        source=fields.get("o") or fields["P"],
        source_version=fields["V"],
        license=expression,
        texts=tuple((expression, text) for text in unknown),
    )


def read_os_release(text: str) -> str:
    """`ID VERSION_ID` of os-release(5), such as `debian 12`; empty where there is none."""
    fields = dict(re.findall(r"^(ID|VERSION_ID)=[\"']?([A-Za-z0-9._~-]+)[\"']?\s*$", text, re.M))
    return f"{fields.get('ID', '')} {fields.get('VERSION_ID', '')}".strip()
