"""How a root file system that people worked in differs from the tree that it was laid from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from minid.formats.digest import Digest
from minid.formats.rootfs import Rootfs
from minid.formats.tree import path_key
from minid.model import Entry, Tree

Letter = Literal["A", "M", "D"]

# What lies in every container and is nobody's work: mount points, where the image has none.
_MOUNTED_FOLDERS = ("dev", "proc", "sys")
_MOUNTED_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies at a path now. `kind` is that of an entry but for hard links, which are files here,
    or `fifo`, `socket`, `block device`, `character device`.

    `own` is false where the file is known to be the image's, so that its bytes need no look.
    `capability` is the xattr security.capability.
    """

    image_path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: float = 0.0
    size: int = 0
    target: str = ""
    capability: bytes = b""
    own: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs. `letter` is git's: A added, M modified, D deleted.

    `what` has, of a modified one, some of: kind, bytes, mode, owner, target, capabilities. `before`
    is the image's entry, a hard link as the file it is a name of.
    """

    image_path: str
    letter: Letter
    what: tuple[str, ...] = ()
    before: Entry | None = None
    after: Seen | None = None


def files_to_read(tree: Tree, seen: Iterable[Seen]) -> list[str]:
    """The paths whose bytes decide whether they changed: files of the same size as before."""
    root = Rootfs(tree.entries)
    found = []
    for item in seen:
        if item.own and item.kind == "file":
            before = root.file(item.image_path)
            if before is not None and before.content and before.content.size == item.size:
                found.append(item.image_path)
    return found


def find_changes(
    tree: Tree, seen: Iterable[Seen], digests: Mapping[str, Digest]
) -> tuple[Change, ...]:
    """Every path that was added, modified or deleted, sorted; times alone are no change.

    `digests` are those of the paths of `files_to_read`; one that is missing counts as changed.
    """
    root = Rootfs(tree.entries)
    now = {item.image_path: item for item in seen}
    used = {path.rpartition("/")[0] for path in now}
    changes = []
    for path, item in now.items():
        before = root.file(path) or root.get(path)
        if before is None:
            if not _is_mount_point(item, used):
                changes.append(Change(path, "A", (), None, item))
        elif what := _differences(before, item, digests):
            changes.append(Change(path, "M", what, before, item))
    for entry in tree.entries:
        if entry.image_path and entry.image_path not in now:
            before = root.file(entry.image_path) or entry
            changes.append(Change(entry.image_path, "D", (), before, None))
    return tuple(sorted(changes, key=lambda change: path_key(change.image_path)))


def _is_mount_point(item: Seen, used: set[str]) -> bool:
    if item.image_path in _MOUNTED_FOLDERS:
        return item.kind == "directory" and item.image_path not in used
    return item.image_path in _MOUNTED_FILES and item.kind == "file" and not item.size


def _differences(before: Entry, now: Seen, digests: Mapping[str, Digest]) -> tuple[str, ...]:
    if before.kind != now.kind:
        return ("kind",)
    capability = dict(before.xattrs).get("security.capability", b"")
    link = now.kind == "symlink"  # a link has no mode of its own
    facts = {
        "bytes": _other_bytes(before, now, digests),
        "mode": not link and before.mode != now.mode,
        "owner": (before.uid, before.gid) != (now.uid, now.gid),
        "target": link and before.target != now.target,
        "capabilities": now.kind == "file" and capability != now.capability,
    }
    return tuple(name for name, differs in facts.items() if differs)


def _other_bytes(before: Entry, now: Seen, digests: Mapping[str, Digest]) -> bool:
    if now.kind != "file" or not now.own or before.content is None:
        return False
    if before.content.size != now.size:
        return True
    return digests.get(now.image_path) != before.content.digest
