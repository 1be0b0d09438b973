"""A base that no recipe makes: an image of the store, by its tag, as it is now."""

from __future__ import annotations

from collections.abc import Mapping

from minid.errors import RecipeError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.line.workshop import Workshop
from minid.model import Image
from minid.recipe import Recipe
from minid.steps.plan import Plan
from minid.store.reach import blobs_of
from minid.store.records import Records


def find_stored(records: Records, name: str) -> Mapping[str, object] | None:
    """The record of the image that a tag of the store points at."""
    manifest = records.tagged(name)
    return records.image(manifest) if manifest else None


def stored_plan(detail: Mapping[str, object]) -> Plan:
    """What stands for the plan of a stored image: its manifest's digest is all its inputs."""
    key = f"image {detail['manifest']}"
    return Plan(compile=key, compose=key, image=key, inputs={})


def hold_stored(shop: Workshop, recipe: Recipe) -> tuple[Plan, Digest, Image]:
    """Plan, root file system and image of the stored base of a recipe, held until `shop` closes.

    RecipeError where the store has not all of it.
    """
    name = recipe.rootfs.base
    detail = find_stored(shop.records, name)
    if detail is None or not shop.blobs.claim(*blobs_of(detail)):
        raise RecipeError(
            f"{recipe.file}: rootfs.base: expected an image of the store, got {name!r}",
            hint=f"minid pull {name}",
        )
    return stored_plan(detail), Digest.parse(str(detail["tree"])), parse_image(detail)
