"""From a payload to a tag: compose, image, check, publish, each as a stage of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from minid.errors import ClosureError
from minid.formats.digest import Digest, canonical_json, digest_of_json
from minid.formats.image_record import dump_image, dump_layer, parse_layer
from minid.formats.oci import architecture_of
from minid.formats.release import settle_source
from minid.formats.rootfs import overlay_trees
from minid.formats.tree import dump_tree
from minid.line.beside import accompany
from minid.line.by_hand import put_by_hand
from minid.line.edits import Reworked
from minid.line.edits import rework as rework_edits
from minid.line.planning import Standing
from minid.line.run import Output, Run, digests, load_json, load_tree
from minid.model import Entry, Image, Layer, Published, Tree
from minid.recipe import Recipe, tag_names
from minid.steps.image import Base, build_image, check_budget
from minid.steps.layers import layer_key, write_layer
from minid.steps.plan import STAGE_VERSIONS, OwnFiles, Plan
from minid.steps.publish import Publication, publish_image
from minid.store.contents import read_content

if TYPE_CHECKING:
    from minid.model import Composed


@dataclass(frozen=True, slots=True)
class Below:
    """What a base hands up: its root file system (a blob) and its image."""

    tree: Digest
    image: Image


def compose(run: Run, plan: Plan, packed: Output, files: OwnFiles, base: Below | None) -> Output:
    """The root file system: `tree` blob, the image's own `layers`, and whether the base is below.

    The payload's layer is kept by what is in it, so that an edit of a configuration file writes
    kilobytes.
    """
    recipe, blobs = run.recipe, run.shop.blobs

    def make() -> Output:
        from minid.steps.compose import compose_rootfs

        read = read_content(blobs)
        base_tree = load_tree(run, base.tree) if base else Tree()
        payload = load_tree(run, Digest.parse(str(packed["tree"])))
        composed = compose_rootfs(
            recipe,
            base=base_tree,
            payload=payload,
            files=files.files,
            read=read,
            mtime=int(str(packed["epoch"])),
        )
        if recipe.rootfs.commands:
            from minid.line.commands import change_rootfs

            under = base.image.layers if base else ()
            composed = change_rootfs(run, composed, base_tree, under, int(str(packed["epoch"])))
        programs = fingerprint(composed.tree)
        _audit(run, composed.tree, programs)
        flat = composed.flatten or recipe.image.squash
        layers: list[Layer] = []
        trees: list[Tree] = [] if flat else [base_tree]
        for entries, created_by in _layers(recipe, composed, flat):
            layer, tree = _write_layer(run, entries, created_by)
            layers.append(layer)
            trees.append(tree)
        stored = blobs.add(dump_tree(overlay_trees(*trees)))
        return {
            "tree": str(stored),
            "layers": [dump_layer(layer) for layer in layers],
            "flat": flat,
            "programs": programs,
            "epoch": packed["epoch"],
            "report": packed["report"],
            "keys": {path: list(keys) for path, keys in sorted(composed.keys.items())},
            "blobs": digests(
                stored,
                *(layer.digest for layer in layers),
                *(layer.diff_id for layer in layers),
            ),
        }

    return run.stage("compose", plan.compose, make)


def fingerprint(tree: Tree) -> str:
    """A digest of all that decides which programs and libraries a root file system has.

    Equal fingerprints: the same paths and links, and the same bytes in every file but texts that a
    recipe itself wrote or edited.
    """
    facts = [
        (entry.image_path, entry.kind, entry.target)
        + ((entry.content.digest.hex,) if entry.content and not _is_text(entry) else ())
        for entry in tree.entries
    ]
    return digest_of_json({"entries": facts}).hex


def _is_text(entry: Entry) -> bool:
    data = entry.content.data if entry.content else None
    if data is None or entry.image_path.startswith("etc/ld.so."):
        return False
    return not data.startswith((b"\x7fELF", b"#!"))


def _audit(run: Run, tree: Tree, programs: str) -> None:
    """ClosureError where a program of the image needs what the image does not have."""
    versions = [STAGE_VERSIONS["pack"], STAGE_VERSIONS["compose"]]
    key = digest_of_json({"stage": "closure", "version": versions, "programs": programs}).hex
    if run.find(key) is not None:
        return
    from minid.steps.pack import audit_rootfs

    missing = audit_rootfs(tree, read_content(run.shop.blobs))
    if missing:
        raise ClosureError(
            f"{run.recipe.file}: expected every library inside the image, got: "
            + "; ".join(missing),
            hint="add the library's path to contents.dlopen, or build with the base's environment",
        )
    run.shop.records.add_result(key, "closure", run.recipe.name, {"blobs": []}, run.shop.clock())


def _layers(recipe: Recipe, composed: Composed, flat: bool) -> list[tuple[tuple[Entry, ...], str]]:
    payload = describe_payload(recipe, Tree(composed.payload))
    own = f"minid: rootfs of recipe {recipe.name}"
    if flat:
        return [(composed.tree.entries, payload)]
    return [
        (entries, text)
        for entries, text in ((composed.payload, payload), (composed.own, own))
        if entries
    ]


def _write_layer(run: Run, entries: tuple[Entry, ...], created_by: str) -> tuple[Layer, Tree]:
    blobs, records = run.shop.blobs, run.shop.records
    key = layer_key(entries)
    found = run.find(key)
    if found is not None:
        layer = parse_layer(found | {"created_by": created_by})
        return layer, load_tree(run, Digest.parse(str(found["tree"])))
    layer, tree = write_layer(
        entries, read_content(blobs), blobs, created_by=created_by, squeezed=run.squeezed
    )
    stored = blobs.add(dump_tree(tree))
    blobs.flush()
    output = dump_layer(layer) | {
        "tree": str(stored),
        "blobs": digests(stored, layer.digest, layer.diff_id),
    }
    records.add_result(key, "layer", run.recipe.name, output, run.shop.clock())
    return layer, tree


def image(run: Run, plan: Plan, composed: Output, base: Below | None) -> Output:
    """The image in the store, not yet checked, as the records keep it (`parse_image`).

    Besides: the blob `plan` has the named inputs, `built` tells of the run (see `_run_facts`).
    """
    recipe, blobs = run.recipe, run.shop.blobs
    values = composed["layers"]
    layers = tuple(parse_layer(value) for value in values) if isinstance(values, list) else ()

    def make() -> Output:
        below = None
        if base is not None:
            config = load_json(blobs.read(base.image.config))
            below = (
                # A flat image has one layer, so it cannot keep the history of others.
                Base((), {**config, "history": []})
                if composed["flat"]
                else Base(base.image.layers, config)
            )
        archive = Digest.parse(plan.inputs["source.archive"])
        built = build_image(
            settle_source(recipe, archive),
            layers=layers,
            base=below,
            created=int(str(composed["epoch"])),
            architecture=architecture_of(run.shop.machine),
            blobs=blobs,
        )
        tree = Digest.parse(str(composed["tree"]))
        check_budget(recipe, built.sizes, lambda: load_tree(run, tree))
        named = blobs.add(canonical_json(dict(plan.inputs)))
        return dump_image(built) | {
            "tree": composed["tree"],
            "report": composed["report"],
            "programs": composed.get("programs", ""),
            "base": str(base.image.manifest) if base else "",
            "keys": composed.get("keys", {}),
            "plan": str(named),
            "built": _run_facts(run),
            "blobs": digests(built.manifest, built.config, named),
        }

    return run.stage("image", plan.image, make)


def _run_facts(run: Run) -> dict[str, object]:
    """Of the run that makes an image: `run`, `started` and `finished` in seconds since the epoch,
    and of its `log` so far `name`, `size` and `digest`; what provenance tells of a run.

    Fixed here, where all bytes of the image are: whoever asks later gets the same answer.
    """
    row = run.shop.records.run(run.id)
    finished = run.shop.clock()
    with run.log.path.open("rb") as log:  # it may be as long as build.limits.log
        digest = Digest(hashlib.file_digest(log, "sha256").hexdigest())
        size = log.tell()
    return {
        "run": run.id,
        "started": row.started if row else finished,
        "finished": finished,
        "log": {"name": run.log.path.name, "size": size, "digest": str(digest)},
    }


def rework(run: Run, standing: Standing, detail: Output) -> Reworked:
    """What is to be tagged: the image, or where nothing changed in the recipe what a person put
    there; else with the edits that are to be kept. The log tells what became of each."""
    names = tag_names(run.recipe)
    seen = {name: run.shop.records.tagged(name) for name in names}
    if not run.forced and not standing.changes:
        found = put_by_hand(run.shop.records, names, str(detail["manifest"]))
        if found is not None:
            run.log.say(f"   edited by hand, and kept: {str(found['manifest'])[:19]}")
            return Reworked(found, seen=seen)
    reworked = rework_edits(run.shop, names, detail)
    for line in (*reworked.lines, *reworked.dropped):
        run.log.say(f"   {line}")
    for line in reworked.dropped:
        run.shop.reporter.note(run.recipe.name, line)
    return replace(reworked, seen=seen)


def publish(run: Run, made: Image, reworked: Reworked, under: Output) -> Published:
    """Move the tags. What a target refused, and did not have to take, is a note. TagMovedError
    where somebody moved one since `rework`.

    `under` is the record of the image before its edits.
    """
    shop = run.shop
    with run.timed("publish"):
        publication = Publication(
            run.id,
            made,
            reworked.detail,
            shop.clock(),
            edits=reworked.rows,
            under=under if reworked.rows else None,
            seen=reworked.seen,
        )
        published = publish_image(
            accompany(shop, publication),
            publishing=shop.config.publish,
            blobs=shop.blobs,
            records=shop.records,
            machine=shop.machine,
        )
    for line in published.moved:
        run.log.say(f"   {line} → {made.manifest}")
    for note in published.notes:
        run.log.say(f"   {note}")
        shop.reporter.note(run.recipe.name, note)
    return published


def describe_payload(recipe: Recipe, tree: Tree) -> str:
    """The `created_by` of the payload's layer: what it is, and of how much."""
    files = sum(entry.kind == "file" for entry in tree.entries)
    return f"minid: {recipe.name} {recipe.source.version} compiled from source, {files} files"
