"""Images in a store without a build: what a run of a recipe leaves there, made in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from minid.formats.digest import Digest
from minid.formats.image_record import dump_image
from minid.formats.oci import (
    CONFIG_TYPE,
    Descriptor,
    History,
    RunConfig,
    dump_config,
    dump_manifest,
)
from minid.formats.tree import dump_tree, sort_entries
from minid.line.workshop import Workshop
from minid.model import Content, Entry, Image, Sizes
from minid.steps.layers import write_layer
from minid.store.contents import read_content
from minid.store.records import StageRow

MTIME = 1700000000


def entries_of(text: str) -> list[Entry]:
    """A small root."""
    return [
        Entry("", "directory", 0o755, MTIME),
        Entry("etc", "directory", 0o755, MTIME),
        Entry("etc/motd", "file", 0o644, MTIME, content=Content.inline(text.encode())),
    ]


def store_image(
    shop: Workshop,
    recipe: str,
    version: str,
    *,
    tags: Sequence[str],
    text: str = "",
    entries: Iterable[Entry] = (),
) -> str:
    """An image that a run made and tagged, with its results; the manifest's digest."""
    blobs, records, now = shop.blobs, shop.records, shop.clock()
    content = sort_entries(entries or entries_of(f"{recipe} {version} {text}"))
    layer, tree = write_layer(content, read_content(blobs), blobs, created_by="test")
    stored = blobs.add(dump_tree(tree))
    report = blobs.add(b"{}")
    config = dump_config(
        RunConfig(cmd=("/bin/x",)),
        layers=[layer],
        history=[History("test")],
        labels={},
        created=MTIME,
        architecture="amd64",
        author="",
        comment=text,
    )
    manifest = dump_manifest(Descriptor(CONFIG_TYPE, blobs.add(config), len(config)), [layer])
    image = Image(
        recipe,
        version,
        blobs.add(manifest),
        Digest.of(config),
        (layer,),
        Sizes(1, layer.size, 1),
        tuple(tags),
        MTIME,
    )
    detail = dump_image(image) | {"tree": str(stored), "report": str(report), "programs": ""}
    detail["blobs"] = [str(image.manifest), str(image.config)]
    blobs.flush()
    run = records.start_run(recipe, version, "test", (), now)
    key = Digest.of(f"{recipe} {version} {text}".encode()).hex
    records.add_stage(run, StageRow("image", key, False, 0.1, {}))
    records.add_result(key, "image", recipe, detail, now)
    records.publish(run, detail, tags, now)
    records.finish_run(run, recipe, str(image.manifest), {"source.version": version}, now)
    return str(image.manifest)
