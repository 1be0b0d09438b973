"""Edits of an image's metadata: another configuration on the same layers, on record, undone again.

What is in effect on an image is a chain of edits on what it was before all of them; taking one of
them back makes the others again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minid.errors import ImageError, StoreError, UsageError
from minid.formats.digest import Digest
from minid.formats.image_edit import Change
from minid.formats.image_record import parse_image
from minid.formats.image_words import SHELL
from minid.formats.rootfs import Rootfs
from minid.formats.runtime_spec import resolve_user
from minid.formats.tree import parse_tree
from minid.line.edits import (
    Chain,
    Detail,
    Step,
    apply_changes,
    chain_of,
    config_fields,
    set_detail,
    step_of,
)
from minid.line.workshop import Workshop
from minid.store.contents import read_content
from minid.store.edits import EditRow, Edits
from minid.workbench.moving import Moved, move_tags, refuse_held

_LIBC_FILES = ("etc/passwd", "etc/group")


@dataclass(frozen=True, slots=True)
class Wish:
    """One edit as a person asks for it. `tags` are further names for the result."""

    change: Change
    layered: bool = False
    kept: bool = False
    message: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit gave: the records of the image before and after, and what moved. `fields` are
    those of the configuration that differ, `added` further tags that a preview would give. `moved`
    is None where nothing was to be done."""

    before: Detail
    after: Detail
    fields: tuple[Mapping[str, object], ...]
    names: tuple[str, ...]
    moved: Moved | None
    added: tuple[str, ...] = ()


def names_of(shop: Workshop, manifest: str) -> tuple[str, ...]:
    """The tags of the store that point at an image."""
    return tuple(row.name for row in shop.records.tags() if row.manifest == manifest)


def preview_edit(shop: Workshop, detail: Detail, wish: Wish) -> Edited:
    """What `set_image` would do, and its errors; no tag moves."""
    manifest = str(detail["manifest"])
    names = names_of(shop, manifest)
    extra = tuple(name for name in wish.tags if name not in names)
    for name in extra:
        _free(shop, detail, name)
    if not names and not extra:
        raise UsageError(
            f"{manifest[:19]}: expected an image with a tag, got one that nothing would name",
            hint="--tag NAME:TAG gives the result a name",
        )
    _expect_usable(shop, detail, wish.change)
    refuse_held(shop, (*names, *extra) if shop.config.publish.docker == "on" else extra)
    after = apply_changes(shop, detail, [(wish.change, wish.layered)])
    fields = config_fields(shop, detail, after)
    if not (fields or wish.layered or wish.change.comment):
        after = detail  # it says so already, at most with other words in its history
    return Edited(detail, after, tuple(fields), (*names, *extra), None, extra)


def set_image(shop: Workshop, detail: Detail, wish: Wish, who: str) -> Edited:
    """Edit an image: its tags, all of them, and those of the wish point at the result.

    ImageError for a configuration that cannot start or that names what the image has not,
    PublishError for a tag that is somebody else's; nothing is done then.
    """
    planned = preview_edit(shop, detail, wish)
    manifest, after = str(detail["manifest"]), planned.after
    before = dict.fromkeys(planned.names, manifest)  # the image that was asked about, not a later
    before |= {name: shop.records.tagged(name) for name in planned.added}
    if after["manifest"] == manifest and set(before.values()) <= {manifest}:
        return Edited(detail, detail, (), planned.names, None)
    row = EditRow(
        kind="set",
        recipe=str(detail["recipe"]),
        from_manifest=manifest,
        to_manifest=str(after["manifest"]),
        who=who,
        time=shop.clock(),
        message=wish.message,
        kept=wish.kept,
        detail=set_detail(
            chain_of(Edits(shop.records.database), manifest),
            wish.change,
            planned.fields,
            layered=wish.layered,
        )
        | {"names": before},
    )
    return _move(shop, row, detail, after, planned.fields, before)


