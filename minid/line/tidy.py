"""Keeping the layer cache small: what was unpacked there and no tag points at any more."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from minid.errors import HostError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.store.records import Records

# So many layers may lie there for nothing: removing them costs more than an edit's whole build.
SPARE = 16


def tidy_layers(cache: Path, records: Records, spare: int = SPARE) -> int:
    """Once more than `spare` layers of the cache belong to no image with a tag, remove those.

    Returns how many went. What a check uses stays, and a machine that refuses is left alone: this
    costs room and nothing else.
    """
    if not cache.is_dir():
        return 0
    from minid.host.container import cached_layers, prune_layers

    with suppress(HostError):
        found = cached_layers(cache)
        if len(found) > spare:
            kept = _tagged_layers(records)
            if len(found - kept) > spare:
                return prune_layers(cache, kept)
    return 0


def _tagged_layers(records: Records) -> set[Digest]:
    details = (records.image(manifest) for manifest in {tag.manifest for tag in records.tags()})
    images = [parse_image(detail) for detail in details if detail is not None]
    return {layer.diff_id for image in images for layer in image.layers}
