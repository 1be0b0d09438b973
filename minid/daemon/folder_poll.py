"""The recipes folder without events: what it looks like now, and which file systems need that."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from minid.daemon.folder_gather import recipe_of

# Path, then time of change and of inode change, size, inode: what tells two states apart.
Signature = tuple[str, int, int, int, int]
Snapshot = dict[str, tuple[Signature, ...]]

# Other machines write to these, and the kernel hears nothing of it.
_SILENT = re.compile(
    r"9p|afs|ceph|cifs|coda|fuse.*|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|prl_fs|smb3|smbfs"
    r"|vboxsf|virtiofs|vmhgfs"
)
_MOUNTS = Path("/proc/self/mountinfo")
_MAX_DEPTH = 16


def silent_file_system(folder: Path) -> str:
    """The type of the file system that the folder is on, where it tells no events; else ""."""
    try:
        return silent_mount(os.path.realpath(folder), _MOUNTS.read_text(errors="replace"))
    except OSError:
        return ""


def silent_mount(path: str, mounts: str) -> str:
    """The same of a resolved path and the text of `/proc/PID/mountinfo` (see proc(5))."""
    deepest, found = "", ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ").replace("\\134", "\\")
        inside = point in ("/", path) or path.startswith(point + "/")
        if inside and len(point) >= len(deepest):  # later mounts lie on earlier ones
            deepest, found = point, right.split(" ")[0]
    return found if _SILENT.fullmatch(found) else ""


def take_snapshot(folder: Path) -> Snapshot:
    """What every recipe's files look like, by recipe name. Empty where there is no folder."""
    found: dict[str, list[Signature]] = {}
    for relative, status in walk_files(folder):
        if name := recipe_of(relative):
            seen = (relative, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            found.setdefault(name, []).append(seen)
    return {name: tuple(sorted(files)) for name, files in found.items()}


def walk_files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files below the folder as relative paths. A link in the folder itself is followed, further
    down none is: a recipe may not name what lies outside its folder."""
    for relative, status in _list_folder(str(folder), "", follow=True):
        yield relative, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk_below(str(folder), relative)


def walk_folders(folder: Path, relative: str = "") -> Iterator[str]:
    """The folders below `relative` in the folder, without hidden ones, as relative paths."""
    below = _walk_below(str(folder), relative) if relative else walk_files(folder)
    for path, status in below:
        if stat.S_ISDIR(status.st_mode):
            yield path


def _walk_below(folder: str, relative: str) -> Iterator[tuple[str, os.stat_result]]:
    waiting = [(relative, 1)]
    while waiting:
        parent, depth = waiting.pop()
        for path, status in _list_folder(folder, parent, follow=False):
            yield path, status
            if stat.S_ISDIR(status.st_mode) and depth < _MAX_DEPTH:
                waiting.append((path, depth + 1))


def _list_folder(
    folder: str, relative: str, *, follow: bool
) -> Iterator[tuple[str, os.stat_result]]:
    prefix = f"{relative}/" if relative else ""
    try:
        with os.scandir(f"{folder}/{relative}") as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                status = _look(entry, follow=follow)
                if status is not None:
                    yield prefix + entry.name, status
    except OSError:
        return


def _look(entry: os.DirEntry[str], *, follow: bool) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=follow)
    except OSError:
        pass
    try:
        return entry.stat(follow_symlinks=False)  # a link to nothing is a file with a problem
    except OSError:
        return None
