"""What an archive of images holds: OCI layouts, `docker save` of all ages, and what is both.

Pure: `Files` gives the small files of the archive, what is found names the files of the layers.
Every digest that the archive states is checked by whoever reads the layers.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from minid.errors import UnpackError
from minid.formats.digest import Digest
from minid.formats.foreign_json import bound_layers, digest_of, get, read_json, typed
from minid.formats.oci import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    normalise_name,
)

_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS = (MANIFEST_TYPE, _DOCKER_MANIFEST)
INDEXES = (INDEX_TYPE, _DOCKER_LIST)
MAX_SMALL_BYTES = 8 << 20
_MAX_IMAGES = 1000
_MAX_NESTING = 4


class Files(Protocol):
    """The files of an archive, by their path in it."""

    def has(self, path: str) -> bool:
        """Whether there is a file of that path."""

    def read(self, path: str) -> bytes:
        """A small file's bytes; UnpackError where it is missing or large."""


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """A layer's file in the archive, and the digest that its bytes must have, if one is stated.
    `gzipped`: they are said to be a gzip, which can stay as it is."""

    path: str
    digest: Digest | None = None
    gzipped: bool = False


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of an archive: its configuration's bytes, its layers from the base upwards, and
    the manifest's bytes where the archive has one of OCI's, of gzipped layers, as all of the
    store's are."""

    config: bytes
    layers: tuple[FoundLayer, ...]
    names: tuple[str, ...] = ()
    manifest: bytes | None = None


@dataclass(frozen=True, slots=True)
class FoundArchive:
    """What an archive is, for people, and its images."""

    kind: str
    images: tuple[FoundImage, ...] = field(default=())


def read_archive(files: Files, architecture: str) -> FoundArchive | None:
    """The images of an archive; None for one that is no archive of images.

    Of images for several platforms that of `architecture` (GOARCH) is taken. UnpackError for an
    archive that contradicts itself.
    """
    docker = _read_docker(files) if files.has("manifest.json") else []
    if not files.has("index.json") or not files.has("oci-layout"):
        return FoundArchive("docker archive", tuple(docker)) if docker else None
    layout = list(_read_layout(files, architecture))
    if not docker:
        return FoundArchive("OCI archive", tuple(layout))
    return FoundArchive("docker and OCI archive", tuple(_join(layout, docker)))


def _join(layout: Sequence[FoundImage], docker: Sequence[FoundImage]) -> Iterator[FoundImage]:
    """The OCI side's images, with the names that only Docker's side has for their configurations;
    what only Docker's side has comes as it is."""
    known = {normalise_name(name) for image in layout for name in image.names}
    more: dict[bytes, list[str]] = {image.config: [] for image in layout}
    for image in docker:
        if image.config not in more:
            yield image
            continue
        more[image.config] += [name for name in image.names if normalise_name(name) not in known]
    for image in layout:
        names = dict.fromkeys((*image.names, *more.pop(image.config, ())))
        yield replace(image, names=tuple(names))


def _read_docker(files: Files) -> list[FoundImage]:
    """`manifest.json` of Docker Image Specification v1.2, as `docker save` and podman write it."""
    rows = _json(files, "manifest.json", list)
    if len(rows) > _MAX_IMAGES:
        raise UnpackError(f"manifest.json: expected at most {_MAX_IMAGES} images, got {len(rows)}")
    found = []
    for row in rows:
        where = "manifest.json"
        config = _path(get(row, "Config", str, where), where)
        layers = [_path(typed(item, str, where), where) for item in get(row, "Layers", list, where)]
        bound_layers(layers, where)
        tags = row.get("RepoTags") or []
        names = tuple(typed(tag, str, where) for tag in typed(tags, list, where))
        data = files.read(config)
        stem = posixpath.basename(config).removesuffix(".json")
        if len(stem) == 64 and Digest.of(data).hex != stem:
            raise UnpackError(f"{config}: expected the bytes of that digest, got others")
        found.append(FoundImage(data, tuple(FoundLayer(path) for path in layers), names))
    return found


def _read_layout(files: Files, architecture: str) -> Iterator[FoundImage]:
    index = _json(files, "index.json", dict)
    for descriptor in _descriptors(index, "index.json"):
        names = _names(descriptor)
        yield from _follow(files, descriptor, names, architecture, 0)


def _follow(
    files: Files,
    descriptor: Mapping[str, Any],
    names: tuple[str, ...],
    architecture: str,
    depth: int,
) -> Iterator[FoundImage]:
    kind, digest = descriptor.get("mediaType"), digest_of(descriptor, "index.json")
    path = f"blobs/sha256/{digest.hex}"
    if depth > _MAX_NESTING:
        raise UnpackError(f"{path}: expected indexes in at most {_MAX_NESTING} layers, got more")
    if kind in INDEXES:
        inner = list(_descriptors(_verified_json(files, path, digest), path))
        chosen = choose_platform(inner, architecture, lambda d: files.has(_blob(d)))
        for item in chosen:
            yield from _follow(files, item, names or _names(item), architecture, depth + 1)
    elif kind in MANIFESTS:
        yield _read_manifest(files, path, digest, names)
    elif depth == 0:
        raise UnpackError(f"index.json: expected an image or an index, got {str(kind)[:80]!r}")


