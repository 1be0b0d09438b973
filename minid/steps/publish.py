"""Move tags: the store's own layout always, Docker Engine and a folder of archives where asked.

The order is blobs, records, index: the records are the truth, and `index.json` is written from
them, so that a reader of the layout sees the old tags or the new ones. Only images whose check
passed come here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minid.config import Publishing
from minid.errors import PublishError
from minid.formats.archive import iterate_archive, list_members
from minid.formats.digest import Digest
from minid.formats.gzip_stream import gzip_chunks
from minid.formats.oci import architecture_of
from minid.formats.oci_artifact import Attachment
from minid.host.docker_engine import Archive, load_image, publish_archive
from minid.host.export_folder import Beside, no_files, write_export
from minid.host.files import exclusive_folder
from minid.model import Image, Published
from minid.steps.publish_targets import (
    DOCKER,
    REGISTRY,
    SIGNATURE,
    export_name,
    known_in_docker,
    pending_targets,
    registry_target,
)
from minid.store.blobs import Blobs
from minid.store.edits import EditRow, Edits
from minid.store.layout import write_layout
from minid.store.records import PublicationRow, Records
from minid.store.signatures import sign_stored


@dataclass(frozen=True, slots=True)
class Publication:
    """An image on its way to its targets, by a run, or with `run` 0 by an edit.

    `edits` are recorded with it: those that a run made again, and what it changed in the image's
    metadata; `under` is the image before them. `seen` is what tags pointed at when
    that was decided. `beside` makes what lies beside exported archives, `attachments` what goes to
    registries with the image.
    """

    run: int
    image: Image
    detail: Mapping[str, object]
    now: float
    edit: int = 0
    edits: tuple[EditRow, ...] = ()
    under: Mapping[str, object] | None = None
    seen: Mapping[str, str] = field(default_factory=dict)
    beside: Beside = no_files
    attachments: Callable[[], Sequence[Attachment]] = tuple


class TagMovedError(PublishError):
    """Somebody moved a tag while a run made the image that is to be under it."""


def publish_image(
    publication: Publication,
    *,
    publishing: Publishing,
    blobs: Blobs,
    records: Records,
    machine: str,
) -> Published:
    """Move the image's tags in the store, then at the other targets that lack it.

    TagMovedError, with nothing moved, where a tag is not where it was seen; KeyFileError likewise
    for a key to sign with that is missing or locked. PublishError where a
    target that was demanded refuses; the store's tags have moved then. With `docker = "auto"` a
    refusal of the engine is a note.
    """
    image = publication.image
    blobs.flush()
    sign_image(publication, publishing, blobs, records)
    with exclusive_folder(blobs.root):  # the layout is written from the records as they are then
        for name, manifest in publication.seen.items():
            if records.tagged(name) != manifest:
                raise TagMovedError(
                    f"{name}: expected the image that the run saw under it, got another meanwhile",
                    hint="build again",
                )
        ledger = Edits(records.database)
        with ledger.together():
            if publication.under is not None:
                records.add_image(publication.under, publication.now)
            ledger.add_again(publication.edits)
            rows = records.publish(publication.run, publication.detail, image.tags, publication.now)
        write_layout(blobs, records, machine)
    served = publish_targets(
        publication, publishing=publishing, blobs=blobs, records=records, machine=machine
    )
    return Published((*(f"store {row.name}" for row in rows), *served.moved), served.notes)


def sign_image(
    publication: Publication, publishing: Publishing, blobs: Blobs, records: Records
) -> None:
    """Have the image signed by the configured key if there is one, before anything points at it.
    KeyFileError where the key is missing or locked."""
    if publishing.sign.key is not None:
        image = publication.image
        sign_stored(
            image.manifest,
            image.tags[0] if image.tags else image.manifest.short,
            publishing.sign.key,
            blobs,
            records.database,
            environ=os.environ,
            now=publication.now,
        )


def publish_targets(
    publication: Publication,
    *,
    publishing: Publishing,
    blobs: Blobs,
    records: Records,
    machine: str,
) -> Published:
    """Move the image's tags at the targets besides the store that lack it.

    PublishError where a target that was demanded refuses. With `docker = "auto"` a refusal of the
    engine is a note.
    """
    image = publication.image
    moved: list[str] = []
    notes: list[str] = []
    for target in pending_targets(publishing, records, image):
        if target == SIGNATURE:
            sign_image(publication, publishing, blobs, records)
            continue
        if target == REGISTRY:
            moved += _publish_registry(publication, publishing, blobs, records)
            continue
        try:
            known = known_in_docker(records, image.tags) if target == DOCKER else ()
            names, refused = _serve(target, publication, publishing, blobs, machine, known)
        except PublishError as error:
            if target != DOCKER or publishing.docker != "auto":
                raise
            names, refused = [], [str(error)]
        _record(publication, target, names, records)
        moved += [f"{target} {name}" for name in names]
        notes += refused
        if refused and publishing.docker == "on":
            raise PublishError(refused[0])
    return Published(tuple(moved), tuple(notes))


def _serve(
    target: str,
    publication: Publication,
    publishing: Publishing,
    blobs: Blobs,
    machine: str,
    known: Sequence[str],
) -> tuple[list[str], list[str]]:
    """The names that moved, and why others did not. `known` are ids of Docker's."""
    if target == DOCKER:
        return _publish_docker(publication.image, blobs, machine, known)
    return _export(publication, publishing.export, blobs, machine), []


