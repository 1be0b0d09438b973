"""The targets that images are published to besides the store, and what each of them lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minid.config import Publishing
from minid.errors import PublishError
from minid.formats.registry_name import has_registry
from minid.host.docker_engine import engine_answers, is_foreign
from minid.host.export_folder import is_exported
from minid.model import Image
from minid.store.records import Records
from minid.store.signatures import Signatures

DOCKER = "docker"
EXPORT = "export"
REGISTRY = "registry"
SIGNATURE = "signature"


def export_name(name: str) -> str:
    """`nginx:1.26.3` → `nginx_1.26.3-image.tar.gz`: the tag survives a `docker load` anyway."""
    return name.replace("/", "_").replace(":", "_") + "-image.tar.gz"


def pending_targets(
    publishing: Publishing,
    records: Records,
    image: Image,
    *,
    answers: Callable[[], bool] = engine_answers,
) -> tuple[str, ...]:
    """The targets besides the store that lack the image now. Quick: one ping of the engine, or what
    `answers` remembers of one."""
    pending = []
    if publishing.sign.key and not Signatures(records.database).of(str(image.manifest)):
        pending.append(SIGNATURE)  # first: it goes with the image to the others
    wanted = publishing.docker != "off" and not _has(records, DOCKER, image)
    if wanted and (publishing.docker == "on" or answers()):
        pending.append(DOCKER)
    folder = publishing.export
    if folder is not None:
        files = all(is_exported(folder / export_name(name), publishing) for name in image.tags)
        if not files or not _has(records, EXPORT, image):
            pending.append(EXPORT)
    if publishing.registry:
        names = _lacking(records, registry_target(publishing), image)
        if not all(has_registry(name) for name in names):
            pending.append(REGISTRY)
    return tuple(pending)


def registry_target(publishing: Publishing) -> str:
    """The registry as a target of the records: another one has none of what this one has."""
    return f"{REGISTRY} {publishing.registry}"


def _has(records: Records, target: str, image: Image) -> bool:
    return not _lacking(records, target, image)


def _lacking(records: Records, target: str, image: Image) -> list[str]:
    """The image's names that a target has not, or for another image."""
    manifest = str(image.manifest)
    return [name for name in image.tags if records.published(target, name) != manifest]


def workable_targets(
    publishing: Publishing, records: Records, image: Image, *, answers: Callable[[], bool]
) -> tuple[str, ...]:
    """The pending targets that a run could serve: none for the sake of names in Docker that
    somebody else's images hold, which a note has told of, unless Docker is demanded."""
    pending = pending_targets(publishing, records, image, answers=answers)
    if DOCKER in pending and publishing.docker == "auto" and not _takes_any(records, image):
        return tuple(target for target in pending if target != DOCKER)
    return pending


def _takes_any(records: Records, image: Image) -> bool:
    try:
        names = _lacking(records, DOCKER, image)
        known = known_in_docker(records, names)
        return not all(is_foreign(name, known) for name in names)
    except PublishError:
        return True  # the engine falls silent now and then; the run will tell


def known_in_docker(records: Records, names: Iterable[str]) -> tuple[str, ...]:
    """The ids by which Docker has what minid put there under these names: of the configuration, or
    of the manifest. Images that no recipe made carry no label that would tell."""
    found: dict[str, None] = {}
    for name in names:
        manifest = records.published(DOCKER, name)
        if manifest:
            config = (records.image(manifest) or {}).get("config", manifest)
            found |= {manifest: None, str(config): None}
    return tuple(found)
