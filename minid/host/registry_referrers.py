"""What is said about an image in a registry: artifacts that refer to it, put there and found again.

A registry with a Referrers API keeps the index of them itself (it answers `OCI-Subject`); elsewhere
they stand in an index under the tag `sha256-<hex>` (OCI Distribution 1.1, "Referrers tag schema").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minid.errors import PublishError
from minid.formats.digest import Digest
from minid.formats.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor
from minid.formats.oci_artifact import (
    EMPTY,
    EMPTY_TYPE,
    SIGNATURE_LAYERS,
    SIGNATURE_TYPE,
    Attachment,
    Entry,
    dump_artifact,
    dump_referrers,
    fallback_tag,
    find_referrers,
    merge_referrers,
    parse_artifact,
    parse_referrers,
    refer,
)
from minid.host.registry import Read, Registry
from minid.host.registry_connection import Connection, Place, RefusedError

_MAX_SIGNATURES = 100
_MAX_SIGNATURE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Attached:
    """What went to a registry beside an image: manifests' digests, and whether their index is
    under the fallback tag."""

    manifests: tuple[Digest, ...]
    tagged: bool = False


def attach(registry: Registry, subject: Descriptor, attachments: Sequence[Attachment]) -> Attached:
    """Put artifacts that refer to `subject` into its repository, and have them found there.

    Each is read back by its digest. PublishError where the registry refuses. What is there already
    is not sent again. Between two that write one fallback tag at once the later wins.
    """
    added: list[Entry] = []
    unlisted: list[Entry] = []
    for attachment in attachments:
        entry, listed = _push(registry, attachment, subject)
        added.append(entry)
        if not listed:
            unlisted.append(entry)
    if unlisted:
        _put_index(registry, subject.digest, unlisted)
    digests = tuple(Digest.parse(str(entry["digest"])) for entry in added)
    return Attached(digests, bool(unlisted))


def _push(registry: Registry, attachment: Attachment, subject: Descriptor) -> tuple[Entry, bool]:
    """The artifact's entry, and whether the registry lists it by itself."""
    manifest = dump_artifact(attachment, subject)
    layer = Descriptor(attachment.media_type, Digest.of(attachment.data), len(attachment.data))
    blobs = {Digest.of(EMPTY): EMPTY, layer.digest: attachment.data}

    def read(digest: Digest) -> Read:
        return lambda offset, size: blobs[digest][offset : offset + size]

    empty = Descriptor(EMPTY_TYPE, Digest.of(EMPTY), len(EMPTY))
    pushed = registry.push(manifest, MANIFEST_TYPE, [empty, layer], read, ())
    return refer(attachment, manifest), pushed.subject == str(subject.digest)


def _put_index(registry: Registry, subject: Digest, added: Sequence[Entry]) -> None:
    tag = fallback_tag(subject)
    try:
        before = _tagged(registry, tag)
        after = merge_referrers(before, added)
        if after != before:
            registry.put_manifest(dump_referrers(after), INDEX_TYPE, (tag,))
    except ValueError as error:
        raise PublishError(
            f"tag {tag}: expected an index of referrers, got: {error}",
            hint="--no-referrers, or publish.referrers = false, leaves it alone",
        ) from error


def _tagged(registry: Registry, tag: str) -> tuple[Entry, ...]:
    """The entries under the fallback tag, which need not be there."""
    try:
        data, media_type = registry.manifest(tag)
    except RefusedError as error:
        if error.status == 404:
            return ()
        raise
    if media_type not in ("", INDEX_TYPE):
        raise ValueError(f"a manifest of type {media_type[:100]!a}")
    return parse_referrers(data)


def find_artifacts(
    registry: Registry, subject: Digest, artifact_type: str
) -> tuple[Descriptor, ...]:
    """The artifacts of a type that refer to a manifest. ValueError for an index that is none."""
    pages = list(registry.referrers(subject, artifact_type))
    entries = [entry for page in pages for entry in parse_referrers(page)]
    if not pages:
        entries = list(_tagged(registry, fallback_tag(subject)))
    return find_referrers(entries, artifact_type)


def remote_signatures(place: Place, kind: str) -> tuple[bytes, tuple[bytes, ...]]:
    """The bytes of the place's manifest, and the signatures of a kind that the registry has for
    it, 100 at most. Nothing is known yet of what they are worth. PublishError where the registry's
    answers do not fit together, and hold no signature."""
    with Connection(place) as connection:
        registry = Registry(connection, writes=False)
        manifest, _ = registry.manifest(place.name.reference)
        subject = Digest.of(manifest)
        try:
            found = find_artifacts(registry, subject, SIGNATURE_TYPE)[:_MAX_SIGNATURES]
            return manifest, tuple(_signatures(registry, found, subject, SIGNATURE_LAYERS[kind]))
        except ValueError as error:
            raise PublishError(f"{place.name}: referrers of {subject}: {error}") from error


def _signatures(
    registry: Registry, found: Sequence[Descriptor], subject: Digest, media_type: str
) -> Iterator[bytes]:
    """What is read of the artifacts. One that is gone or broken does not hide the others: its
    error comes where there is no other."""
    whole, broken = 0, None
    for descriptor in found:
        try:
            data = _signature(registry, descriptor, subject, media_type)
        except (ValueError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status != 404:
                raise
            broken = broken or error
            continue
        if data is not None:
            whole += 1
            yield data
    if broken is not None and not whole:
        raise broken


def _signature(
    registry: Registry, descriptor: Descriptor, subject: Digest, media_type: str
) -> bytes | None:
    """The signature of an artifact; None where it is of another kind."""
    manifest, _ = registry.manifest(str(descriptor.digest))
    layer = parse_artifact(manifest, subject)
    if layer.media_type != media_type or layer.size > _MAX_SIGNATURE_BYTES:
        return None
    data = b"".join(registry.blob(layer.digest, layer.size))
    if Digest.of(data) != layer.digest:
        raise ValueError(f"expected blob {layer.digest}, got other bytes")
    return data
