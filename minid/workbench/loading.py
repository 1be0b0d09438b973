"""Taking images from elsewhere into the store: archives of any engine, and bare root file systems.

All of an archive is verified before anything of it gets a name in the store.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from minid.errors import StoreError, UnpackError, UsageError
from minid.formats.archive import archive_size, list_members
from minid.formats.digest import Digest, canonical_json
from minid.formats.gzip_stream import gzip_chunks
from minid.formats.image_archive import (
    ConfigFacts,
    FoundImage,
    FoundLayer,
    parse_config,
    read_archive,
)
from minid.formats.image_record import dump_image, parse_image
from minid.formats.image_words import parse_reference
from minid.formats.layer_tree import LIMITS, LayerTree
from minid.formats.oci import (
    CONFIG_TYPE,
    Descriptor,
    History,
    RunConfig,
    architecture_of,
    dump_config,
    dump_manifest,
)
from minid.formats.tree import dump_tree
from minid.host.files import temporary_folder
from minid.line.workshop import Workshop
from minid.model import Image, Layer, Sizes
from minid.steps.layers import write_layer
from minid.store.blobs import Staged
from minid.store.contents import read_content
from minid.store.edits import EditKind, EditRow
from minid.workbench.moving import Moved, move_tags
from minid.workbench.spool import (
    LayoutFolder,
    Source,
    Spool,
    is_image_archive,
    open_tar,
    plain_bytes,
)

VERSION_LABEL = "org.opencontainers.image.version"
_DOCKER_IO = ("docker.io/library/", "docker.io/")


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that was taken in: its record, its tags, and what moved (None where it was there
    already, under these very tags). `left_out` counts devices and FIFOs without a place in a tree.
    """

    detail: Mapping[str, object]
    names: tuple[str, ...]
    moved: Moved | None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class LoadedArchive:
    """What an archive was, for people, and its images."""

    kind: str
    images: tuple[Loaded, ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """How images come in: as which kind of edit, by whom and why; `tags` are names for an image
    that brings none, `replace` takes tags from other images."""

    kind: EditKind
    who: str
    origin: str
    message: str = ""
    tags: tuple[str, ...] = ()
    replace: bool = False


@dataclass(slots=True)
class _Taken:
    """An image verified and staged: nothing of it has a name in the store yet."""

    detail: dict[str, object]
    names: tuple[str, ...]
    staged: list[Staged] = field(default_factory=list)
    left_out: int = 0


def load_archive(shop: Workshop, file: BinaryIO, arrival: Arrival) -> LoadedArchive:
    """Take the images of an archive in; a tar without any is a root file system, one image.

    `file` can be sought. UnpackError for what is damaged, UsageError for an image without a name
    or for a tag that another image has; the store is then as before.
    """
    if not is_image_archive(lambda: open_tar(file)):
        return LoadedArchive("root file system", (load_root(shop, file, arrival),))
    with temporary_folder(shop.jobs_folder, "load-") as folder:
        spool = Spool(folder)
        spool.take(open_tar(file))
        return _load(shop, spool, arrival)


def load_layout(shop: Workshop, folder: Path, arrival: Arrival) -> LoadedArchive:
    """Take the images of an OCI layout in a folder in, as `load_archive` does."""
    return _load(shop, LayoutFolder(folder), arrival)


def _load(shop: Workshop, files: Source, arrival: Arrival) -> LoadedArchive:
    found = read_archive(files, architecture_of(shop.machine))
    if found is None or not found.images:
        raise UnpackError("archive: expected at least one image, got none")
    if arrival.tags and len(found.images) > 1:
        raise UsageError(f"--tag: expected one image to name, got {len(found.images)}")
    taken = [_take(shop, files, image, arrival) for image in found.images]
    return LoadedArchive(found.kind, tuple(_arrive(shop, taken, arrival)))


def load_root(
    shop: Workshop,
    file: BinaryIO,
    arrival: Arrival,
    run: RunConfig | None = None,
    comment: str = "",
) -> Loaded:
    """Take a tar of a root file system in as an image of one layer, which is written anew: the same
    files give the same layer, whoever packed them. `run` is what it is to start."""
    if not arrival.tags:
        raise UsageError(
            "a root file system: expected a name for it, got none", hint="--tag NAME:TAG"
        )
    source = shop.blobs.stage(plain_bytes(file))
    tree = LayerTree()
    with source.path.open("rb") as opened:
        tree.lay(source.digest, iter(lambda: opened.read(1 << 20), b""))
    shop.blobs.adopt(source.path, source.digest)
    entries = tree.tree().entries
    layer, placed = write_layer(
        entries, read_content(shop.blobs), shop.blobs, created_by=f"minid: {arrival.origin}"
    )
    created = max((entry.mtime for entry in entries), default=0)
    config = dump_config(
        run or RunConfig(),
        layers=(layer,),
        history=(History(layer.created_by),),
        labels={},
        created=created,
        architecture=architecture_of(shop.machine),
        author="",
        comment=comment,
    )
    config_digest = shop.blobs.add(config)
    manifest = dump_manifest(Descriptor(CONFIG_TYPE, config_digest, len(config)), (layer,))
    image = Image(
        recipe="",
        version=arrival.tags[0].rpartition(":")[2],
        manifest=shop.blobs.add(manifest),
        config=config_digest,
        layers=(layer,),
        sizes=Sizes(layer.unpacked_size, layer.size, 0),
        tags=arrival.tags,
        created=created,
    )
    stored = shop.blobs.add(dump_tree(placed))
    shop.blobs.add(_REPORT)
    detail = _record(shop, image, stored, len(manifest), len(config), arrival)
    taken = _Taken(detail, arrival.tags, [], tree.left_out)
    return next(_arrive(shop, [taken], arrival))


def take_image(shop: Workshop, files: Source, found: FoundImage, arrival: Arrival) -> Loaded:
    """Take one image in whose files are read from `files`, as `load_archive` does."""
    return next(_arrive(shop, [_take(shop, files, found, arrival)], arrival))


def _take(shop: Workshop, files: Source, found: FoundImage, arrival: Arrival) -> _Taken:
    """Verify an image and stage its blobs."""
    facts = parse_config(found.config, "config")
    if len(facts.diff_ids) != len(found.layers):
        raise UnpackError(
            f"config: expected {len(found.layers)} diff IDs, got {len(facts.diff_ids)}"
        )
    names = arrival.tags or tuple(dict.fromkeys(_familiar(name) for name in found.names))
    if not names:
        raise UsageError(
            "archive: expected an image with a name, got one without", hint="--tag NAME:TAG"
        )
    tree, staged, layers = LayerTree(), [], []
    for number, (diff_id, layer) in enumerate(zip(facts.diff_ids, found.layers, strict=True)):
        packed, plain = _stage_layer(shop, files, layer, diff_id, tree, keep=bool(found.manifest))
        staged += [packed, plain]
        created_by, comment = facts.history[number] if number < len(facts.history) else ("", "")
        size = tree.unpacked[-1]
        layers.append(Layer(diff_id, packed.digest, packed.size, size, created_by, comment))
    taken = stage_image(shop, found, facts, tuple(layers), tree, names, arrival)
    taken.staged = staged + taken.staged
    return taken


def stage_image(
    shop: Workshop,
    found: FoundImage,
    facts: ConfigFacts,
    layers: tuple[Layer, ...],
    tree: LayerTree,
    names: tuple[str, ...],
    arrival: Arrival,
) -> _Taken:
    """Stage configuration, manifest and tree of an image whose layers are staged."""
    config = shop.blobs.stage([found.config])
    data = found.manifest
    if data is None:
        data = dump_manifest(Descriptor(CONFIG_TYPE, config.digest, config.size), layers)
    manifest, stored = shop.blobs.stage([data]), shop.blobs.stage([dump_tree(tree.tree())])
    image = Image(
        recipe="",
        version=facts.labels.get(VERSION_LABEL, "") or names[0].rpartition(":")[2],
        manifest=manifest.digest,
        config=config.digest,
        layers=layers,
        sizes=Sizes(sum(tree.unpacked), sum(layer.size for layer in layers), 0),
        tags=names,
        created=parse_time(facts.created),
    )
    report = shop.blobs.stage([_REPORT])
    detail = _record(shop, image, stored.digest, manifest.size, config.size, arrival)
    return _Taken(detail, names, [config, manifest, stored, report], tree.left_out)


def _stage_layer(
    shop: Workshop,
    files: Source,
    layer: FoundLayer,
    diff_id: Digest,
    tree: LayerTree,
    *,
    keep: bool,
) -> tuple[Staged, Staged]:
    """A layer as it is transferred and as a tar, verified. With `keep` the transferred bytes stay
    as they came, else they are gzipped as minid's own are."""
    where = f"layer {diff_id.short}"
    try:
        came = shop.blobs.stage(files.iterate(layer.path), layer.digest)
        with came.path.open("rb") as file:
            plain = shop.blobs.stage(plain_bytes(file), diff_id)
    except StoreError as error:
        raise UnpackError(f"{where}: {error.message.removeprefix('blob: ')}") from error
    if plain.size > LIMITS.total_bytes:
        raise UnpackError(f"{where}: expected at most {LIMITS.total_bytes} bytes, got more")
    with plain.path.open("rb") as file:
        tree.lay(diff_id, iter(lambda: file.read(1 << 20), b""))
    if keep:
        return came, plain
    came.path.unlink()
    with plain.path.open("rb") as file:
        packed = shop.blobs.stage(gzip_chunks(iter(lambda: file.read(1 << 20), b"")))
    return packed, plain


def _record(
    shop: Workshop, image: Image, tree: Digest, manifest: int, config: int, arrival: Arrival
) -> dict[str, object]:
    """The image's record; its report names where it came from, and no reasons for files."""
    members = list_members(
        image,
        manifest_size=manifest,
        config_size=config,
        architecture=architecture_of(shop.machine),
        names=image.tags,
    )
    image = replace(image, sizes=replace(image.sizes, archive=archive_size(members)))
    return dump_image(image) | {
        "tree": str(tree),
        "report": str(Digest.of(_REPORT)),
        "programs": "",
        "origin": {"kind": arrival.kind, "from": arrival.origin},
        "blobs": [str(image.manifest), str(image.config)],
    }


# What packing would have told of an image that minid packed.
_REPORT = canonical_json(
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


def _arrive(shop: Workshop, taken: Sequence[_Taken], arrival: Arrival) -> Iterator[Loaded]:
    """Give the blobs their names, and move the tags."""
    for item in taken:
        _use_known(shop, item)
        _refuse_taken(shop, item, arrival)
    for item in taken:
        for staged in {staged.digest: staged for staged in item.staged}.values():
            shop.blobs.adopt(staged.path, staged.digest)
            staged.path.unlink(missing_ok=True)
    for item in taken:
        yield arrive(shop, item.detail, item.names, arrival, left_out=item.left_out)


def arrive(
    shop: Workshop,
    detail: Mapping[str, object],
    names: Sequence[str],
    arrival: Arrival,
    *,
    left_out: int = 0,
) -> Loaded:
    """Point tags at an image whose blobs are in the store. An image that the store has a record of
    keeps it."""
    manifest = str(detail["manifest"])
    known = shop.records.image(manifest)
    chosen = detail if known is None else known
    before = {name: shop.records.tagged(name) for name in names}
    if set(before.values()) == {manifest}:
        return Loaded(chosen, tuple(names), None, left_out)
    row = EditRow(
        kind=arrival.kind,
        recipe=str(chosen["recipe"]),
        from_manifest=next((value for value in before.values() if value), ""),
        to_manifest=manifest,
        who=arrival.who,
        time=shop.clock(),
        message=arrival.message,
        detail={"origin": arrival.origin, "names": before},
    )
    moved = move_tags(shop, row, chosen, names, targets=False, expected=before)
    return Loaded(chosen, tuple(names), moved, left_out)


def _use_known(shop: Workshop, item: _Taken) -> None:
    """Where a tag has an image of the very configuration, that is the image: Docker's archives
    lose the manifest, and the layers' compression with it."""
    for name in item.names:
        holder = shop.records.image(shop.records.tagged(name))
        if holder is not None and holder["config"] == item.detail["config"]:
            image = parse_image(holder)
            parts = (image.manifest, image.config, *(layer.digest for layer in image.layers))
            if shop.blobs.claim(*parts):
                item.detail = dict(holder)
                return


def _refuse_taken(shop: Workshop, item: _Taken, arrival: Arrival) -> None:
    manifest = str(item.detail["manifest"])
    for name in item.names:
        holder = shop.records.tagged(name)
        if holder and holder != manifest and not arrival.replace:
            raise UsageError(
                f"{name}: expected a tag that is free, got one of image {holder[7:19]}",
                hint="--replace moves it, --tag gives another name",
            )


def _familiar(name: str) -> str:
    """`docker.io/library/nginx:1` → `nginx:1`; UnpackError for what is no name."""
    bare = name
    for prefix in _DOCKER_IO:
        if bare.startswith(prefix) and (prefix != _DOCKER_IO[1] or "/" in bare[len(prefix) :]):
            bare = bare.removeprefix(prefix)
            break
    try:
        return parse_reference(bare)
    except ValueError as error:
        raise UnpackError(f"archive: name: {error}") from error


def parse_time(text: str) -> int:
    """RFC 3339 as seconds since the epoch; 0 for what is none."""
    try:
        moment = datetime.datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        return 0
    return max(0, int(moment.timestamp()))
