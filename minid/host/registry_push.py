"""An image to a registry, byte for byte: its manifest has the same digest there as here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from minid.config import Publishing
from minid.errors import PublishError
from minid.formats.digest import Digest
from minid.formats.oci import LAYER_TYPE, MANIFEST_TYPE, Descriptor
from minid.formats.oci_artifact import Attachment
from minid.formats.registry_name import RegistryName, has_registry, parse_registry_name
from minid.host.registry import Progress, Pushed, Read, Registry
from minid.host.registry_connection import Connection, Place
from minid.host.registry_logins import find_login
from minid.host.registry_referrers import attach
from minid.model import Image

ReadRange = Callable[[Digest, int, int], bytes]
"""`read_range(digest, offset, size)` of a blob, unverified."""


def remote_name(prefix: str, name: str) -> RegistryName:
    """`registry.example/team` and `nginx:1.26.3` → `registry.example/team/nginx:1.26.3`."""
    try:
        return parse_registry_name(f"{prefix.rstrip('/')}/{name}")
    except ValueError as error:
        raise PublishError(
            f"publish.registry: {error}", hint="such as registry.example/team"
        ) from error


def open_place(
    name: RegistryName,
    environ: Mapping[str, str],
    *,
    insecure: bool = False,
    ca_file: Path | None = None,
) -> Place:
    """How a registry is reached on this machine. ConfigError for a broken file of logins."""
    return Place(name, find_login(name, environ), insecure, ca_file)


def publish_names(
    image: Image,
    publishing: Publishing,
    manifest: bytes,
    read_range: ReadRange,
    beside: Sequence[str] = (),
    attachments: Sequence[Attachment] = (),
) -> Iterator[list[str]]:
    """Push an image to the registry of the configuration under all of its names, and give those of
    each repository once they have moved there; PublishError where one is refused. Layers that the
    repositories `beside` have (`nginx`, without the registry) are not sent again.
    """
    by_repository: dict[str, list[str]] = {}
    for name in image.tags:
        if has_registry(name):
            continue  # it has a place of its own
        repository, _, tag = name.rpartition(":")
        by_repository.setdefault(repository, []).append(tag)
    near = [remote_name(publishing.registry, repository).repository for repository in beside]
    for repository, tags in by_repository.items():
        place = open_place(
            remote_name(publishing.registry, repository),
            os.environ,
            insecure=publishing.registry_insecure,
            ca_file=publishing.registry_ca,
        )
        own = place.name.repository
        others = [other for other in near if other != own]
        push_image(manifest, place, tags, read_range, beside=others, attachments=attachments)
        near.append(own)
        yield [f"{repository}:{tag}" for tag in tags]


def push_image(
    manifest: bytes,
    place: Place,
    tags: Sequence[str],
    read_range: ReadRange,
    progress: Progress = lambda *_: None,
    *,
    beside: Sequence[str] = (),
    attachments: Sequence[Attachment] = (),
) -> Pushed:
    """Push an image under tags of the place's repository (without any: under its digest alone).
    `beside` are repositories of the same registry that may have some of it; the `attachments` are
    there before a tag is.

    PublishError where the registry refuses, or where the bytes of a blob are not those of its
    digest. No tag moved then.
    """
    described = json.loads(manifest)
    parts = [described["config"], *described["layers"]]
    descriptors = [
        Descriptor(
            str(part.get("mediaType", LAYER_TYPE)),
            Digest.parse(str(part["digest"])),
            int(part["size"]),
        )
        for part in parts
    ]

    def read(digest: Digest) -> Read:
        return lambda offset, size: read_range(digest, offset, size)

    with Connection(place) as connection:
        registry = Registry(connection, writes=True)
        unique = list({part.digest: part for part in descriptors}.values())
        media_type = str(described.get("mediaType", MANIFEST_TYPE))
        early = () if attachments else tags
        pushed = registry.push(manifest, media_type, unique, read, early, progress, beside=beside)
        if attachments:
            attach(
                registry, Descriptor(media_type, Digest.of(manifest), len(manifest)), attachments
            )
            if tags:
                registry.put_manifest(manifest, media_type, tags)
        return pushed