def choose_platform(
    descriptors: Sequence[Mapping[str, Any]],
    architecture: str,
    there: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> list[Mapping[str, Any]]:
    """Of the manifests of an index those for Linux on `architecture`, as far as they are `there`.
    Without any platform named, all; attestations never."""
    rows = [row for row in descriptors if not _is_attestation(row) and there(row)]
    if not any(row.get("platform") for row in rows):
        return rows
    wanted = {"os": "linux", "architecture": architecture}
    fitting = [
        row
        for row in rows
        if isinstance(row.get("platform"), dict)
        and all(row["platform"].get(key) == value for key, value in wanted.items())
    ]
    if not fitting:
        raise UnpackError(f"index: expected an image for linux/{architecture}, got none")
    return fitting[:1]


def _is_attestation(row: Mapping[str, Any]) -> bool:
    annotations = row.get("annotations")
    return isinstance(annotations, dict) and "vnd.docker.reference.type" in annotations


def _read_manifest(files: Files, path: str, digest: Digest, names: tuple[str, ...]) -> FoundImage:
    data = _verified(files, path, digest)
    found = describe_manifest(data, path, lambda item: _verified(files, _path_of(item), item))
    return replace(found, names=names)


def describe_manifest(data: bytes, where: str, read: Callable[[Digest], bytes]) -> FoundImage:
    """The image of a manifest, without a name; `read` gives the bytes of its configuration.
    UnpackError for what is no manifest of an image."""
    value = typed(read_json(data, where), dict, where)
    own = get(value, "config", dict, where)
    config = digest_of(own, where)
    rows = [typed(row, dict, where) for row in get(value, "layers", list, where)]
    bound_layers(rows, where)
    kinds = [str(row.get("mediaType")) for row in rows]
    layers = [
        FoundLayer(_path_of(digest), digest, kind.endswith("gzip"))
        for kind, digest in zip(kinds, [digest_of(row, where) for row in rows], strict=True)
    ]
    kinds += [str(own.get("mediaType")), str(value.get("mediaType", MANIFEST_TYPE))]
    as_ours = set(kinds) <= {LAYER_TYPE, CONFIG_TYPE, MANIFEST_TYPE}
    return FoundImage(read(config), tuple(layers), manifest=data if as_ours else None)


def check_sizes(manifest: bytes, sizes: Sequence[int]) -> None:
    """UnpackError unless a manifest states these sizes, of its configuration and of its layers."""
    value = typed(read_json(manifest, "manifest"), dict, "manifest")
    stated = [row.get("size") for row in (value["config"], *value["layers"])]
    if stated != list(sizes):
        raise UnpackError(f"manifest: expected the sizes {sizes}, got {stated}"[:500])


def _path_of(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _names(descriptor: Mapping[str, Any]) -> tuple[str, ...]:
    """The name of an entry of an index: containerd's is whole, OCI's may be a bare tag."""
    annotations = descriptor.get("annotations")
    found = annotations if isinstance(annotations, dict) else {}
    name = found.get("io.containerd.image.name") or found.get("org.opencontainers.image.ref.name")
    return (str(name),) if name and ":" in str(name) else ()


def _descriptors(index: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
    rows = get(index, "manifests", list, where)
    if len(rows) > _MAX_IMAGES:
        raise UnpackError(f"{where}: expected at most {_MAX_IMAGES} images, got {len(rows)}")
    for row in rows:
        yield typed(row, dict, where)


def _blob(descriptor: Mapping[str, Any]) -> str:
    return _path_of(digest_of(descriptor, "index"))


def _verified(files: Files, path: str, digest: Digest) -> bytes:
    data = files.read(path)
    if Digest.of(data) != digest:
        raise UnpackError(f"{path}: expected the bytes of that digest, got others")
    return data


def _verified_json(files: Files, path: str, digest: Digest) -> dict[str, Any]:
    return dict(typed(read_json(_verified(files, path, digest), path), dict, path))


def _json(files: Files, path: str, kind: type) -> Any:  # noqa: ANN401 (JSON)
    return typed(read_json(files.read(path), path), kind, path)


def _path(text: str, where: str) -> str:
    """A path of the archive, cleaned; UnpackError for one that leads out of it."""
    clean = posixpath.normpath(text)
    if clean.startswith(("/", "..")) or "\0" in clean:
        raise UnpackError(f"{where}: expected a file of the archive, got {text[:80]!r}")
    return clean
