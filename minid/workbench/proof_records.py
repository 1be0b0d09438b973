"""Invariants of the records and of what lives: tags, database, quiescence."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.host.files import is_abandoned, unfinished_files
from minid.store.lease import dead_leases, living_leases
from minid.store.lock import lock_holder
from minid.store.reach import Retention, blobs_of, find_reached
from minid.store.records import PublicationRow
from minid.workbench.proof import Case, Finding

_STORE = "store"
_BEGIN_S = 0.05
_NAME = "org.opencontainers.image.ref.name"
_MOUNTS = Path("/proc/self/mountinfo")


def prove_tags(case: Case) -> Iterator[Finding]:
    """The layout's index is what the records say; each tag came to where it is step by step, by a
    run whose check passed or by an edit."""
    tags = {row.name: row.manifest for row in case.records.tags()}
    if case.whole:
        yield from _index(case, tags)
    shown = {name for _, names in case.tagged.values() for name in names}
    for name in sorted(shown):
        history = case.records.publications(name, _STORE, limit=-1)[::-1]
        text = _history_fault(history, tags[name]) or _mover_fault(case, history[-1])
        if text:
            yield Finding("tags", name, text)


def _index(case: Case, tags: dict[str, str]) -> Iterator[Finding]:
    path = case.blobs.root / "index.json"
    try:
        manifests = json.loads(path.read_bytes())["manifests"]
        found = {item["annotations"][_NAME]: item["digest"] for item in manifests}
    except (OSError, ValueError, KeyError, TypeError):
        if tags or path.exists():
            yield Finding("tags", "index.json", "expected an index of the tags, got other bytes")
        return
    for name in sorted(tags.keys() | found.keys()):
        if tags.get(name) != found.get(name):
            wanted, got = tags.get(name, "no tag"), found.get(name, "no tag")
            yield Finding("tags", f"index.json: {name}", f"expected {wanted}, got {got}")


def _history_fault(history: list[PublicationRow], manifest: str) -> str:
    """What is wrong with the moves of a tag, oldest first; empty where nothing is."""
    if not history:
        return "expected to know how the tag came here, got nothing"
    before = ""
    for move in history:
        if move.from_manifest != before:
            return f"expected a move from {before or 'nowhere'}, got one from {move.from_manifest}"
        before = move.to_manifest
    return "" if before == manifest else f"expected the tag at {before}, got it at {manifest}"


def _mover_fault(case: Case, move: PublicationRow) -> str:
    """What is wrong with who moved a tag last; empty where nothing is."""
    if move.edit:
        from minid.store.edits import Edits

        edit = Edits(case.records.database).edit(move.edit)
        fits = edit is not None and edit.to_manifest == move.to_manifest
        return "" if fits else f"expected edit {move.edit} to be of this image, got another"
    run = case.records.run(move.run)
    if run is None:
        return f"expected run {move.run}, got none"
    checked = any(stage.name == "check" for stage in case.records.stages(move.run))
    passed = run.status in ("ok", "running") or checked
    return "" if passed else f"expected run {move.run} to have passed its check, got {run.status}"


def prove_database(case: Case) -> Iterator[Finding]:
    """SQLite finds nothing wrong, and what is marked as running has somebody who runs it."""
    query = case.records.database.query
    try:
        for (text,) in query("PRAGMA integrity_check(20)"):
            if text != "ok":
                yield Finding("database", "records.sqlite", f"expected a sound file, got: {text}")
        for table, row, parent, _ in query("PRAGMA foreign_key_check"):
            where = f"records.sqlite: {table} {row}"
            yield Finding("database", where, f"expected its row of {parent}, got none")
        running = query("SELECT id, recipe FROM runs WHERE status = 'running'")
    except StoreError as error:
        yield Finding("database", "records.sqlite", error.message)
        return
    if running and not lock_holder(case.config.paths.state / "lock"):
        for number, recipe in running:
            text = "expected a process that runs it, got none"
            yield Finding("database", f"run {number} of {recipe}", text)


def prove_quiescence(case: Case) -> Iterator[Finding]:
    """What was left by processes that are gone, and what `minid gc` would remove though a tag
    needs it."""
    if not case.whole:
        return
    paths = case.config.paths
    places = [*_listed(paths.store / "tmp"), *_listed(paths.jobs)]
    # The places first: who has one had its lease before.
    living, builder = living_leases(paths.leases).keys(), lock_holder(paths.state / "lock")
    for path in places:
        owned = path.name in living if path.name.startswith(("guest-", "run-")) else bool(builder)
        if not owned and os.path.lexists(path):
            where = str(path.relative_to(paths.state))
            yield Finding("quiescence", where, "expected a process that works there, got none")
    for path in unfinished_files(paths.store):
        if is_abandoned(path):
            yield Finding("quiescence", f"store/{path.name}", "expected a process that writes it")
    for name in _dead_for_long(paths.leases):
        yield Finding("quiescence", f"leases/{name}", "expected a process that holds it, got none")
    for mount in _mounts(paths.state):
        yield Finding("quiescence", mount, "expected nothing mounted, got a mount")
    if not builder and not living:
        for pid in _processes(paths.jobs):
            yield Finding("quiescence", f"process {pid}", "expected no process in a job folder")
    yield from _needed_and_unreached(case)


def _dead_for_long(leases: Path) -> list[str]:
    """Leases without a holder; one that begins is not held for an instant."""
    found = dead_leases(leases)
    if found:
        time.sleep(_BEGIN_S)
    return sorted(set(found) & set(dead_leases(leases))) if found else []


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _mounts(state: Path) -> list[str]:
    with suppress(OSError):
        lines = _MOUNTS.read_text(errors="replace").splitlines()
        points = [line.split(" ")[4] for line in lines]
        return [point for point in points if point.startswith(f"{state}/")]
    return []


def _processes(jobs: Path) -> Iterator[int]:
    """Processes that have their root or their working folder below that of the jobs."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                places = [str((process / name).readlink()) for name in ("cwd", "root")]
                if any(place.startswith(f"{jobs}/") for place in places):
                    yield int(process.name)


def _needed_and_unreached(case: Case) -> Iterator[Finding]:
    retention = Retention(usual=case.config.keep, now=0.0)
    try:
        reached = find_reached(case.records.database, retention)
    except StoreError:
        return  # `rows` tells of what cannot be read
    for detail, tags in case.tagged.values():
        lost: set[Digest] = set(blobs_of(detail)) - reached.blobs
        for digest in sorted(lost, key=lambda item: item.hex):
            text = "expected to be kept for this image, got it among what would be collected"
            yield Finding("quiescence", f"{', '.join(tags)}: blob {digest}", text, digest)
