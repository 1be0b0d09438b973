"""The workbenches of a working folder: one folder for each name, below `workbench` of the state.

    bench.json   what it stands on, written last: without it there is no workbench
    tree.json    that root's files, as the store keeps trees
    lock         locked by whoever opened it, for as long as their namespace lives
    guests       locked, shared, by those who came in later
    ids-…        the files themselves, see `minid.host.bench_server`

It holds all that it needs: the image may leave the store meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from minid.errors import HostError, StoreError, UsageError
from minid.formats.changes import Change, files_to_read, find_changes
from minid.formats.digest import Digest
from minid.formats.rootfs import Rootfs
from minid.formats.tree import parse_tree
from minid.host.files import remove_tree, write_file
from minid.model import Tree
from minid.store.blobs import Blobs
from minid.store.contents import read_content, write_tar_file
from minid.workbench.shell_source import Source

if TYPE_CHECKING:
    from minid.host.bench_container import BenchContainer
    from minid.host.bench_tools import ToolRoot

_META, _TREE, _TAR = "bench.json", "tree.json", "root.tar"
_LOCK, _GUESTS = "lock", "guests"
_OPENING_S = 120.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A workbench on disk. `layer` is the digest of its root as one tar."""

    place: Path
    source: Source
    layer: Digest

    def tree(self) -> Tree:
        """The files of what it stands on."""
        return parse_tree((self.place / _TREE).read_bytes())


def benches_folder(state: Path) -> Path:
    """Where the workbenches of a working folder lie."""
    return state / "workbench"


def list_benches(state: Path) -> list[Bench]:
    """Every workbench."""
    folder = benches_folder(state)
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    return [bench for place in places if (bench := _load(place)) is not None]


def needed_blobs(state: Path) -> frozenset[Digest]:
    """What workbenches need of the store: to write their difference into a recipe."""
    found: set[Digest] = set()
    for bench in list_benches(state):
        found.add(Digest.parse(bench.source.tree))
        contents = (entry.content for entry in bench.tree().entries)
        found |= {content.blob for content in contents if content and content.blob}
    return frozenset(found)


def find_bench(state: Path, name: str) -> Bench | None:
    """The workbench of that name."""
    return _load(_place(state, name))


def _place(state: Path, name: str) -> Path:
    return benches_folder(state) / quote(os.fsencode(name), safe=":@+,=")


