"""Images from a registry into the store, verified by digest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from minid.errors import FetchError, PublishError, UnpackError, UsageError
from minid.formats.digest import Digest
from minid.formats.image_archive import (
    INDEXES,
    MANIFESTS,
    MAX_SMALL_BYTES,
    FoundImage,
    choose_platform,
    describe_manifest,
)
from minid.formats.oci import architecture_of
from minid.host.registry import Progress, Registry
from minid.host.registry_connection import Connection, Place
from minid.line.workshop import Workshop
from minid.workbench.arriving import Arrival, Loaded
from minid.workbench.loading import take_image
from minid.workbench.spool import ARCHIVE

_MAX_NESTING = 4


class _Remote:
    """The blobs of an image in a registry, by the names that they have in a layout."""

    def __init__(self, registry: Registry, sizes: dict[str, int], progress: Progress) -> None:
        self._registry, self._sizes, self._progress = registry, sizes, progress

    def has(self, path: str) -> bool:
        """As `spool.Source`."""
        return path in self._sizes

    def read(self, path: str) -> bytes:
        """As `spool.Source`."""
        return b"".join(self.iterate(path))

    def iterate(self, path: str) -> Iterator[bytes]:
        """As `spool.Source`."""
        digest = Digest(path.rpartition("/")[2])
        yield from self._registry.blob(digest, self._sizes[path], self._progress)


def pull_image(
    shop: Workshop, place: Place, arrival: Arrival, progress: Progress = lambda *_: None
) -> Loaded:
    """Take an image of a registry in; of one for several platforms this machine's.

    FetchError where it cannot be had, UnpackError where its bytes are not those of their digests,
    UsageError for a tag that another image has; the store is then as before.
    """
    name = place.name
    if name.digest and not name.tag and not arrival.tags:
        raise UsageError(
            f"{name}: expected a name to pull it under, got none", hint="--tag NAME:TAG"
        )
    try:
        with Connection(place) as connection:
            registry = Registry(connection, writes=False)
            data = _find_manifest(registry, name.reference, architecture_of(shop.machine), 0)
            origin = f"{name}@{Digest.of(data)}" if not name.digest else str(name)
            arrival = replace(arrival, origin=origin)
            found, sizes = _describe(registry, data, progress)
            remote = _Remote(registry, sizes, progress)
            return take_image(shop, remote, found, arrival)
    except PublishError as error:
        raise FetchError(error.message, hint=error.hint) from error


def _find_manifest(registry: Registry, reference: str, architecture: str, depth: int) -> bytes:
    data, kind = registry.manifest(reference)
    value = _object(data, reference)
    stated = str(value.get("mediaType") or kind)
    if stated in INDEXES and depth < _MAX_NESTING:
        rows = [row for row in value.get("manifests") or [] if isinstance(row, dict)]
        chosen = choose_platform(rows, architecture)
        if not chosen:
            raise UnpackError(f"{reference}: expected an index with images, got none")
        digest = str(chosen[0].get("digest"))
        if not digest.startswith("sha256:"):
            raise UnpackError(f"{reference}: expected sha256 digests, got {digest[:40]!r}")
        return _find_manifest(registry, digest, architecture, depth + 1)
    if stated not in MANIFESTS:
        raise UnpackError(f"{reference}: expected an image, got {stated[:80]!r}")
    return data


def _describe(
    registry: Registry, data: bytes, progress: Progress
) -> tuple[FoundImage, dict[str, int]]:
    value = _object(data, "manifest")
    sizes: dict[str, int] = {}

    def read(config: Digest) -> bytes:
        # By now it is known that there are a configuration and layers, with digests.
        for part in (value["config"], *value["layers"]):
            size = part.get("size")
            if type(size) is not int or not 0 <= size <= ARCHIVE.total_bytes:
                raise UnpackError(f"manifest: expected sizes, got {str(size)[:40]!r}")
            sizes[f"blobs/sha256/{Digest.parse(str(part['digest'])).hex}"] = size
        if sum(sizes.values()) > ARCHIVE.total_bytes:
            raise UnpackError(f"manifest: expected at most {ARCHIVE.total_bytes} bytes, got more")
        own = sizes[f"blobs/sha256/{config.hex}"]
        if own > MAX_SMALL_BYTES:
            raise UnpackError(f"config: expected at most {MAX_SMALL_BYTES} bytes, got {own}")
        found = b"".join(registry.blob(config, own, progress))
        if Digest.of(found) != config:
            raise UnpackError(f"config: expected {config}, got {Digest.of(found)}")
        return found

    return describe_manifest(data, "manifest", read), sizes


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnpackError(f"{where}: expected a manifest in JSON, got something else")
    return value
