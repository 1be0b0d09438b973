"""An `Image` as plain JSON values, the form in which the records keep it."""

from __future__ import annotations

from collections.abc import Mapping

from minid.formats.digest import Digest
from minid.model import Image, Layer, Sizes

# The label by which minid knows its own images, in an engine that others use too.
RECIPE_LABEL = "org.minid.recipe"


def dump_image(image: Image) -> dict[str, object]:
    """`image` as plain JSON values, for the records."""
    return {
        "recipe": image.recipe,
        "version": image.version,
        "manifest": str(image.manifest),
        "config": str(image.config),
        "created": image.created,
        "tags": list(image.tags),
        "sizes": {
            "unpacked": image.sizes.unpacked,
            "layers": image.sizes.layers,
            "archive": image.sizes.archive,
        },
        "layers": [dump_layer(layer) for layer in image.layers],
    }


def dump_layer(layer: Layer) -> dict[str, object]:
    """`layer` as plain JSON values."""
    return {
        "diff_id": str(layer.diff_id),
        "digest": str(layer.digest),
        "size": layer.size,
        "unpacked_size": layer.unpacked_size,
        "created_by": layer.created_by,
        "comment": layer.comment,
    }


def parse_layer(value: Mapping[str, object]) -> Layer:
    """Read what `dump_layer` wrote."""
    return Layer(
        diff_id=Digest.parse(str(value["diff_id"])),
        digest=Digest.parse(str(value["digest"])),
        size=int(str(value["size"])),
        unpacked_size=int(str(value["unpacked_size"])),
        created_by=str(value["created_by"]),
        comment=str(value["comment"]),
    )


def parse_image(value: Mapping[str, object]) -> Image:
    """Read what `dump_image` wrote."""
    sizes, layers, tags = value["sizes"], value["layers"], value["tags"]
    if not isinstance(sizes, dict) or not isinstance(layers, list) or not isinstance(tags, list):
        raise ValueError("expected an image of the records")
    return Image(
        recipe=str(value["recipe"]),
        version=str(value["version"]),
        manifest=Digest.parse(str(value["manifest"])),
        config=Digest.parse(str(value["config"])),
        layers=tuple(parse_layer(layer) for layer in layers),
        sizes=Sizes(**sizes),
        tags=tuple(str(tag) for tag in tags),
        created=int(str(value["created"])),
    )
