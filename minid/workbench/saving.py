"""Images as files to give away: each archive whole or not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minid.errors import HostError
from minid.formats.archive import Packed, iterate_archive, list_all
from minid.formats.digest import Digest
from minid.formats.gzip_stream import gzip_chunks
from minid.formats.image_record import parse_image
from minid.formats.oci import architecture_of
from minid.host.export_folder import Beside, no_files, write_export
from minid.host.files import write_stream
from minid.line.attest import Attestations
from minid.store.blobs import Blobs
from minid.store.records import Records

Detail = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image to save, under these names."""

    detail: Detail
    names: tuple[str, ...]


def file_name(name: str, kind: str, *, plain: bool) -> str:
    """`nginx:1.26.3` → `nginx_1.26.3-image.tar.gz`; `kind` is image or container."""
    stem = name.replace("/", "_").replace(":", "_")
    return f"{stem}-{kind}.tar" + ("" if plain else ".gz")


def archive_bytes(
    wanted: Sequence[Wanted], blobs: Blobs, machine: str, *, plain: bool
) -> Iterator[bytes]:
    """One archive with all of these images, which `docker load`, podman and readers of the OCI
    layout take. Layers that they share are there once; every blob is hashed again on the way:
    StoreError where one is damaged."""
    packed = []
    for item in wanted:
        image = parse_image(item.detail)
        sizes = blobs.size(image.manifest), blobs.size(image.config)
        packed.append(Packed(image, item.names, *sizes))
    members = list_all(packed, architecture_of(machine))
    mtime = max((item.image.created for item in packed), default=0)
    chunks = iterate_archive(members, mtime=mtime, read=blobs.iterate)
    yield from chunks if plain else gzip_chunks(chunks)


def write_archive(path: Path, chunks: Iterable[bytes], beside: Beside = no_files) -> int:
    """Write a file whole or not at all, then what is to lie beside it; its size. What lay beside an
    archive that was there goes. HostError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if beside is no_files and not path.exists():
            write_stream(path, chunks)
        else:
            write_export(path, chunks, beside)
        return path.stat().st_size
    except OSError as error:
        raise HostError(f"{path}: expected to write the archive, got {error.strerror}") from error


def attest_beside(detail: Detail, records: Records, blobs: Blobs) -> Beside:
    """What makes bill and provenance to lie beside an archive of this image alone."""
    documents = Attestations(detail, records, blobs)

    def beside(archive: Path, digest: Digest) -> dict[str, bytes]:
        made = documents.make((archive.name, digest))
        return {item.suffix: item.data for item in made}

    return beside
