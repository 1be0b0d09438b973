"""Invariants of the store's files: content, rows, files."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from minid.formats.digest import Digest
from minid.host.files import unfinished_files
from minid.store.blobs import named_blob
from minid.store.reach import blobs_of, parse_row
from minid.workbench.proof import Case, Finding

QUARANTINE = "quarantine"
_KNOWN = {"oci-layout", "index.json", "blobs", "tmp", QUARANTINE}
_MODE = 0o444
_LINK_S = 0.3
_CHUNK = 1 << 20


def prove_content(case: Case) -> Iterator[Finding]:
    """Each blob by its looks, by the sizes that records state, and with `contents` by its hash."""
    digests = _present(case) if case.whole else sorted(_named(case), key=lambda item: item.hex)
    sizes = _stated_sizes(case)
    sound = []
    for digest in digests:
        path = case.blobs.path(digest)
        try:
            found = _settled(path)
        except FileNotFoundError:
            continue  # `rows` tells of what is missing
        wrong = _looks(found, sizes.get(digest))
        if wrong:
            case.bad.add(digest)
            yield Finding("content", f"blob {digest}", wrong, digest)
        else:
            sound.append((digest, found.st_size))
    if case.contents:
        for digest in _hash_all(case, sound):
            case.bad.add(digest)
            yield Finding("content", f"blob {digest}", "expected its bytes, got others", digest)


def _present(case: Case) -> list[Digest]:
    with os.scandir(case.blobs.folder) as entries:
        names = sorted(entry.name for entry in entries)
    return [digest for name in names if (digest := named_blob(name)) is not None]


def _named(case: Case) -> set[Digest]:
    found: set[Digest] = set()
    for detail, _ in case.images.values():
        found.update(blobs_of(detail))
    return found


def _settled(path: Path) -> os.stat_result:
    """What the file is; one that gets its name at this moment has two for an instant."""
    end = time.monotonic() + _LINK_S
    while (found := path.lstat()).st_nlink > 1 and stat.S_ISREG(found.st_mode):
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    return found


def _looks(found: os.stat_result, size: int | None) -> str:
    """What is wrong with a blob's file; empty where nothing is."""
    if not stat.S_ISREG(found.st_mode):
        return f"expected a regular file, got {stat.filemode(found.st_mode)}"
    if stat.S_IMODE(found.st_mode) != _MODE:
        return f"expected mode {_MODE:04o}, got {stat.S_IMODE(found.st_mode):04o}"
    if found.st_nlink != 1:
        return f"expected one name, got {found.st_nlink}"
    if size is not None and found.st_size != size:
        return f"expected {size} bytes, got {found.st_size}"
    return ""


def _stated_sizes(case: Case) -> dict[Digest, int]:
    sizes: dict[Digest, int] = {}
    for detail, _ in case.images.values():
        layers = detail.get("layers")
        for layer in layers if isinstance(layers, list) else ():
            sizes[Digest.parse(str(layer["digest"]))] = int(layer["size"])
    return sizes


def _hash_all(case: Case, blobs: list[tuple[Digest, int]]) -> list[Digest]:
    """The blobs whose bytes are not those of their name. Hashing works without Python's lock, so
    the processors share it."""
    waiting = iter(sorted(blobs, key=lambda item: -item[1]))
    total = sum(size for _, size in blobs)
    wrong: list[Digest] = []
    done = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal done
        while True:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            sound = _hash(case.blobs.path(item[0])) == item[0].hex
            with lock:
                done += item[1]
                case.progress(done, total)
                if not sound:
                    wrong.append(item[0])

    helpers = [threading.Thread(target=work) for _ in range(len(os.sched_getaffinity(0)) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    return sorted(wrong, key=lambda digest: digest.hex)


def _hash(path: Path) -> str:
    """The SHA-256 of a file in hex; empty where it cannot be read."""
    running = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                running.update(chunk)
    except FileNotFoundError:
        return path.name  # collected meanwhile, which is no damage
    except OSError:
        return ""
    return running.hexdigest()


def prove_rows(case: Case) -> Iterator[Finding]:
    """Each image, and where all is looked at each result, can be read and has its blobs."""
    told: set[Digest] = set()
    for where, detail in _rows(case):
        if detail is None:
            yield Finding("rows", where, "expected a record of minid, got other text")
            continue
        for digest in blobs_of(detail):
            if digest not in told and not os.path.lexists(case.blobs.path(digest)):
                told.add(digest)
                case.bad.add(digest)
                yield Finding("rows", where, f"expected blob {digest}, got nothing", digest)


def _rows(case: Case) -> Iterator[tuple[str, Mapping[str, object] | None]]:
    for detail, tags in case.images.values():
        yield f"image {', '.join(tags) or detail['manifest']}", detail
    if case.whole:
        query = case.records.database.query
        for key, stage, recipe, text in query("SELECT key, stage, recipe, output FROM results"):
            yield f"result {stage} of {recipe} ({str(key)[:12]})", parse_row(str(text))
        for manifest, text in query("SELECT manifest, detail FROM images"):
            if parse_row(str(text)) is None:
                yield f"image {manifest}", None


def prove_files(case: Case) -> Iterator[Finding]:
    """Every name in the store is one that minid gives."""
    if not case.whole:
        return
    for path in unknown_files(case.blobs.root):
        name = path.relative_to(case.blobs.root)
        yield Finding("files", f"store/{name}", "expected nothing of that name, got a file")


def unknown_files(root: Path) -> list[Path]:
    """What lies in a store and is not minid's. What processes that are gone left is told by
    `quiescence`."""
    passing = set(unfinished_files(root))
    found = [path for path in root.iterdir() if path.name not in _KNOWN and path not in passing]
    blobs = root / "blobs"
    found += [path for path in blobs.iterdir() if path.name != "sha256"]
    found += [path for path in (blobs / "sha256").iterdir() if named_blob(path.name) is None]
    return sorted(found)