def _load(place: Path) -> Bench | None:
    try:
        value = json.loads((place / _META).read_bytes())
        source = value["source"]
        made = Source(**source | {"environ": tuple(map(str, source["environ"]))})
        return Bench(place, made, Digest(value["layer"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError):
        raise StoreError(
            f"{place / _META}: expected what the workbench stands on, got other bytes",
            hint=f"remove {place}",
        ) from None


def make_bench(state: Path, source: Source, blobs: Blobs) -> Bench:
    """A new workbench on that root, whole or not at all."""
    place = _place(state, source.name)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _lock(place, _LOCK, fcntl.LOCK_EX, wait=True):
        found = _load(place)
        if found is not None:  # another was quicker
            return found
        data = blobs.read(Digest.parse(source.tree))
        layer = _write_tar(place / _TAR, parse_tree(data), blobs)
        write_file(place / _TREE, data)
        meta = {"source": asdict(source), "layer": layer.hex}
        write_file(place / _META, json.dumps(meta, indent=2).encode())
    return Bench(place, source, layer)


def _write_tar(path: Path, tree: Tree, blobs: Blobs) -> Digest:
    """The root as one tar; its digest."""
    # Of an image from elsewhere there may be attributes that no namespace may set.
    entries = (
        replace(
            entry,
            xattrs=tuple(item for item in entry.xattrs if item[0] == "security.capability"),
        )
        if entry.xattrs
        else entry
        for entry in tree.entries
    )
    return write_tar_file(path, entries, read_content(blobs))


@contextmanager
def open_bench(
    bench: Bench,
    blobs: Blobs,
    *,
    tools: tuple[ToolRoot, ...] = (),
    copied: bool = False,
    alone: bool = False,
    waiting: Callable[[], object] | None = None,
) -> Iterator[BenchContainer]:
    """The workbench, ready to work in; beside others who have it open.

    With `waiting` others may come in meanwhile. Who opened it first leaves it last: `waiting` is
    called once where others are in it still. Without, it must be for a moment only. `alone` is to
    remove it: its root is not laid then, and StoreError where others have it open.
    """
    from minid.host.bench_container import BenchContainer, BenchJob, keeper_lives
    from minid.host.container import LayerFile

    while True:
        with ExitStack() as stack:
            lock, joined = stack.enter_context(_enter(bench, alone=alone))
            job = BenchJob(
                place=bench.place,
                layer=LayerFile(bench.layer, bench.place / _TAR),
                lock=lock,
                join=joined,
                copied=copied,
                laid=not alone,
                open=waiting is not None,
                tools=tools,
                has_shell=not tools or has_shell(bench.tree()),
            )
            if not joined:
                (bench.place / "keeper").unlink(missing_ok=True)
                if not alone:
                    _need_tar(bench, blobs)
            try:
                container = stack.enter_context(BenchContainer(job))
            except HostError:
                if joined and not keeper_lives(joined):
                    continue  # who opened it was killed just now
                raise
            (bench.place / _TAR).unlink(missing_ok=True)
            yield container
            if not joined and waiting is not None:
                _wait_for_guests(bench.place, waiting)
            return


@contextmanager
def _enter(bench: Bench, *, alone: bool) -> Iterator[tuple[int, int]]:
    """The lock as a descriptor and 0; where another has it, one that keeps that one waiting, and
    the pid whose namespaces to join."""
    from minid.host.bench_container import keeper_pid

    end = time.monotonic() + _OPENING_S
    while time.monotonic() < end:
        with _lock(bench.place, _LOCK, fcntl.LOCK_EX) as lock:
            if not (bench.place / _META).is_file():
                raise UsageError(f"{bench.source.name}: expected a workbench, got one just removed")
            if lock >= 0:
                yield lock, 0
                return
            if alone and (pid := keeper_pid(bench.place)):
                raise StoreError(
                    f"{bench.source.name}: expected nobody in the workbench, got a shell that is "
                    f"open (process {pid})",
                    hint="end it first",
                )
        with _lock(bench.place, _GUESTS, fcntl.LOCK_SH) as guest:
            pid = keeper_pid(bench.place)
            if guest >= 0 and pid and _is_locked(bench.place):
                yield guest, pid
                return
        time.sleep(0.02)
    raise StoreError(f"{bench.source.name}: expected to enter the open shell, got no way in")


def _is_locked(place: Path) -> bool:
    with _lock(place, _LOCK, fcntl.LOCK_SH) as lock:
        return lock < 0


def _wait_for_guests(place: Path, waiting: Callable[[], object]) -> None:
    """Return when nobody else is in the workbench, and let nobody in any more."""
    guests = os.open(place / _GUESTS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(guests, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(guests, fcntl.LOCK_EX)
        (place / "keeper").unlink(missing_ok=True)  # before others can come in again
    finally:
        os.close(guests)


def has_shell(tree: Tree) -> bool:
    """Whether there is /bin/sh in a root."""
    root = Rootfs(tree.entries)
    return root.file(root.resolve("bin/sh", follow_last=True)) is not None


def _need_tar(bench: Bench, blobs: Blobs) -> None:
    """Have the root's tar where it is not unpacked for this user's ids yet."""
    from minid.host import idmap

    unpacked = bench.place / idmap.plan_mapping().name / bench.layer.hex
    if unpacked.is_dir() or (bench.place / _TAR).is_file():
        return
    _write_tar(bench.place / _TAR, bench.tree(), blobs)


@contextmanager
def _lock(place: Path, name: str, kind: int, *, wait: bool = False) -> Iterator[int]:
    """A lock of the workbench as a descriptor, or -1 where another has it."""
    lock = os.open(place / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield -1
            return
        yield lock
    finally:
        os.close(lock)


def look(container: BenchContainer, tree: Tree) -> tuple[Change, ...]:
    """What differs in an open workbench from the root that it stands on."""
    seen = container.scan()
    return find_changes(tree, seen, read_digests(container, files_to_read(tree, seen)))


def read_digests(container: BenchContainer, paths: list[str]) -> dict[str, Digest]:
    """The digests of files in the workbench."""
    import hashlib

    running = {path: hashlib.sha256() for path in paths}
    container.read_files(paths, lambda path, piece: running[path].update(piece))
    return {path: Digest(one.hexdigest()) for path, one in running.items()}


def restore(container: BenchContainer, tree: Tree, paths: list[str]) -> tuple[Change, ...]:
    """Bring paths, and all below them, back to what the workbench stands on; what had differed.

    UsageError, with nothing done, where a path is neither of the root nor was added.
    """
    before = look(container, tree)
    root = Rootfs(tree.entries)
    changed = {change.image_path for change in before}
    wanted = [_find_path(path, root, changed) for path in paths]
    if "" in wanted:
        wanted = [change.image_path for change in before]
    container.restore(list(dict.fromkeys(wanted)))
    after = {change.image_path for change in look(container, tree)}
    return tuple(change for change in before if change.image_path not in after)


def _find_path(path: str, root: Rootfs, changed: set[str]) -> str:
    if not path:  # a script's variable that is not set is no wish to lose everything
        raise UsageError("--restore: expected a path, got nothing", hint="`/` is everything")
    plain = os.path.normpath("/" + path).strip("/")
    for image_path in (plain, root.resolve(plain, follow_last=False)):
        below = f"{image_path}/"
        if not image_path or image_path in changed or root.get(image_path) is not None:
            return image_path
        if any(other.startswith(below) for other in changed):
            return image_path
    raise UsageError(
        f"--restore: expected a path of the root, or one that was added, got {path!r}",
        hint="--status lists what differs",
    )


def discard(bench: Bench, blobs: Blobs) -> None:
    """Remove a workbench with all that was done in it; StoreError while a shell is open."""
    with open_bench(bench, blobs, alone=True) as container:
        (bench.place / _META).unlink()  # from here on there is none
        container.clear()
    remove_tree(bench.place)
