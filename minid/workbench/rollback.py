"""Going back: tags move to an image that a recipe had before, as an edit that can be undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minid.errors import StoreError, UsageError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.line.edits import chain_of
from minid.line.workshop import Workshop
from minid.store.edits import EditRow, Edits
from minid.store.reach import blobs_of
from minid.store.records import Records, TagRow
from minid.workbench.moving import Moved, move_tags

Detail = Mapping[str, object]

_SHORTEST_DIGEST = 6
_SHOWN = 8
_MOVES = 1000  # of a tag, looked back upon


@dataclass(frozen=True, slots=True)
class Way:
    """From which image of a recipe to which earlier one, and the tags that go there, each with the
    manifest digest that it had when this was found (or "")."""

    now: Detail
    then: Detail
    before: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The tags that go."""
        return tuple(self.before)


def find_way(records: Records, name: str, version: str = "") -> Way:
    """The way back of a recipe, or of one tag of it: to the image that was there before the one of
    now came, or to the newest of that version (or digest).

    A recipe's tags go that the earlier image had, and those of now that do not name its version.
    UsageError where there is no such image.
    """
    tags = {row.name: row for row in records.tags()}
    recipe, start = _start(records, name, tags)
    manifest = start.manifest
    images = [
        detail
        for detail in records.images()
        if detail["recipe"] == recipe
        and (detail["manifest"] == manifest or not _taken_back(records, str(detail["manifest"])))
    ]
    places = [str(detail["manifest"]) for detail in images]
    position = places.index(manifest)
    before = "" if version else _image_before(records, start, places)
    then = images[places.index(before)] if before else _choose(images, position, version, name)
    if name in tags:
        return Way(images[position], then, {name: manifest})
    current = [tag for tag, row in tags.items() if row.manifest == manifest]
    floating = [tag for tag in current if not _names_version(tag, str(images[position]["version"]))]
    own = parse_image(then).tags
    had = {tag: row.manifest for tag, row in tags.items()}
    return Way(images[position], then, {tag: had.get(tag, "") for tag in (*own, *floating)})


def _start(records: Records, name: str, tags: Mapping[str, TagRow]) -> tuple[str, TagRow]:
    """The recipe that is meant, and the tag that is at the image that it has now."""
    if name in tags:
        found = records.image(tags[name].manifest)
        recipe = str(found["recipe"]) if found else ""
        if not recipe:
            raise UsageError(f"{name}: expected an image of a recipe, got one from elsewhere")
        return recipe, tags[name]
    # The tag that moved last is where the recipe is now; `latest` does with every image.
    moved = sorted(records.tags(), key=lambda row: (row.name == f"{name}:latest", row.moved))
    for row in reversed(moved if name else ()):
        found = records.image(row.manifest)
        if found is not None and found["recipe"] == name:
            return name, row
    raise UsageError(
        f"expected a recipe or a tag with an image, got {name!r}", hint="`minid list` shows them"
    )


def _image_before(records: Records, tag: TagRow, known: Sequence[str]) -> str:
    """The image of `known` that a tag had when the one of now came there by a run or an edit that
    is no way back; empty where the records do not tell. What was rolled back from is so not gone
    back to once something else has followed."""
    edits = Edits(records.database)
    before: dict[str, str] = {}
    for row in records.publications(tag.name, "store", limit=_MOVES):
        edit = edits.edit(row.edit)
        if edit is None or edit.kind not in ("rollback", "undo"):
            before.setdefault(row.to_manifest, row.from_manifest)
    found = before.pop(tag.manifest, "")
    while found and (found not in known or found == tag.manifest):
        found = before.pop(found, "")
    return found


def _choose(images: Sequence[Detail], position: int, version: str, name: str) -> Detail:
    """Of images, the newest first, the one to go to from that at `position`."""
    earlier = images[position + 1 :]
    if version:
        bare = version.removeprefix("sha256:")
        others = [item for item in images if item is not images[position]]
        earlier = [
            item
            for item in others
            if item["version"] == version
            or (
                len(bare) >= _SHORTEST_DIGEST and str(item["manifest"]).startswith(f"sha256:{bare}")
            )
        ]
    if earlier:
        return earlier[0]
    texts = [f"{item['version']} ({str(item['manifest'])[7:19]})" for item in images]
    more = [f"{len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    known = ", ".join(texts[:_SHOWN] + more)
    wanted = f"another image of {version}" if version else "an earlier image"
    raise UsageError(
        f"{name}: expected {wanted}, got none; the store has {known}",
        hint="how many are kept is said by [keep] in config.toml",
    )


def _taken_back(records: Records, manifest: str) -> bool:
    """Whether an image is that of an edit which was undone: nobody wants to go back there."""
    edits = Edits(records.database)
    made, undone = edits.made(manifest), edits.undone(manifest)
    return undone is not None and (made is None or made.id < undone.id)


def _names_version(tag: str, version: str) -> bool:
    """Whether a tag is of this version or of a series that it belongs to: `1.26` of `1.26.3`."""
    word = tag.rpartition(":")[2]
    return bool(word) and word[0].isdigit() and f"{version}.".startswith(f"{word}.")


def roll_back(shop: Workshop, way: Way, who: str, message: str = "") -> Moved:
    """Move the tags, everywhere. StoreError, with nothing moved, where a blob of the earlier image
    is missing or damaged, or a tag has moved since the way was found. Its checks passed when it
    was made, and are not repeated."""
    verify_whole(shop, way.then)
    now, then = str(way.now["manifest"]), str(way.then["manifest"])
    chain = chain_of(Edits(shop.records.database), then)
    row = EditRow(
        kind="rollback",
        recipe=str(way.then["recipe"]),
        from_manifest=now,
        to_manifest=then,
        who=who,
        time=shop.clock(),
        message=message,
        detail={
            "root": chain.root,
            "chain": [step.row.id for step in chain.steps],
            "names": dict(way.before),
        },
    )
    return move_tags(shop, row, way.then, way.names, expected=way.before)


def verify_whole(shop: Workshop, detail: Detail) -> None:
    """Hold an image and read all of it. StoreError where something is missing or damaged."""
    parts: tuple[Digest, ...] = blobs_of(detail)
    shop.blobs.claim(*parts)
    try:
        for digest in parts:
            for _ in shop.blobs.iterate(digest):
                pass
    except StoreError as error:
        raise StoreError(
            f"{detail['recipe']} {detail['version']}: expected a whole image to go back to: "
            f"{error.message}",
            hint="`minid verify --repair` mends what can be mended",
        ) from error
