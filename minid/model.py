"""The frozen values that pass from step to step, in the words of docs/words.md.

Paths inside an image are plain strings named `image_path`, relative to the root without a leading
slash (`usr/bin/nginx`), because trees hold thousands of them and sort by their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from minid.formats.digest import Digest

EntryKind = Literal["file", "directory", "symlink", "hardlink"]


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one file: either inline (`data`), or `size` bytes at `offset` of a stored blob.

    `digest` is of the file's bytes alone. Exactly one of `data` and `blob` is set.
    """

    digest: Digest
    size: int
    blob: Digest | None = None
    offset: int = 0
    data: bytes | None = None

    @staticmethod
    def inline(data: bytes) -> Content:
        """Content that is held in memory, for small files that minid itself writes."""
        return Content(digest=Digest.of(data), size=len(data), data=data)


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a tree. Ownership and mode are data: nothing on disk is ever chowned.

    `target` is a symlink's text, or a hard link's image path within the same tree. `mtime` is in
    whole seconds since the epoch.
    """

    image_path: str
    kind: EntryKind
    mode: int
    mtime: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    content: Content | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """A file tree: entries sorted bytewise by path, parents explicit, every path once."""

    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Composed:
    """A root file system as layers. `payload` and `own` lie on the base in this order.

    `flatten` is true where the recipe removed something of the base: layers only add here, without
    whiteouts, so the image then gets one layer of its own with everything. `keys` has, by image
    path, the recipe's keys below `rootfs` that placed or changed what lies there.
    """

    tree: Tree
    payload: tuple[Entry, ...]
    own: tuple[Entry, ...]
    flatten: bool
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What commands did to a root file system.

    `entries`, sorted, are new or were touched, and may be as they were before. Each file with
    several names is there once as a file, with hard links to it. `deleted` are the image paths that
    were there and are not.
    """

    entries: tuple[Entry, ...] = ()
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Archive:
    """An upstream archive in the store. `origin` is the URL that gave it, or `store`.

    `notes` are the places tried before it and why each failed, a line each.
    """

    file_name: str
    digest: Digest
    size: int
    origin: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file is in a payload. `via` names the file or rule that asked for it.

    `how` is one of: installed, needed, interpreter, dlopen-note, symbol-rule, listed, link, script.
    """

    image_path: str
    how: str
    via: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file of a payload that was copied: from `source` in the environment, or from the install
    tree of the library recipe of that number among those that the recipe needs."""

    image_path: str
    source: str
    need: int | None = None


@dataclass(frozen=True, slots=True)
class DropCount:
    """What one rule of the drop list removed."""

    rule: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StripRequest:
    """ELF files to strip with one option, by image path: programs or shared objects."""

    option: Literal["--strip-all", "--strip-unneeded"]
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Payload:
    """The files of an install tree that stay, with their closure, ready to be laid on a base.

    `reasons` has every file and link of `tree` once, `taken` every file that the recipe's own build
    did not install. `stripped_bytes` and `linked_bytes` are what stripping and linking of equal
    files saved.
    """

    tree: Tree
    reasons: tuple[Reason, ...] = ()
    drops: tuple[DropCount, ...] = ()
    stripped_bytes: int = 0
    linked_bytes: int = 0
    warnings: tuple[str, ...] = ()
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """A toolchain's file system. `root` is `/` for the machine's own; `digest` is part of keys.

    `packages` lists `name=version` of what is installed, for the record.
    """

    name: str
    kind: Literal["host", "debian", "image"]
    root: str
    digest: Digest
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandboxed command may use. Sizes in bytes, times in seconds; None means no limit."""

    wall_s: float = 7200
    silence_s: float = 1800
    cpu_s: int = 14400
    memory_bytes: int = 8 << 30
    file_bytes: int = 8 << 30
    disk_bytes: int = 20 << 30
    inodes: int = 2_000_000
    processes: int = 4096
    open_files: int = 4096
    log_bytes: int = 256 << 20
    tmp_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image: the digest of its tar (`diff_id`) and of its gzip (`digest`)."""

    diff_id: Digest
    digest: Digest
    size: int
    unpacked_size: int
    created_by: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The three sizes minid prints, in bytes."""

    unpacked: int
    layers: int
    archive: int


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store: its manifest and config, and the layers from the base upwards."""

    recipe: str
    version: str
    manifest: Digest
    config: Digest
    layers: tuple[Layer, ...]
    sizes: Sizes
    tags: tuple[str, ...]
    created: int


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication moved, as `target name`, and what a person should know."""

    moved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one smoke test saw."""

    name: str
    passed: bool
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What all smoke tests of an image saw, with the audit that followed."""

    runner: str
    results: tuple[CheckResult, ...]
    libraries: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    output_tail: tuple[str, ...] = ()
    log: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every smoke test passed."""
        return all(result.passed for result in self.results)
