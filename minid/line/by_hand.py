"""What a person put under a recipe's tags, which stays as long as the recipe does not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from minid.store.records import Records


def put_by_hand(
    records: Records, names: Iterable[str], manifest: str
) -> Mapping[str, object] | None:
    """The image that a person put under tags which a recipe would have at `manifest`: the record
    of what the first of them points at. None where a run moved one elsewhere last, or none is
    elsewhere."""
    found = None
    for name in names:
        tagged = records.tagged(name)
        if tagged == manifest:
            continue
        moves = records.publications(name, "store", limit=1)
        if not tagged or not moves or not moves[0].edit:
            return None
        found = found or records.image(tagged)
    return found
