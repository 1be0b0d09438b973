"""Finding the bytes of lost blobs elsewhere: the tar in a layer's gzip, the gzip that the pinned
compressor makes of a tar, the archives of the export folder, and the Docker engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from minid.errors import MinidError
from minid.formats.compression import decompress, detect_compression
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.formats.tar_reader import TarLimits, TarReader
from minid.line.workshop import Workshop
from minid.model import Image, Layer
from minid.steps.layers import compress_layer
from minid.steps.publish_targets import export_name
from minid.store.blobs import Blobs
from minid.store.reach import blobs_of
from minid.workbench.verifying import readable_images

_LIMITS = TarLimits(total_bytes=64 << 30, file_bytes=32 << 30, members=100_000)

_Streams = Iterator[tuple[str, Callable[[], Iterable[bytes]]]]


def salvage(shop: Workshop, lost: Iterable[Digest]) -> dict[Digest, str]:
    """Put back those lost blobs whose bytes can be had; which, and how. Every
    blob is hashed before it gets its name."""
    wanted = set(lost)
    won: dict[Digest, str] = {}
    images = {
        manifest: parse_image(detail)
        for manifest, detail in readable_images(shop.records).items()
        if wanted & set(blobs_of(detail))
    }
    for image in images.values():
        for layer in image.layers:
            _from_twin(shop, layer, wanted, won)
    for source, stream in _archives(shop, images):
        if not wanted:
            break
        _from_archive(shop, source, stream, wanted, won)
        for image in images.values():
            for layer in image.layers:
                _from_twin(shop, layer, wanted, won)
    return won


def _from_twin(shop: Workshop, layer: Layer, wanted: set[Digest], won: dict[Digest, str]) -> None:
    """A layer's tar from its gzip, or the other way round."""
    pairs = (
        (layer.diff_id, layer.digest, "made again from its gzip", _inflate),
        (layer.digest, layer.diff_id, "made again from its tar", compress_layer),
    )
    for missing, source, words, make in pairs:
        if missing in wanted and shop.blobs.has(source):
            try:
                shop.blobs.add(make(source, shop.blobs), missing)
            except (MinidError, ValueError):
                continue  # damaged itself, or not of this compressor
            wanted.discard(missing)
            won[missing] = words


def _inflate(digest: Digest, blobs: Blobs) -> Iterator[bytes]:
    with blobs.path(digest).open("rb") as file:
        kind = detect_compression(file.read(16))
        file.seek(0)
        yield from decompress(file.read, kind, _LIMITS.total_bytes)


def _archives(shop: Workshop, images: Mapping[str, Image]) -> _Streams:
    """Archives that may hold what is lost: those of the export folder, then what Docker saves."""
    folder = shop.config.publish.export
    names = [row.name for row in shop.records.tags() if row.manifest in images]
    for path in [folder / export_name(name) for name in names] if folder else ():
        if path.is_file():
            yield str(path), partial(_read_archive, path)
    if shop.config.publish.docker != "off" and images:
        from minid.host.docker_engine import engine_answers
        from minid.host.docker_save import save_image

        if engine_answers():
            for image in images.values():
                yield "Docker", partial(save_image, str(image.config))


def _read_archive(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        kind = detect_compression(file.read(16))
        file.seek(0)
        yield from decompress(file.read, kind, _LIMITS.total_bytes)


def _from_archive(
    shop: Workshop,
    source: str,
    stream: Callable[[], Iterable[bytes]],
    wanted: set[Digest],
    won: dict[Digest, str],
) -> None:
    """Whatever file of an archive has the digest of a lost blob, under whatever name."""
    try:
        reader = TarReader(stream(), _LIMITS)
        for member in reader:
            if member.kind != "file":
                continue
            with shop.blobs.receive() as sink:
                for chunk in reader.content():
                    sink.write(bytes(chunk))
                digest = sink.digest_so_far()
                if digest in wanted:
                    sink.commit()
                    wanted.discard(digest)
                    won[digest] = f"found in {source}"
    except (MinidError, OSError):
        return  # an archive that is damaged itself; what came whole is kept
