"""Taking a bare root file system into the store, as an image of one layer that is written anew: the
same files give the same layer, whoever packed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from minid.formats.digest import Digest
from minid.formats.layer_tree import LayerTree
from minid.formats.oci import (
    CONFIG_TYPE,
    Descriptor,
    History,
    RunConfig,
    architecture_of,
    dump_config,
    dump_manifest,
)
from minid.formats.tar import TarWriter
from minid.formats.tree import dump_tree
from minid.line.workshop import Workshop
from minid.model import Entry, Image, Layer, Sizes, Tree
from minid.steps.layers import compress_tar
from minid.store.blobs import Staged
from minid.workbench.arriving import REPORT, Arrival, Loaded, Taken, arrive, describe_image
from minid.workbench.spool import PIECE, iterate_file, plain_bytes

_MANY = 1000  # headers to hold on to


def load_root(
    shop: Workshop,
    file: BinaryIO,
    arrival: Arrival,
    run: RunConfig | None = None,
    comment: str = "",
) -> Loaded:
    """Take a tar of a root file system in; `run` is what it is to start.

    `file` can be sought. UnpackError for what is damaged, UsageError without a name or for a tag
    that another image has; the store is then as before.
    """
    names = arrival.names(())
    source = shop.blobs.stage(plain_bytes(file))
    laid = LayerTree()
    laid.lay(source.digest, iterate_file(source.path))
    tar, tree = _write_anew(shop, source, laid.tree())
    source.path.unlink()
    packed = shop.blobs.stage(compress_tar(lambda: iterate_file(tar.path), tar.size))
    layer = Layer(
        diff_id=tar.digest,
        digest=packed.digest,
        size=packed.size,
        unpacked_size=sum(entry.content.size for entry in tree.entries if entry.content),
        created_by=f"minid: {arrival.origin}",
        comment="",
    )
    created = max((entry.mtime for entry in tree.entries), default=0)
    data = dump_config(
        run or RunConfig(),
        layers=(layer,),
        history=(History(layer.created_by),),
        labels={},
        created=created,
        architecture=architecture_of(shop.machine),
        author="",
        comment=comment,
    )
    config = shop.blobs.stage([data])
    descriptor = Descriptor(CONFIG_TYPE, config.digest, config.size)
    manifest = shop.blobs.stage([dump_manifest(descriptor, (layer,))])
    stored, report = shop.blobs.stage([dump_tree(tree)]), shop.blobs.stage([REPORT])
    image = Image(
        recipe="",
        version=names[0].rpartition(":")[2],
        manifest=manifest.digest,
        config=config.digest,
        layers=(layer,),
        sizes=Sizes(layer.unpacked_size, layer.size, 0),
        tags=names,
        created=created,
    )
    detail = describe_image(shop, image, stored.digest, (manifest.size, config.size), arrival)
    staged = [tar, packed, config, manifest, stored, report]
    (loaded,) = arrive(shop, [Taken(detail, names, staged, laid.left_out)], arrival)
    return loaded


def _write_anew(shop: Workshop, source: Staged, tree: Tree) -> tuple[Staged, Tree]:
    """The tree's own tar, and the tree pointing into it."""
    offsets: dict[str, int] = {}
    tar = shop.blobs.stage(_tar_bytes(source, tree, offsets))
    entries = tuple(_place(entry, tar.digest, offsets) for entry in tree.entries)
    return tar, Tree(entries)


def _place(entry: Entry, blob: Digest, offsets: dict[str, int]) -> Entry:
    if entry.content is None:
        return entry
    content = replace(entry.content, blob=blob, offset=offsets[entry.image_path])
    return replace(entry, content=content)


def _tar_bytes(source: Staged, tree: Tree, offsets: dict[str, int]) -> Iterator[bytes]:
    """The bytes, handed on while they come: a file can be larger than memory."""
    pending: list[bytes] = []
    writer = TarWriter(pending.append)
    with source.path.open("rb") as file:
        for entry in tree.entries:
            offsets[entry.image_path] = writer.begin(entry)
            if entry.content is not None:
                file.seek(entry.content.offset)
                left = entry.content.size
                while left:
                    piece = file.read(min(left, PIECE))
                    writer.put_content(piece)
                    left -= len(piece)
                    yield b"".join(pending)
                    pending.clear()
            writer.finish()
            if len(pending) > _MANY:
                yield b"".join(pending)
                pending.clear()
    writer.close()
    yield b"".join(pending)
