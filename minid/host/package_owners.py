"""Which package of an environment owns a file, as the environment's own records have it.

The environment may be anybody's image: what it says is read inside its root, and in bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from minid.formats.debian_copyright import MAX_BYTES, read_copyright
from minid.formats.file_view import Walker
from minid.formats.package_databases import (
    listed_paths,
    read_apk_installed,
    read_diversions,
    read_dpkg_status,
    read_os_release,
)
from minid.formats.package_record import Package
from minid.host.view import DirectoryView

_SEEN = ("var/lib/dpkg", "lib/apk", "usr/lib/apk", "usr/share/doc", "etc/os-release", "usr/lib")
_MAX_FILE = 64 << 20
_MAX_LISTS = 20_000
_MAX_LISTED = 512 << 20  # bytes of all lists together
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")


def find_owners(root: Path, image_paths: Iterable[str]) -> dict[str, Package]:
    """The package that owns each file, by image path; files that nothing is known of are left out.

    `image_paths` are real paths below `root`. A merged /usr is seen through: records may have
    `/lib/x` for what lies at `/usr/lib/x`.
    """
    paths = tuple(image_paths)
    if not paths:
        return {}
    reader = _Reader(root)
    owners = reader.dpkg_owners(paths)
    left = [path for path in paths if path not in owners]
    owners |= reader.apk_owners(left)
    distribution = reader.distribution()
    return {path: replace(found, distribution=distribution) for path, found in owners.items()}


def _spellings(image_path: str) -> tuple[str, ...]:
    """The paths that records may have for a file."""
    bare = image_path.removeprefix("usr/")
    return tuple(dict.fromkeys((image_path, bare, f"usr/{bare}")))


class _Reader:
    def __init__(self, root: Path) -> None:
        self._view = DirectoryView(root, _SEEN)
        self._walker = Walker(self._view)

    def distribution(self) -> str:
        found = self._read("etc/os-release") or self._read("usr/lib/os-release")
        return read_os_release(found.decode("utf-8", "replace"))

    def dpkg_owners(self, paths: tuple[str, ...]) -> dict[str, Package]:
        moved = read_diversions(self._text("var/lib/dpkg/diversions"))
        diverted = dict(moved.values())
        wanted: dict[bytes, list[tuple[str, str]]] = {}  # line → (image path, not this package)
        for image_path in paths:
            for spelled in _spellings(image_path):
                line, other = moved.get(f"/{spelled}", (f"/{spelled}", ""))
                key = line.encode("utf-8", "surrogateescape")
                wanted.setdefault(key, []).append((image_path, other))
        names = self._search_lists(wanted, diverted)
        status = read_dpkg_status(
            self._text("var/lib/dpkg/status"), {name for name, _ in names.values()}
        )
        licensed: dict[Package, Package] = {}
        owners = {}
        for image_path, (name, architecture) in names.items():
            package = _match(status, name, architecture)
            if package is not None:
                if package not in licensed:
                    licensed[package] = self._with_license(package)
                owners[image_path] = licensed[package]
        return owners

    def _search_lists(
        self, wanted: Mapping[bytes, list[tuple[str, str]]], diverted: Mapping[str, str]
    ) -> dict[str, tuple[str, str]]:
        """Name and architecture, which may be empty, of the package that lists each path."""
        found: dict[str, tuple[str, str]] = {}
        folder = "var/lib/dpkg/info"
        lists = sorted(name for name in self._view.names_in(folder) if name.endswith(".list"))
        left = _MAX_LISTED
        for name in lists[:_MAX_LISTS]:
            package, _, architecture = name.removesuffix(".list").partition(":")
            data = self._read(f"{folder}/{name}", min(left, _MAX_FILE))
            left -= len(data)
            for line in listed_paths(data, wanted):
                holder = diverted.get(line.decode("utf-8", "surrogateescape"), "")
                for image_path, other in wanted[line]:
                    # Of a diverted path the diverter has the place, others were moved away.
                    if package == other or (holder and not other and package != holder):
                        continue
                    found.setdefault(image_path, (package, architecture))
        return found

    def _with_license(self, package: Package) -> Package:
        data = self._read(f"usr/share/doc/{package.name}/copyright", MAX_BYTES)
        expression, texts = read_copyright(data)
        return replace(package, license=expression, texts=texts)

    def apk_owners(self, paths: Iterable[str]) -> dict[str, Package]:
        spelled = {other: path for path in paths for other in _spellings(path)}
        for place in _APK:
            text = self._text(place) if spelled else ""
            if text:
                found = read_apk_installed(text, spelled)
                return {spelled[path]: package for path, package in found.items()}
        return {}

    def _text(self, image_path: str) -> str:
        return self._read(image_path).decode("utf-8", "surrogateescape")

    def _read(self, image_path: str, most: int = _MAX_FILE) -> bytes:
        """A file's bytes, at most so many; empty where there is none. Links are followed inside."""
        for found in self._walker.find(image_path):
            try:
                with self._view.open(found.image_path) as source:
                    return bytes(source[0 : min(len(source), most)])
            except OSError:
                continue
        return b""


def _match(
    status: Mapping[tuple[str, str], Package], name: str, architecture: str
) -> Package | None:
    if architecture:
        return status.get((name, architecture))
    return next((package for (other, _), package in status.items() if other == name), None)