def _publish_registry(
    publication: Publication, publishing: Publishing, blobs: Blobs, records: Records
) -> list[str]:
    """Push to the registry, recording what moved there as it moves; as `target name`."""
    from minid.host.registry_push import publish_names

    moved: list[str] = []
    image, beside = publication.image, _beside(publication.detail, publishing, records)
    manifest = blobs.read(image.manifest)
    attachments = publication.attachments() if publishing.referrers else ()
    for names in publish_names(
        image, publishing, manifest, blobs.read_range, beside, attachments=attachments
    ):
        _record(publication, registry_target(publishing), names, records)
        moved += [f"{REGISTRY} {name}" for name in names]
    return moved


def _beside(
    detail: Mapping[str, object], publishing: Publishing, records: Records
) -> tuple[str, ...]:
    """The repositories that the image's base went to in the registry, whose layers it shares."""
    base = str(detail.get("base") or "")
    if not (publishing.registry and base):
        return ()
    names = {row.name for row in records.tags() if row.manifest == base}
    target = registry_target(publishing)
    there = [name for name in sorted(names) if records.published(target, name) == base]
    return tuple(dict.fromkeys(name.rpartition(":")[0] for name in there))


def _record(publication: Publication, target: str, names: Iterable[str], records: Records) -> None:
    manifest = str(publication.image.manifest)
    for name in names:
        before = records.published(target, name)
        records.add_publication(
            PublicationRow(
                publication.run,
                target,
                name,
                before,
                manifest,
                publication.now,
                publication.edit,
            )
        )


def load_docker(image: Image, blobs: Blobs, machine: str) -> str:
    """Have the engine hold an image without a tag; the engine's id of it."""
    return load_image(
        _untagged(image, blobs, machine), image=image.config, layers=_layer_pairs(image)
    )


def _publish_docker(
    image: Image, blobs: Blobs, machine: str, known: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Load the image into the engine; the names that moved, and why others did not."""
    return publish_archive(
        _untagged(image, blobs, machine),
        image_id=image.config,
        layers=_layer_pairs(image),
        names=image.tags,
        known=known,
    )


def _untagged(image: Image, blobs: Blobs, machine: str) -> Archive:
    return lambda without: archive_chunks(image, (), blobs, machine, without)


def _layer_pairs(image: Image) -> tuple[tuple[Digest, Digest], ...]:
    return tuple((layer.diff_id, layer.digest) for layer in image.layers)


def _export(publication: Publication, folder: Path | None, blobs: Blobs, machine: str) -> list[str]:
    """Write one archive a name into the folder, with what lies beside it."""
    if folder is None:
        return []
    image = publication.image
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in image.tags:
            chunks = gzip_chunks(archive_chunks(image, (name,), blobs, machine))
            write_export(folder / export_name(name), chunks, publication.beside)
    except OSError as error:
        raise PublishError(
            f"{folder}: expected a folder to write archives to, got {error.strerror}",
            hint="see publish.export in config.toml",
        ) from error
    return list(image.tags)


def archive_chunks(
    image: Image, names: Sequence[str], blobs: Blobs, machine: str, without: Iterable[Digest] = ()
) -> Iterable[bytes]:
    """The hybrid archive of an image under these names. Every blob is hashed again on the way.

    `without` leaves out layers that the reader is known to have.
    """
    members = list_members(
        image,
        manifest_size=blobs.size(image.manifest),
        config_size=blobs.size(image.config),
        architecture=architecture_of(machine),
        names=names,
    )
    absent = set(without)
    kept = [member for member in members if member.blob not in absent]
    return iterate_archive(kept, mtime=image.created, read=blobs.iterate)
