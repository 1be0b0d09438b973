"""Edits of images on the line: which are in effect, and what becomes of them in a rebuild."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from minid.errors import ImageError
from minid.formats.archive import archive_size, list_members
from minid.formats.digest import Digest
from minid.formats.image_edit import (
    Change,
    compare_configs,
    dump_change,
    edit_config,
    edit_manifest,
    parse_change,
)
from minid.formats.image_record import dump_image, parse_image
from minid.formats.oci import CONFIG_TYPE, Descriptor, architecture_of
from minid.line.run import load_json
from minid.line.workshop import Workshop
from minid.store.edits import EditRow, Edits

Detail = Mapping[str, object]
Ask = tuple[Change, bool]  # and whether in lines of history of its own


@dataclass(frozen=True, slots=True)
class Step:
    """An edit that is in effect on an image: what it asks for, and the row that recorded it."""

    row: EditRow
    change: Change
    layered: bool

    @property
    def added(self) -> tuple[str, ...]:
        """The tags that it gave which pointed at nothing before."""
        names = self.row.detail.get("names")
        known = names.items() if isinstance(names, dict) else ()
        return tuple(name for name, before in known if not before)


@dataclass(frozen=True, slots=True)
class Chain:
    """An image as edits made it: the manifest digest of what it was before all of them, and the
    edits in effect, oldest first."""

    root: str
    steps: tuple[Step, ...] = ()


def chain_of(edits: Edits, manifest: str) -> Chain:
    """How edits made the image of that manifest digest."""
    row = edits.chained(manifest)
    if row is None or "chain" not in row.detail:
        return Chain(manifest)
    numbers = list(row.detail["chain"])  # type: ignore[call-overload]
    if row.kind == "set":
        numbers.append(row.id)
    found = (edits.edit(number) for number in numbers)
    return Chain(str(row.detail["root"]), tuple(step_of(item) for item in found if item))


def step_of(row: EditRow) -> Step:
    """The edit that a row of kind `set` recorded."""
    change = row.detail.get("change")
    return Step(
        row,
        parse_change(change if isinstance(change, dict) else {}),
        layered=bool(row.detail.get("layered")),
    )


def set_detail(
    chain: Chain, change: Change, fields: Sequence[Mapping[str, object]], *, layered: bool
) -> dict[str, object]:
    """What a row of kind `set` keeps besides its columns: the edit, on what it was made, and the
    fields that differ."""
    return {
        "root": chain.root,
        "chain": [step.row.id for step in chain.steps],
        "change": dump_change(change),
        "layered": layered,
        "fields": list(fields),
    }


def apply_changes(shop: Workshop, detail: Detail, changes: Iterable[Ask]) -> Detail:
    """The record of an image after changes, one on the other: another configuration on the same
    layers. Its blobs are in the store afterwards.

    ImageError where nothing would be left to start, as far as there was something before.
    """
    before = parse_image(detail)
    config = load_json(shop.blobs.read(before.config))
    after: Mapping[str, Any] = config
    data = b""
    for change, layered in changes:
        data = edit_config(after, change, layered=layered)
        after = load_json(data)
    if not data:
        return detail
    _refuse_idle(before.recipe or "image", config, after)
    if after.get("rootfs") != config.get("rootfs"):
        raise ImageError("edit: expected the layers of before, got others")
    manifest = load_json(shop.blobs.read(before.manifest))
    digest = shop.blobs.add(data)
    stored = edit_manifest(manifest, Descriptor(CONFIG_TYPE, digest, len(data)))
    image = replace(before, config=digest, manifest=shop.blobs.add(stored))
    members = list_members(
        image,
        manifest_size=len(stored),
        config_size=len(data),
        architecture=architecture_of(shop.machine),
        names=image.tags,
    )
    image = replace(image, sizes=replace(image.sizes, archive=archive_size(members)))
    blobs = {"blobs": [str(image.manifest), str(image.config)]}
    return {**detail, **dump_image(image), **blobs}


def _refuse_idle(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    def starts(config: Mapping[str, Any]) -> bool:
        run = config.get("config") or {}
        return bool(run.get("Cmd") or run.get("Entrypoint"))

    if starts(before) and not starts(after):
        raise ImageError(
            f"{where}: expected a Cmd or an Entrypoint to be left, got neither",
            hint="give the other with --cmd or --entrypoint",
        )


def config_fields(shop: Workshop, before: Detail, after: Detail) -> list[dict[str, object]]:
    """The fields of the configuration in which two images differ, before and after."""
    left, right = (
        load_json(shop.blobs.read(Digest.parse(str(detail["config"]))))
        for detail in (before, after)
    )
    return [item.as_json() for item in compare_configs(left, right)]


@dataclass(frozen=True, slots=True)
class Reworked:
    """What a rebuild makes of edits: the image with those that are kept, the rows to record with
    the tags, and lines for the log. `seen` is what the tags pointed at."""

    detail: Detail
    rows: tuple[EditRow, ...] = ()
    lines: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict)


def rework(shop: Workshop, names: Iterable[str], detail: Detail) -> Reworked:
    """Make the kept edits of what the tags `names` point at again on a new image, and tell of the
    others; `detail` is the new image as the recipe wants it."""
    records = shop.records
    edits = Edits(records.database)
    before = next((found for name in names if (found := records.tagged(name))), "")
    chain = chain_of(edits, before)
    same = before == str(detail["manifest"])  # the recipe says itself what an edit said
    if not before or (same and not chain.steps):
        return Reworked(detail)
    rows: list[EditRow] = []
    lines: list[str] = []
    dropped: list[str] = []
    recipe_row = _recipe_row(shop, chain, detail)
    if recipe_row is not None:
        rows.append(recipe_row)
    done: Chain = Chain(str(detail["manifest"]))
    tags = [str(name) for name in detail["tags"]]  # type: ignore[attr-defined]
    for step in chain.steps:
        words = f"edit {step.row.id} of {step.row.who}: {describe(step.change)}"
        if not step.row.kept:
            if same:
                lines.append(f"{words}: the recipe says so itself now")
            else:
                dropped.append(f"{words}: dropped, the recipe wins")
            continue
        after = apply_changes(shop, detail, [(step.change, step.layered)])
        fields = config_fields(shop, detail, after)
        kept = set_detail(done, step.change, fields, layered=step.layered)
        further = [name for name in step.added if records.tagged(name) == before]
        tags += [name for name in further if name not in tags]
        rows.append(
            replace(
                step.row,
                from_manifest=str(detail["manifest"]),
                to_manifest=str(after["manifest"]),
                time=shop.clock(),
                detail=kept | {"again": step.row.id, "names": dict.fromkeys(further, "")},
            )
        )
        lines.append(f"{words}: made again")
        detail = after
    return Reworked({**detail, "tags": tags}, tuple(rows), tuple(lines), tuple(dropped))


def _recipe_row(shop: Workshop, chain: Chain, detail: Detail) -> EditRow | None:
    """What changed in the configuration from the last image of the recipe to this one."""
    old = shop.records.image(chain.root)
    if old is None or old.get("recipe") != detail["recipe"]:
        return None
    if not shop.blobs.has(Digest.parse(str(old["config"]))):
        return None
    fields = config_fields(shop, old, detail)
    if not fields and not chain.steps:
        return None
    return EditRow(
        "recipe",
        str(detail["recipe"]),
        chain.root,
        str(detail["manifest"]),
        "recipe",
        shop.clock(),
        detail={"root": str(detail["manifest"]), "chain": [], "fields": fields},
    )


def describe(change: Change) -> str:
    """A change in a few words: the options that would make it."""
    words = dump_change(change)
    return ", ".join(f"{name.replace('_', '-')}={_short(value)}" for name, value in words.items())


def _short(value: object) -> str:
    if isinstance(value, (list, tuple)):
        value = " ".join("=".join(item) if isinstance(item, tuple) else str(item) for item in value)
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
