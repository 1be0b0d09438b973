"""One root file system in which commands run one after the other, and what they changed in it.

The namespace's side of `minid.host.capture`. The tree is looked at before and after, whatever lies
below it: so an overlay and a copy tell the same. See `container_server` for who starts processes.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH102, PTH112, PTH115

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from minid.errors import ComposeError
from minid.formats import runtime_spec
from minid.host import container_fs

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ENTRIES = 1_000_000
CAPABILITY = "security.capability"
_ROOT = {"uid": 0, "gid": 0, "extra": [], "home": "/root"}
_UMASK = 0o022
_KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}
_FOREIGN = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}
_PIECE = 1 << 20

_Row = list[Any]


class CommandSpace:
    """The root at `folder`/rootfs, laid from layer folders; a copy where `copied` says so."""

    def __init__(self, layers: list[str], folder: str, *, copied: bool) -> None:
        os.mkdir(folder)
        self.folder, self._root = folder, f"{folder}/rootfs"
        container_fs.lay_root(layers, folder, self._root, copied=copied, linked=False)
        self._sys = os.path.isdir("/sys/kernel")
        # The runtime would make these, and they would look like changes.
        for name in ("proc", "dev", *(("sys",) if self._sys else ())):
            if not os.path.lexists(f"{self._root}/{name}"):
                os.mkdir(f"{self._root}/{name}", 0o755)
        self._before = {path: _looks(seen) for path, seen in _scan(self._root)}

    def write_config(self, argv: list[str], environ: list[str], hostname: str) -> None:
        """Write what the runtime needs for one command, run as root with Docker's rights."""
        spec = runtime_spec.runtime_config(
            {"Env": environ}, _ROOT, argv=argv, hostname=hostname, sys=self._sys
        )
        spec["process"]["user"]["umask"] = _UMASK
        with open(f"{self.folder}/config.json", "w") as file:
            json.dump(spec, file)

    def find_changes(self, max_bytes: int) -> dict[str, Any]:
        """Rows of what is new or was touched, sorted by path, and the paths that went away.

        ComposeError for a kind that no layer holds, and for more than `max_bytes`.
        """
        rows: list[_Row] = []
        firsts: dict[tuple[int, int], str] = {}
        present = set()
        total = 0
        for path, seen in sorted(_scan(self._root), key=lambda found: os.fsencode(found[0])):
            present.add(path)
            if self._before.get(path) == _looks(seen):
                continue
            row = self._describe(path, seen, firsts)
            total += row[6]
            if total > max_bytes or len(rows) >= MAX_ENTRIES:
                raise ComposeError(
                    f"expected changes of at most {max_bytes} bytes in {MAX_ENTRIES} entries, "
                    f"got past it at /{_shown(path)}"
                )
            rows.append(row)
        return {"rows": rows, "deleted": sorted(self._before.keys() - present)}

    def _describe(
        self, path: str, seen: os.stat_result, firsts: dict[tuple[int, int], str]
    ) -> _Row:
        """path, kind, mode, uid, gid, target, size, capability in hex."""
        kind = _KINDS.get(stat.S_IFMT(seen.st_mode))
        full = f"{self._root}/{path}"
        if kind is None:
            got = _FOREIGN.get(stat.S_IFMT(seen.st_mode), "another kind")
            raise ComposeError(f"/{_shown(path)}: expected a file, folder or link, got {got}")
        target, size, capability = "", 0, ""
        if kind == "l":
            target = os.readlink(full)
        elif kind == "f":
            first = firsts.setdefault((seen.st_dev, seen.st_ino), path)
            if seen.st_nlink > 1 and first != path:
                kind, target = "h", first
            else:
                size, capability = seen.st_size, _capability(full)
        mode = stat.S_IMODE(seen.st_mode)
        return [path, kind, mode, seen.st_uid, seen.st_gid, target, size, capability]

    def send(self, changes: dict[str, Any], output: int) -> None:
        """Write a line with the changes as JSON, then the bytes of every file among them."""
        _write_all(output, json.dumps(changes).encode() + b"\n")
        for path, kind, *_ in changes["rows"]:
            if kind != "f":
                continue
            file = os.open(f"{self._root}/{path}", os.O_RDONLY | os.O_NOFOLLOW)
            while piece := os.read(file, _PIECE):
                _write_all(output, piece)
            os.close(file)


def _scan(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every path below the root, without a leading slash, in no order."""
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        with os.scandir(f"{root}/{parent}") as entries:
            for entry in entries:
                path = f"{parent}/{entry.name}" if parent else entry.name
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)


def _looks(seen: os.stat_result) -> tuple[int, ...]:
    """What differs once a file was touched: nobody in the container can set the change time."""
    inode = (seen.st_dev, seen.st_ino, seen.st_ctime_ns)
    return (*inode, seen.st_mode, seen.st_uid, seen.st_gid, seen.st_size, seen.st_mtime_ns)


def _capability(path: str) -> str:
    try:
        return os.getxattr(path, CAPABILITY, follow_symlinks=False).hex()
    except OSError:
        return ""


def _shown(path: str) -> str:
    return ascii(path)[1:-1]


def _write_all(output: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(output, view) :]
