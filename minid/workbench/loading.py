"""Taking images from elsewhere into the store: archives of any engine, and bare root file systems.

All of an archive is verified before anything of it gets a name in the store.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from minid.errors import StoreError, UnpackError, UsageError
from minid.formats.compression import HEAD_BYTES, detect_compression
from minid.formats.digest import Digest
from minid.formats.image_archive import FoundImage, FoundLayer, check_sizes, read_archive
from minid.formats.image_config import ConfigFacts, parse_config
from minid.formats.image_words import parse_reference
from minid.formats.layer_tree import LayerTree
from minid.formats.oci import CONFIG_TYPE, Descriptor, architecture_of, dump_manifest
from minid.formats.tree import dump_tree
from minid.host.files import temporary_folder
from minid.line.workshop import Workshop
from minid.model import Image, Layer, Sizes
from minid.steps.layers import compress_tar
from minid.store.blobs import Staged
from minid.workbench.arriving import REPORT, Arrival, Loaded, Taken, arrive, describe_image
from minid.workbench.loading_root import load_root
from minid.workbench.spool import (
    ARCHIVE,
    LayoutFolder,
    Source,
    Spool,
    is_image_archive,
    iterate_file,
    open_tar,
    plain_bytes,
)

__all__ = [
    "Arrival",
    "Loaded",
    "LoadedArchive",
    "load_archive",
    "load_layout",
    "load_root",
    "naming",
]

CONTAINER = "-container"
VERSION_LABEL = "org.opencontainers.image.version"
_LONGEST_VERSION = 128
# What engines put in front of a name that a person gave without a registry.
_UNNAMED_REGISTRIES = ("docker.io/library/", "docker.io/", "localhost/")


@dataclass(frozen=True, slots=True)
class LoadedArchive:
    """What an archive was, for people, and its images."""

    kind: str
    images: tuple[Loaded, ...]


def load_archive(shop: Workshop, file: BinaryIO, arrival: Arrival) -> LoadedArchive:
    """Take the images of an archive in; a tar without any is a root file system, one image.

    `file` can be sought. UnpackError for what is damaged, UsageError for an image without a name
    or for a tag that another image has; the store is then as before.
    """
    with naming(arrival.origin):
        if not is_image_archive(lambda: open_tar(file)):
            return LoadedArchive("root file system", (load_root(shop, file, arrival),))
        with temporary_folder(shop.jobs_folder, "load-") as folder:
            spool = Spool(folder)
            spool.take(open_tar(file))
            return _load(shop, spool, arrival)


def load_layout(shop: Workshop, folder: Path, arrival: Arrival) -> LoadedArchive:
    """Take the images of an OCI layout in a folder in, as `load_archive` does."""
    with naming(arrival.origin):
        return _load(shop, LayoutFolder(folder), arrival)


@contextmanager
def naming(origin: str) -> Iterator[None]:
    """What is wrong with an archive is told with the archive's name."""
    try:
        yield
    except UnpackError as error:
        raise UnpackError(f"{origin}: {error.message}", hint=error.hint) from error


def _load(shop: Workshop, files: Source, arrival: Arrival) -> LoadedArchive:
    found = read_archive(files, architecture_of(shop.machine))
    if found is None or not found.images:
        raise UnpackError(
            "expected the images of an OCI layout, or of `docker save` since 1.10, got none",
            hint="`minid import` takes a root file system",
        )
    if arrival.tags and len(found.images) > 1:
        raise UsageError(f"--tag: expected one image to name, got {len(found.images)}")
    if len(found.images) > 1:
        arrival = replace(arrival, otherwise="")
    stager = _Stager(shop, files)
    taken = [stager.take(image, arrival) for image in found.images]
    return LoadedArchive(found.kind, arrive(shop, taken, arrival))


def take_image(shop: Workshop, files: Source, found: FoundImage, arrival: Arrival) -> Loaded:
    """Take one image in whose files are read from `files`, as `load_archive` does."""
    (loaded,) = arrive(shop, [_Stager(shop, files).take(found, arrival)], arrival)
    return loaded


