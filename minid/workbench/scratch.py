"""A store made in a moment, as a build leaves it, without compiling anything: what `verify` tries
itself on."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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
from minid.model import Content, Entry, Image, Layer, Sizes
from minid.steps.layers import write_layer
from minid.store.contents import read_content, store_tree
from minid.store.layout import write_layout
from minid.store.records import StageRow

EPOCH = 1700000000
_LIBRARY = "libscratch.so.1"
_X86_64 = 62


@dataclass(frozen=True, slots=True)
class Made:
    """An image of a scratch store: its record, and the blobs that it stands on besides."""

    detail: Mapping[str, object]
    run: int
    archive: Digest
    install_tar: Digest

    @property
    def manifest(self) -> str:
        """The manifest's digest."""
        return str(self.detail["manifest"])


@dataclass(frozen=True, slots=True)
class Design:
    """What an image of a scratch store is to be. `diff_ids` replaces those that the configuration
    states."""

    recipe: str = "scratch"
    version: str = "1.0"
    tags: tuple[str, ...] = ("scratch:1.0", "scratch:latest")
    entries: tuple[Entry, ...] = ()
    comment: str = ""
    diff_ids: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)


def folder(path: str) -> Entry:
    """A folder."""
    return Entry(path, "directory", 0o755, EPOCH)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """A file."""
    return Entry(path, "file", mode, EPOCH, content=Content.inline(data))


def root_of(text: str, *, library: bool = True) -> tuple[Entry, ...]:
    """A root with a program and, with `library`, what it needs."""
    entries = [
        folder(""),
        folder("bin"),
        file("bin/program", elf_file(needed=_LIBRARY), 0o755),
        folder("etc"),
        file("etc/motd", text.encode()),
        folder("lib"),
    ]
    if library:
        entries.append(file(f"lib/{_LIBRARY}", elf_file(soname=_LIBRARY)))
    return sort_entries(entries)


def elf_file(*, needed: str = "", soname: str = "") -> bytes:
    """The smallest ELF file that a loader would look into: a dynamic section and its strings."""
    strings = b"\0" + needed.encode() + b"\0" + soname.encode() + b"\0"
    tags = [(1, 1)] if needed else []
    tags += [(14, len(needed) + 2)] if soname else []
    head_size, dynamic_at = 64, 64 + 2 * 56
    strings_at = dynamic_at + 16 * (len(tags) + 3)
    tags += [(5, strings_at), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    size = strings_at + len(strings)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, _X86_64, 1, 0, head_size, 0, 0, head_size, 56, 2, 64, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    section = struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, dynamic_at, 0, len(dynamic), 0, 8)
    return header + load + section + dynamic + strings


def make_image(shop: Workshop, design: Design) -> Made:
    """Put an image there as a run would have: blobs, results, stages, tags, the layout."""
    blobs, now = shop.blobs, shop.clock()
    text = f"{design.recipe} {design.version} {design.comment}"
    entries = design.entries or root_of(text)
    archive = blobs.add(f"archive of {text}".encode())
    installed = all_entries(entries, [file("zz-manual", b"left out of the image")])
    install_tar, install = store_tree(installed, read_content(blobs), blobs)
    layer, tree = write_layer(
        entries, read_content(blobs), blobs, created_by=f"minid: {text}", comment=""
    )
    report = blobs.add(
        json.dumps(
            {"environment": {"digest": str(Digest.of(b"environment")), "packages": []}}
        ).encode()
    )
    image = _write_image(shop, design, layer)
    detail: dict[str, object] = dump_image(image) | {
        "tree": str(blobs.add(dump_tree(tree))),
        "report": str(report),
        "programs": "",
        "blobs": [str(image.manifest), str(image.config)],
        **design.extra,
    }
    install_tree = blobs.add(dump_tree(install))
    compiled = {
        "tree": str(install_tree),
        "archive": str(archive),
        "blobs": [str(install_tree), str(install_tar)],
    }
    blobs.flush()
    run = shop.records.start_run(design.recipe, design.version, "scratch", (), now)
    stages: dict[str, Mapping[str, object]] = {
        "compile": compiled,
        "image": detail,
        "check": {"blobs": []},
    }
    _record_stages(shop, run, text, design.recipe, stages)
    shop.records.publish(run, detail, design.tags, now)
    inputs = {"source.archive": str(archive)}
    shop.records.finish_run(run, design.recipe, str(image.manifest), inputs, now)
    write_layout(blobs, shop.records, shop.machine)
    return Made(detail, run, archive, install_tar)


def _record_stages(
    shop: Workshop, run: int, text: str, recipe: str, stages: Mapping[str, Mapping[str, object]]
) -> None:
    for name, output in stages.items():
        key = Digest.of(f"{name} of {text}".encode()).hex
        shop.records.add_result(key, name, recipe, output, shop.clock())
        shop.records.add_stage(run, StageRow(name, key, False, 0.1, {"gcc": "12"}))


def _write_image(shop: Workshop, design: Design, layer: Layer) -> Image:
    blobs = shop.blobs
    config = dump_config(
        RunConfig(cmd=("/bin/program",)),
        layers=[layer],
        history=[History(layer.created_by)],
        labels={},
        created=EPOCH,
        architecture="amd64",
        author="",
        comment=design.comment,
    )
    if design.diff_ids:
        value = json.loads(config)
        value["rootfs"]["diff_ids"] = list(design.diff_ids)
        config = json.dumps(value).encode()
    stored = blobs.add(config)
    manifest = dump_manifest(Descriptor(CONFIG_TYPE, stored, len(config)), [layer])
    return Image(
        recipe=design.recipe,
        version=design.version,
        manifest=blobs.add(manifest),
        config=stored,
        layers=(layer,),
        sizes=Sizes(layer.unpacked_size, layer.size, layer.size),
        tags=design.tags,
        created=EPOCH,
    )


def all_entries(*parts: Iterable[Entry] | Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries of several, in the order of a layer."""
    return sort_entries(entry for part in parts for entry in part)
