"""Commands of a recipe on its root file system: running them, and laying what they changed.

The changes come as data (`minid.host.capture`); laying them is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

from minid.errors import ComposeError
from minid.formats.rootfs import Rootfs, with_parents
from minid.host.capture import CommandJob, run_commands
from minid.host.logfile import LogFile
from minid.model import Changes, Composed, Entry, Tree
from minid.store.blobs import Blobs


def run_job(
    job: CommandJob,
    tree: Tree,
    *,
    cache: Path,
    blobs: Blobs,
    log: LogFile,
    cancel: Event | None = None,
) -> Changes:
    """Run the commands on their layers, which show `tree`; what they changed, bytes in a blob.

    The environment is fixed, and SOURCE_DATE_EPOCH is the job's time. ComposeError, with the log's
    tail, where the tree has no shell, a command fails or passes a limit, or leaves what no layer
    can hold.
    """
    root = Rootfs(tree.entries)
    if root.file(root.resolve("bin/sh", follow_last=True)) is None:
        raise ComposeError(
            f"{job.where}: expected /bin/sh in the rootfs, got nothing",
            hint="commands run in the image's own shell; the busybox base has one",
        )
    environ = (f"SOURCE_DATE_EPOCH={job.mtime}", "TZ=UTC", "LC_ALL=C.UTF-8")
    try:
        with blobs.receive() as sink:
            changes = run_commands(
                replace(job, environ=environ),
                cache,
                write=sink.write,
                log=log.write,
                cancel=cancel,
            )
            blob = sink.commit()
    except ComposeError as error:
        raise ComposeError(error.message, hint=error.hint, log_tail=log.tail()) from error
    entries = (
        replace(entry, content=replace(entry.content, blob=blob)) if entry.content else entry
        for entry in changes.entries
    )
    return replace(changes, entries=tuple(entries))


def apply_changes(composed: Composed, changes: Changes, base: Tree) -> Composed:
    """`composed` with the changes in the recipe's own layer.

    What was touched and is as before (bytes, mode, owner, capabilities; for several names of one
    file, that they are) is no change. What was deleted leaves the layer it is in. Where something
    of `base` was deleted, or a folder of it is none any more, the image is flattened.
    """
    root = Rootfs(composed.tree.entries)
    changed = [entry for group in _groups(changes.entries) for entry in _differing(root, group)]
    turned = [entry.image_path for entry in changed if _turns(root.get(entry.image_path), entry)]
    below = {entry.image_path: entry for entry in base.entries}
    hidden = any(_turns(below.get(entry.image_path), entry) for entry in changed)
    payload, own = Rootfs(composed.payload), Rootfs(composed.own)
    gone = {*changes.deleted, *turned}
    for path in gone:
        if path.rpartition("/")[0] not in gone:  # else it goes with its folder
            for layer in (root, payload, own):
                layer.remove(path)
    for entry in changed:
        root.lay(entry)
        own.lay(entry)
    return Composed(
        tree=root.tree(),
        payload=payload.tree().entries,
        own=with_parents(own.tree().entries, root),
        flatten=composed.flatten or hidden or not below.keys().isdisjoint(changes.deleted),
        keys={**composed.keys, **_command_keys(composed, changed)},
    )


def _command_keys(composed: Composed, changed: list[Entry]) -> dict[str, tuple[str, ...]]:
    paths = [entry.image_path for entry in changed]
    return {path: (*composed.keys.get(path, ()), "commands") for path in paths}


def _groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Files with all of their names, in the order of the first; everything else alone."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        first = entry.target if entry.kind == "hardlink" else entry.image_path
        groups.setdefault(first, []).append(entry)
    return iter(groups.values())


def _differing(root: Rootfs, group: list[Entry]) -> list[Entry]:
    """The group, or nothing if it is as before. Hard links work inside one layer only, so a new
    name takes the file along."""
    first = group[0]
    same = all(_is_same(root, replace(first, image_path=one.image_path)) for one in group)
    return [] if same and len({_file_of(root, one) for one in group}) == 1 else group


def _is_same(root: Rootfs, entry: Entry) -> bool:
    before = root.file(entry.image_path) or root.get(entry.image_path)
    return before is not None and _facts(before) == _facts(entry)


def _facts(entry: Entry) -> tuple[object, ...]:
    digest = entry.content.digest if entry.content else None
    return (entry.kind, entry.mode, entry.uid, entry.gid, entry.target, digest, entry.xattrs)


def _file_of(root: Rootfs, entry: Entry) -> str:
    before = root.get(entry.image_path)
    return before.target if before and before.kind == "hardlink" else entry.image_path


def _turns(before: Entry | None, after: Entry) -> bool:
    """Whether a folder becomes something else, or something else a folder."""
    return before is not None and (before.kind == "directory") != (after.kind == "directory")