class _Stager:
    """Verifies the images of one source and stages their blobs; layers that images share once, and
    all of them together no larger than an archive may be."""

    def __init__(self, shop: Workshop, files: Source) -> None:
        self._shop, self._files = shop, files
        self._left = ARCHIVE.total_bytes
        self._layers: dict[tuple[FoundLayer, Digest], tuple[Staged, Staged]] = {}

    def take(self, found: FoundImage, arrival: Arrival) -> Taken:
        """One image, verified."""
        facts = parse_config(found.config, "config")
        if len(facts.diff_ids) != len(found.layers):
            raise UnpackError(
                f"config: expected {len(found.layers)} diff IDs, got {len(facts.diff_ids)}"
            )
        names = arrival.names(familiar_name(name) for name in found.names)
        tree, staged, layers = LayerTree(), [], []
        for number, (diff_id, source) in enumerate(zip(facts.diff_ids, found.layers, strict=True)):
            packed, plain = self._layer(source, diff_id)
            tree.lay(diff_id, iterate_file(plain.path))
            staged += [packed, plain]
            words = facts.history[number] if number < len(facts.history) else ("", "")
            layers.append(
                Layer(diff_id, packed.digest, packed.size, tree.unpacked[-1], words[0], words[1])
            )
        taken = self._describe(found, facts, tuple(layers), tree, replace(arrival, tags=names))
        return replace(taken, staged=staged + taken.staged)

    def _describe(
        self,
        found: FoundImage,
        facts: ConfigFacts,
        layers: tuple[Layer, ...],
        tree: LayerTree,
        arrival: Arrival,
    ) -> Taken:
        """Stage configuration, manifest and tree of an image whose layers are staged."""
        stage = self._shop.blobs.stage
        config = stage([found.config])
        data = found.manifest
        if [layer.digest for layer in layers] != [source.digest for source in found.layers]:
            data = None
        if data is None:
            data = dump_manifest(Descriptor(CONFIG_TYPE, config.digest, config.size), layers)
        check_sizes(data, [config.size, *(layer.size for layer in layers)])
        manifest, stored, report = stage([data]), stage([dump_tree(tree.tree())]), stage([REPORT])
        names = arrival.tags
        image = Image(
            recipe="",
            version=_version(facts.labels) or names[0].rpartition(":")[2],
            manifest=manifest.digest,
            config=config.digest,
            layers=layers,
            sizes=Sizes(sum(tree.unpacked), sum(layer.size for layer in layers), 0),
            tags=names,
            created=parse_time(facts.created),
        )
        sizes = manifest.size, config.size
        detail = describe_image(self._shop, image, stored.digest, sizes, arrival)
        return Taken(detail, names, [config, manifest, stored, report], tree.left_out)

    def _layer(self, source: FoundLayer, diff_id: Digest) -> tuple[Staged, Staged]:
        """A layer as it is transferred and as a tar, verified. A gzip that its manifest calls one
        stays as it came, all else is gzipped as minid's own layers are: what minid made and an
        engine unpacked becomes the very layer again."""
        key = source, diff_id
        if key not in self._layers:
            try:
                self._layers[key] = self._stage_layer(source, diff_id)
            except StoreError as error:
                where = f"layer {diff_id.short}"
                raise UnpackError(f"{where}: {error.message.removeprefix('blob: ')}") from error
            self._left -= self._layers[key][1].size
        return self._layers[key]

    def _stage_layer(self, source: FoundLayer, diff_id: Digest) -> tuple[Staged, Staged]:
        blobs = self._shop.blobs
        came = blobs.stage(self._files.iterate(source.path), source.digest)
        with came.path.open("rb") as file:
            kind = detect_compression(file.read(HEAD_BYTES))
            plain = blobs.stage(plain_bytes(file, self._left), diff_id)
        if source.gzipped and kind == "gzip":
            return came, plain
        came.path.unlink()
        return blobs.stage(compress_tar(lambda: iterate_file(plain.path), plain.size)), plain


def familiar_name(name: str) -> str:
    """`docker.io/library/nginx:1` → `nginx:1`; UnpackError for what is no name."""
    bare = name
    for prefix in _UNNAMED_REGISTRIES:
        if name.startswith(prefix):
            bare = name.removeprefix(prefix)
            break
    try:
        return parse_reference(bare)
    except ValueError as error:
        raise UnpackError(f"name: {error}") from error


def name_of_file(file: str) -> str:
    """A name for what a file has no name for: `rootfs.tar.xz` → `rootfs:latest`,
    `nginx_1.26.3-container.tar.gz` → `nginx-container:1.26.3`; empty where it gives none."""
    stem = file
    for ending in (".gz", ".xz", ".bz2", ".zst", ".tgz", ".txz", ".tar", ".oci"):
        stem = stem.removesuffix(ending)
    repository, mark, tag = stem.removesuffix(CONTAINER).rpartition("_")
    if mark and stem.endswith(CONTAINER):
        name = f"{repository.lower()}{CONTAINER}:{tag}"
    else:
        name = f"{stem.lower()}:latest"
    try:
        return parse_reference(name)
    except ValueError:
        return ""


def _version(labels: Mapping[str, str]) -> str:
    return labels.get(VERSION_LABEL, "")[:_LONGEST_VERSION]


def parse_time(text: str) -> int:
    """RFC 3339 as seconds since the epoch; 0 for what is none."""
    try:
        moment = datetime.datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        return 0
    return max(0, int(moment.timestamp()))
