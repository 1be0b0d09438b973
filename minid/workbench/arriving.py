"""Images that come from elsewhere get their place in the store: blobs, tags and a line in the
ledger, when all of them are verified and none is in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from minid.errors import StoreError, UnpackError, UsageError
from minid.formats.archive import archive_size, list_members
from minid.formats.digest import Digest, canonical_json
from minid.formats.image_record import dump_image, parse_image
from minid.formats.oci import architecture_of
from minid.line.workshop import Workshop
from minid.model import Image
from minid.store.blobs import Staged
from minid.store.edits import EditKind, EditRow
from minid.workbench.moving import Moved, move_tags


@dataclass(frozen=True, slots=True)
class Arrival:
    """How images come in: as which kind of edit, by whom and why.

    `tags` are names that count instead of those that an image brings, `otherwise` is the name for
    one that brings none, `replace` takes tags from other images.
    """

    kind: EditKind
    who: str
    origin: str
    message: str = ""
    tags: tuple[str, ...] = ()
    replace: bool = False
    otherwise: str = ""

    def names(self, own: Iterable[str]) -> tuple[str, ...]:
        """The names of an image that brings `own`; UsageError where there is none."""
        names = self.tags or tuple(dict.fromkeys(own)) or tuple(filter(None, [self.otherwise]))
        if not names:
            raise UsageError(
                f"{self.origin}: expected an image with a name, got one without",
                hint="--tag NAME:TAG",
            )
        return names


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that was taken in: its record, its tags, and what moved (None where it was there
    already, under these very tags). `left_out` counts devices and FIFOs without a place in a tree.
    """

    detail: Mapping[str, object]
    names: tuple[str, ...]
    moved: Moved | None
    left_out: int = 0


@dataclass(slots=True)
class Taken:
    """An image verified and staged: nothing of it has a name in the store yet."""

    detail: Mapping[str, object]
    names: tuple[str, ...]
    staged: list[Staged] = field(default_factory=list)
    left_out: int = 0


# What packing would have told of an image that minid packed.
REPORT = canonical_json(
    {
        "reasons": [],
        "drops": [],
        "stripped_bytes": 0,
        "linked_bytes": 0,
        "warnings": [],
        "environment": {},
        "compression": "",
    }
)


def describe_image(
    shop: Workshop, image: Image, tree: Digest, sizes: tuple[int, int], arrival: Arrival
) -> dict[str, object]:
    """The record of an image that came from elsewhere; `sizes` are its manifest's and its
    configuration's. Its report gives no reasons for files: nobody knows them."""
    members = list_members(
        image,
        manifest_size=sizes[0],
        config_size=sizes[1],
        architecture=architecture_of(shop.machine),
        names=image.tags,
    )
    image = replace(image, sizes=replace(image.sizes, archive=archive_size(members)))
    return dump_image(image) | {
        "tree": str(tree),
        "report": str(Digest.of(REPORT)),
        "programs": "",
        "origin": {"kind": arrival.kind, "from": arrival.origin},
        "blobs": [str(image.manifest), str(image.config)],
    }


def arrive(shop: Workshop, taken: Sequence[Taken], arrival: Arrival) -> tuple[Loaded, ...]:
    """Give the blobs of verified images their names, and move the tags: of each image all or none.

    UsageError, with nothing done, for a tag that another image has.
    """
    taken = [_use_known(shop, item) for item in taken]
    _refuse_taken(shop, taken, arrival)
    files = {staged.digest: staged.path for item in taken for staged in item.staged}
    for digest, path in files.items():
        shop.blobs.adopt(path, digest)
        path.unlink(missing_ok=True)
    return tuple(_tag(shop, item, arrival) for item in taken)


def _tag(shop: Workshop, item: Taken, arrival: Arrival) -> Loaded:
    """Point tags at an image whose blobs are in the store. One that the store has a record of keeps
    it."""
    manifest = str(item.detail["manifest"])
    detail = shop.records.image(manifest) or item.detail
    before = {name: shop.records.tagged(name) for name in item.names}
    if set(before.values()) == {manifest}:
        return Loaded(detail, item.names, None, item.left_out)
    row = EditRow(
        kind=arrival.kind,
        recipe=str(detail["recipe"]),
        from_manifest=next((value for value in before.values() if value), ""),
        to_manifest=manifest,
        who=arrival.who,
        time=shop.clock(),
        message=arrival.message,
        detail={"origin": arrival.origin, "names": before},
    )
    try:
        moved = move_tags(shop, row, detail, item.names, targets=False, expected=before)
    except StoreError:
        if all(shop.records.tagged(name) == manifest for name in item.names):
            return Loaded(detail, item.names, None, item.left_out)  # somebody loaded the same
        raise
    return Loaded(detail, item.names, moved, item.left_out)


def _use_known(shop: Workshop, item: Taken) -> Taken:
    """Where a tag has an image of the very configuration, that is the image: Docker's archives
    lose the manifest, and the layers' compression with it."""
    for name in item.names:
        holder = shop.records.image(shop.records.tagged(name))
        if holder is not None and holder["config"] == item.detail["config"]:
            image = parse_image(holder)
            parts = (image.manifest, image.config, *(layer.digest for layer in image.layers))
            if shop.blobs.claim(*parts):
                return replace(item, detail=holder)
    return item


def _refuse_taken(shop: Workshop, taken: Sequence[Taken], arrival: Arrival) -> None:
    named: dict[str, str] = {}
    another = "a NAME:TAG" if arrival.kind == "import" else "--tag NAME:TAG"
    for item in taken:
        manifest = str(item.detail["manifest"])
        for name in item.names:
            if named.setdefault(name, manifest) != manifest:
                raise UnpackError(f"expected one image named {name}, got several")
            holder = shop.records.tagged(name)
            if holder and holder != manifest and not arrival.replace:
                raise UsageError(
                    f"{name}: expected a tag that is free, got one of image {holder[7:19]}",
                    hint=f"--replace moves it, {another} gives another name",
                )
