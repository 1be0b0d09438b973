"""Mending what `verify` found, from what is there.

Damaged blobs are moved aside, never deleted. The same bytes are looked for elsewhere; where they
cannot be had, the results that stood on them go, so that the next build makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.host.files import exclusive_folder
from minid.line.workshop import Workshop
from minid.store.collect import drop_results
from minid.store.layout import write_layout
from minid.store.lease import clear_leases
from minid.workbench.leftovers import clear_dead
from minid.workbench.proof import Finding
from minid.workbench.proof_blobs import QUARANTINE, unknown_files
from minid.workbench.salvage import salvage

_MODE = 0o444


def repair(shop: Workshop, found: Sequence[Finding]) -> list[str]:
    """Mend what can be mended; what was done, a line each.

    `found` is what `verify` told of the whole store. Run it again afterwards: what it tells then
    is left to a person or to the next build.
    """
    done = [f"places of processes that are gone: {count}" for count in _clear(shop) if count]
    done += _set_aside_unknown(shop)
    lost = _set_aside_damaged(shop, found, done)
    lost |= {item.blob for item in found if item.invariant == "rows" and item.blob}
    lost = {digest for digest in lost if not shop.blobs.has(digest)}
    won = salvage(shop, lost)
    done += [f"blob {digest}: {how}" for digest, how in won.items()]
    shop.blobs.flush()
    unfit = {_manifest(shop, item) for item in found if item.invariant == "closure"}
    gone = drop_results(shop.records.database, lost - won.keys(), unfit)
    if gone:
        done.append(f"{gone} results that lost their blobs: the next build makes them again")
    with suppress(StoreError), exclusive_folder(shop.blobs.root):
        write_layout(shop.blobs, shop.records, shop.machine)
    return done


def _clear(shop: Workshop) -> Iterable[int]:
    yield clear_dead(shop)
    clear_leases(shop.config.paths.leases)


def _manifest(shop: Workshop, finding: Finding) -> str:
    """The image of a finding about tags."""
    return shop.records.tagged(finding.where.partition(", ")[0])


def _set_aside_unknown(shop: Workshop) -> list[str]:
    done = []
    for path in unknown_files(shop.blobs.root):
        _set_aside(shop, path.name, path)
        done.append(f"{path.name}: moved to store/{QUARANTINE}")
    return done


def _set_aside(shop: Workshop, name: str, path: Path) -> None:
    folder = shop.blobs.root / QUARANTINE
    folder.mkdir(exist_ok=True)
    target = folder / name
    number = 0
    while target.exists() or target.is_symlink():
        number += 1
        target = folder / f"{name}.{number}"
    path.rename(target)


def _set_aside_damaged(shop: Workshop, found: Sequence[Finding], done: list[str]) -> set[Digest]:
    """Move blobs away whose bytes are not theirs, and set right those that only look wrong."""
    lost = set()
    for digest in dict.fromkeys(item.blob for item in found if item.invariant == "content"):
        if digest is None:
            continue
        path = shop.blobs.path(digest)
        if _bytes_are_right(shop, digest):
            # A copy has one name and the right mode, whoever holds the others.
            data = shop.blobs.iterate(digest)
            with shop.blobs.receive() as sink:
                for chunk in data:
                    sink.write(chunk)
                copy = sink.peek()
                copy.chmod(_MODE)
                copy.replace(path)
            done.append(f"blob {digest}: mode and links set right")
        else:
            with suppress(FileNotFoundError):
                _set_aside(shop, digest.hex, path)
                done.append(f"blob {digest}: moved to store/{QUARANTINE}")
            lost.add(digest)
    return lost


def _bytes_are_right(shop: Workshop, digest: Digest) -> bool:
    path = shop.blobs.path(digest)
    if path.is_symlink() or not path.is_file():
        return False
    try:
        for _ in shop.blobs.iterate(digest):
            pass
    except (StoreError, OSError):
        return False
    return True