def undo_edit(shop: Workshop, detail: Detail, number: int, who: str, message: str = "") -> Edited:
    """Take an edit of an image back, or with the number of an undo, make that edit again.

    `number` 0 is the last edit that is in effect. The others are made again on what is left, so
    the image is as if this one had never been. UsageError for an edit that is not in effect.
    """
    manifest = str(detail["manifest"])
    edits = Edits(shop.records.database)
    chain = chain_of(edits, manifest)
    step = _step_to_undo(edits, chain, number, manifest)
    again = step.row.id not in {item.row.id for item in chain.steps}
    steps = sorted((*chain.steps, step), key=lambda item: item.row.id) if again else chain.steps
    left = [item for item in steps if again or item.row.id != step.row.id]
    asked = ((item.change, item.layered) for item in left)
    after = apply_changes(shop, _root(shop, chain.root), asked)
    fields = config_fields(shop, detail, after)
    named = names_of(shop, manifest)
    added = tuple(name for name in step.added if (name in named) != again)
    before = dict.fromkeys(named, manifest)
    if again:
        before |= {name: _free(shop, detail, name) for name in added}
        refuse_held(shop, added)
    elif not named:
        raise UsageError(f"undo: expected an image with a tag, got {manifest[:19]} without")
    elif set(named) <= set(added):
        raise UsageError(
            f"undo: expected the image to keep a tag, got {', '.join(added)} alone",
            hint="`minid set IMAGE --tag NAME:TAG` gives it another",
        )
    row = EditRow(
        kind="undo",
        recipe=str(detail["recipe"]),
        from_manifest=manifest,
        to_manifest=str(after["manifest"]),
        who=who,
        time=shop.clock(),
        message=message,
        detail={
            "root": chain.root,
            "chain": [item.row.id for item in left],
            "undoes": step.row.id,
            "fields": fields,
            "names": before,
        },
    )
    return _move(shop, row, detail, after, fields, before, () if again else added)


def _move(
    shop: Workshop,
    row: EditRow,
    before: Detail,
    after: Detail,
    fields: Sequence[Mapping[str, object]],
    names: Mapping[str, str],
    removed: Sequence[str] = (),
) -> Edited:
    image = parse_image(after)
    left = tuple(name for name in names if name not in removed)
    tagged = {**after, "tags": list(left)}
    moved = move_tags(shop, row, tagged, left, expected=names, removed=removed)
    assert image.layers == parse_image(before).layers
    return Edited(before, tagged, tuple(fields), left, moved)


def _step_to_undo(edits: Edits, chain: Chain, number: int, manifest: str) -> Step:
    steps = chain.steps
    if not number:
        if steps:
            return steps[-1]
        raise UsageError(
            f"undo: expected an image with an edit in effect, got {manifest[:19]}",
            hint="`minid edits` lists what was done",
        )
    found = next((step for step in steps if step.row.id == number), None)
    if found is not None:
        return found
    row = edits.edit(number)
    undone = row.detail.get("undoes") if row is not None and row.kind == "undo" else None
    again = edits.edit(int(str(undone))) if undone else None
    if again is not None and again.detail.get("root") == chain.root:
        return step_of(again)
    known = ", ".join(str(step.row.id) for step in steps[-10:]) or "none"
    raise UsageError(
        f"undo: expected an edit that is in effect on the image ({known}), got {number}",
        hint="`minid edits` lists what was done",
    )


def _root(shop: Workshop, manifest: str) -> Detail:
    found = shop.records.image(manifest)
    if found is None or not shop.blobs.has(Digest.parse(str(found["config"]))):
        raise StoreError(
            f"{manifest[:19]}: expected the image of before the edits, got nothing",
            hint="`minid build --force` makes the recipe's image again",
        )
    return found


def _free(shop: Workshop, detail: Detail, name: str) -> str:
    """What a further tag points at now; UsageError where that is an image of something else."""
    tagged = shop.records.tagged(name)
    holder = shop.records.image(tagged) if tagged else None
    if holder is not None and holder.get("recipe") != detail.get("recipe"):
        whose = f"one of recipe {holder['recipe']}" if holder.get("recipe") else "another"
        raise UsageError(f"{name}: expected a tag that is free, got {whose} under it")
    return tagged


def _expect_usable(shop: Workshop, detail: Detail, change: Change) -> None:
    """ImageError for a user that the image has not, or a shell form without a shell."""
    shells = [c for c in (change.cmd, change.entrypoint) if c and c[: len(SHELL)] == SHELL]
    if not (change.user or shells) or "tree" not in detail:
        return
    root = Rootfs(parse_tree(shop.blobs.read(Digest.parse(str(detail["tree"])))).entries)
    if shells and root.file(root.resolve("bin/sh", follow_last=True)) is None:
        raise ImageError(
            "set: expected /bin/sh in the image for a command in shell form, got nothing",
            hint='give it in exec form: \'["program","word"]\'',
        )
    if change.user:
        read = read_content(shop.blobs)
        texts = []
        for path in _LIBC_FILES:
            entry = root.file(root.resolve(path, follow_last=True))
            data = read(entry.content) if entry and entry.content else b""
            texts.append(data.decode("utf-8", "replace"))
        try:
            resolve_user(change.user, *texts)
        except ValueError as error:
            raise ImageError(f"etc/passwd: expected numbers as ids, got {error}") from error
