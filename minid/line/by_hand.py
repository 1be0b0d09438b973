"""What a person put under a recipe's tags, which stays as long as the recipe does not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from minid.line.edits import chain_of
from minid.store.edits import Edits
from minid.store.records import Records


def put_by_hand(
    records: Records, names: Iterable[str], manifest: str
) -> Mapping[str, object] | None:
    """The image that a person put under tags which a recipe would have at `manifest`, or that a run
    made of it with the edits that were to be kept: the record of what the first of them points at.
    None where a run moved one elsewhere last, or none is elsewhere."""
    found = None
    for name in names:
        tagged = records.tagged(name)
        if tagged == manifest:
            continue
        moves = records.publications(name, "store", limit=1)
        if not tagged or not moves:
            return None
        if not moves[0].edit and not _is_made_of(records, tagged, manifest):
            return None
        found = found or records.image(tagged)
    return found


def _is_made_of(records: Records, edited: str, manifest: str) -> bool:
    chain = chain_of(Edits(records.database), edited)
    return chain.root == manifest and bool(chain.steps)
