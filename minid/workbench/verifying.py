"""`minid verify`: the ten invariants of a store, proved one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from minid.config import Config
from minid.errors import StoreError
from minid.recipe import Recipe
from minid.store.blobs import Blobs
from minid.store.records import Records
from minid.workbench.proof import INVARIANTS, Case, Detail, Finding
from minid.workbench.proof_blobs import prove_content, prove_files, prove_rows
from minid.workbench.proof_images import (
    prove_closure,
    prove_elf,
    prove_layers,
    prove_provenance,
)
from minid.workbench.proof_records import prove_database, prove_quiescence, prove_tags

_PROOFS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    "content": prove_content,
    "rows": prove_rows,
    "files": prove_files,
    "closure": prove_closure,
    "tags": prove_tags,
    "provenance": prove_provenance,
    "layers": prove_layers,
    "elf": prove_elf,
    "quiescence": prove_quiescence,
}
_TRIES = 3


def open_case(
    config: Config,
    records: Records,
    recipes: Mapping[str, Recipe],
    only: Mapping[str, Detail] | None = None,
    *,
    contents: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Case:
    """What there is to prove now: all of the store, or `only` these images by manifest digest.

    StoreError where the records cannot be read.
    """
    names: dict[str, list[str]] = {}
    for row in records.tags():
        names.setdefault(row.manifest, []).append(row.name)
    images = readable_images(records) if only is None else dict(only)
    return Case(
        config=config,
        blobs=Blobs(config.paths.store),
        records=records,
        recipes=recipes,
        machine=os.uname().machine,
        images={key: (detail, tuple(names.get(key, ()))) for key, detail in images.items()},
        contents=contents,
        whole=only is None,
        progress=progress,
    )


def readable_images(records: Records) -> dict[str, Detail]:
    """The records of images that are such; of the others `rows` tells."""
    from minid.formats.image_record import parse_image
    from minid.store.reach import parse_row

    found: dict[str, Detail] = {}
    for manifest, text in records.database.query("SELECT manifest, detail FROM images"):
        detail = parse_row(str(text))
        try:
            if detail is not None and str(parse_image(detail).manifest) == manifest:
                found[str(manifest)] = detail
        except (ValueError, TypeError, KeyError):
            continue
    return found


def verify(open_it: Callable[[], Case]) -> list[Finding]:
    """What is wrong with a store, in the order of `INVARIANTS`; empty where nothing is.

    Somebody may be writing meanwhile: what was found then is looked at again.
    """
    for attempt in range(_TRIES):
        try:
            case = open_it()
            before = case.records.database.version()
            found = list(_prove_all(case))
            if not found or before == case.records.database.version() or attempt == _TRIES - 1:
                break
        except StoreError as error:
            return [Finding("database", "records.sqlite", error.message)]
    order = list(INVARIANTS)
    return sorted(_once(found), key=lambda item: order.index(item.invariant))


def _prove_all(case: Case) -> Iterator[Finding]:
    # A database that cannot be trusted says nothing about the rest.
    found = list(prove_database(case))
    yield from found
    if any(item.where.startswith("records.sqlite") for item in found):
        return
    for invariant, prove in _PROOFS.items():
        try:
            yield from _prove(case, prove)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # A row that has the right form, and in it what nobody wrote.
            text = f"expected rows of minid, got one that {invariant} cannot read: {error}"
            yield Finding("rows", "records", text)
    for digest in sorted(case.spoiled, key=lambda item: item.hex):
        yield Finding("content", f"blob {digest}", "expected its bytes, got others", digest)


def _prove(case: Case, prove: Callable[[Case], Iterator[Finding]]) -> Iterator[Finding]:
    """A proof that ends at a blob with other bytes is begun again without that blob."""
    while True:
        known = len(case.spoiled)
        try:
            yield from prove(case)
        except StoreError:
            if len(case.spoiled) == known:
                raise
        else:
            return


def _once(found: list[Finding]) -> list[Finding]:
    return list(dict.fromkeys(found))
