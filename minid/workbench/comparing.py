"""How two images differ, or an image and a container: files, libraries, configuration, packages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from minid.errors import UsageError
from minid.formats.digest import Digest
from minid.formats.image_edit import FieldChange, compare_configs
from minid.formats.layer_tree import LayerTree
from minid.formats.rootfs import Rootfs
from minid.formats.tree import path_key
from minid.line.origins import Story
from minid.model import Entry, Tree

Letter = Literal["A", "M", "D"]
# What an engine lays into every container, where the image has none.
_ENGINES = frozenset(
    {
        ".dockerenv",
        "dev",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "etc",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc",
        "sys",
    }
)
# Of a container's configuration, what it shares with an image's.
_SHARED = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)
_LIBRARY = re.compile(r"(.+)\.so(?:\.[^/]*)?")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. `packages` are name → version of what it was made from; None where that is
    not known. `manifest` is empty for a container."""

    name: str
    tree: Tree
    config: Mapping[str, Any]
    packages: Mapping[str, str] | None
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A path that differs; `letter` as git has it. Hard links are the file that they name.

    `what` has, of a modified one, some of: kind, bytes, mode, owner, target, capabilities.
    """

    image_path: str
    letter: Letter
    before: Entry | None
    after: Entry | None
    what: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A library or a package on both sides; empty where it is not there."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs. `packages` is None where one side's are not known."""

    files: tuple[FileChange, ...]
    libraries: tuple[Pair, ...]
    config: tuple[FieldChange, ...]
    packages: tuple[Pair, ...] | None

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.files or self.config or self.packages)


def stored_side(name: str, story: Story) -> Side:
    """An image of the store."""
    known = story.report.get("source") is not None
    packages = _packages_of(story) if known or story.recipe else None
    return Side(name, story.tree, story.config, packages, story.manifest)


def _packages_of(story: Story) -> dict[str, str]:
    found: dict[str, str] = {}
    below: Story | None = story
    while below is not None:
        if below.recipe:
            found.setdefault(below.recipe, below.version)
        for need in below.report.get("needs") or ():
            found.setdefault(str(need["name"]), str(need["version"]))
        for package in below.packages:
            found.setdefault(package.name, package.version)
        below = below.base
    return found


def container_side(name: str) -> Side:
    """A container of Docker's, running or not, as its file system is now.

    UsageError where there is none, HostError where no engine answers, UnpackError for what cannot
    be read in bounds.
    """
    from minid.host.container_export import container_config, container_files

    bare = name.removeprefix("container:")
    if not bare:
        raise UsageError(f"expected container:NAME, got {name!r}", hint="`docker ps -a` lists them")
    config = container_config(bare)
    laid = LayerTree()
    with container_files(bare) as (_, chunks):
        laid.lay(Digest.of(bare.encode()), chunks)
    shared = {key: config[key] for key in _SHARED if config.get(key)}
    return Side(name, laid.tree(), {"config": shared}, None)


def compare_sides(left: Side, right: Side) -> Difference:
    """What was done to the left to get the right. Times alone are no difference."""
    engine = {side.name for side in (left, right) if not side.manifest}
    files = tuple(_compare_files(left, right))
    config = compare_configs(left.config, right.config)
    packages = None
    if left.packages is not None and right.packages is not None:
        packages = _pairs(left.packages, right.packages)
    return Difference(
        files,
        _compare_libraries(left.tree, right.tree, files),
        tuple(item for item in config if not engine or item.field not in ("author", "comment")),
        packages,
    )


def _compare_files(left: Side, right: Side) -> Iterator[FileChange]:
    roots = Rootfs(left.tree.entries), Rootfs(right.tree.entries)
    paths = {entry.image_path for side in (left, right) for entry in side.tree.entries}
    for path in sorted(paths - {""}, key=path_key):
        before, after = (root.file(path) or root.get(path) for root in roots)
        if after is None and before is not None:
            if not _is_engines(left, before):
                yield FileChange(path, "D", before, None)
        elif before is None and after is not None:
            if not _is_engines(right, after):
                yield FileChange(path, "A", None, after)
        elif before and after and (what := _what_differs(before, after)):
            yield FileChange(path, "M", before, after, what)


def _is_engines(side: Side, entry: Entry) -> bool:
    empty = entry.content is None or not entry.content.size
    return not side.manifest and entry.image_path in _ENGINES and empty


def _what_differs(before: Entry, after: Entry) -> tuple[str, ...]:
    if before.kind != after.kind:
        return ("kind",)
    digests = [entry.content.digest if entry.content else None for entry in (before, after)]
    capabilities = [dict(entry.xattrs).get("security.capability", b"") for entry in (before, after)]
    facts = {
        "bytes": digests[0] != digests[1],
        "mode": before.kind != "symlink" and before.mode != after.mode,
        "owner": (before.uid, before.gid) != (after.uid, after.gid),
        "target": before.kind == "symlink" and before.target != after.target,
        "capabilities": capabilities[0] != capabilities[1],
    }
    return tuple(name for name, differs in facts.items() if differs)


def _compare_libraries(left: Tree, right: Tree, files: Sequence[FileChange]) -> tuple[Pair, ...]:
    changed = {_library(change.image_path) for change in files if "bytes" in change.what}
    before, after = _libraries(left), _libraries(right)
    return tuple(
        Pair(name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) or name in changed
    )


def _libraries(tree: Tree) -> dict[str, str]:
    """Shared objects by their name without a version → their names."""
    found: dict[str, list[str]] = {}
    for entry in tree.entries:
        name = _library(entry.image_path)
        if entry.kind == "file" and name:
            found.setdefault(name, []).append(entry.image_path.rpartition("/")[2])
    return {name: " ".join(sorted(files)) for name, files in found.items()}


def _library(image_path: str) -> str:
    found = _LIBRARY.fullmatch(image_path.rpartition("/")[2])
    return found[1] if found else ""


def _pairs(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Pair, ...]:
    return tuple(
        Pair(name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )
