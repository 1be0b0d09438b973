"""From layers to an image: configuration, history, manifest, the three sizes, the budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from minid.errors import ImageError
from minid.formats.archive import archive_size, list_members
from minid.formats.image_record import RECIPE_LABEL
from minid.formats.oci import (
    CONFIG_TYPE,
    Descriptor,
    History,
    RunConfig,
    dump_config,
    dump_manifest,
)
from minid.formats.quantity import format_size
from minid.model import Image, Layer, Sizes, Tree
from minid.recipe import ImageTable, Recipe, expand, tag_names
from minid.store.blobs import Blobs

_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Base:
    """The image below: its layers, and its configuration as stored."""

    layers: tuple[Layer, ...]
    config: Mapping[str, object]


def run_config_of(config: Mapping[str, object]) -> RunConfig:
    """The runtime's part of a stored configuration."""
    found = config.get("config")
    table: Mapping[str, object] = found if isinstance(found, dict) else {}

    def texts(key: str) -> tuple[str, ...]:
        value = table.get(key) or ()
        return tuple(str(item) for item in value) if isinstance(value, (list, dict)) else ()

    return RunConfig(
        env=texts("Env"),
        entrypoint=texts("Entrypoint"),
        cmd=texts("Cmd"),
        user=str(table.get("User", "")),
        workdir=str(table.get("WorkingDir", "")),
        expose=texts("ExposedPorts"),
        volumes=texts("Volumes"),
        stop_signal=str(table.get("StopSignal", "")),
    )


def derive_run_config(table: ImageTable, base: RunConfig) -> RunConfig:
    """`base` with what `[image]` says on top. Setting an entrypoint clears an inherited cmd,
    as it does in a Dockerfile."""
    env = dict(item.split("=", 1) for item in (base.env or (_DEFAULT_PATH,)))
    env |= dict(table.env)
    inherited_cmd = () if table.entrypoint is not None else base.cmd
    return RunConfig(
        env=tuple(f"{name}={value}" for name, value in env.items()),
        entrypoint=base.entrypoint if table.entrypoint is None else table.entrypoint,
        cmd=inherited_cmd if table.cmd is None else table.cmd,
        user=table.user or base.user,
        workdir=table.workdir or base.workdir,
        expose=tuple(dict.fromkeys((*base.expose, *table.expose))),
        volumes=tuple(dict.fromkeys((*base.volumes, *table.volumes))),
        stop_signal=table.stop_signal or base.stop_signal,
    )


def image_labels(recipe: Recipe) -> dict[str, str]:
    """The labels: OCI's predefined keys, minid's own, then the recipe's, which win.

    Source and revision are the archive of `[source]`: a release has no commit, and its bytes are
    what identifies it.
    """
    version = recipe.source.version
    labels = {
        RECIPE_LABEL: recipe.name,
        "org.opencontainers.image.title": recipe.name,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.description": recipe.summary,
        "org.opencontainers.image.licenses": recipe.license,
        "org.opencontainers.image.url": recipe.homepage,
        "org.opencontainers.image.source": expand(recipe.source.url, version),
        "org.opencontainers.image.revision": str(recipe.source.sha256),
    }
    labels = {key: value for key, value in labels.items() if value}
    return labels | {key: expand(value, version) for key, value in recipe.image.labels}


def _base_history(base: Base | None) -> list[History]:
    lines = base.config.get("history") if base else None
    return [
        History(
            created_by=str(line.get("created_by", "")),
            comment=str(line.get("comment", "")),
            empty=bool(line.get("empty_layer", False)),
            author=str(line.get("author", "")),
            created=str(line.get("created", "")),
        )
        for line in (lines if isinstance(lines, list) else [])
        if isinstance(line, dict)
    ]


def _instructions(table: ImageTable) -> list[History]:
    """Entries without a layer, worded as a Dockerfile words them: people read `docker history`."""
    lines: list[str] = [f"ENV {name}={value}" for name, value in table.env]
    lines += [f"USER {table.user}"] if table.user else []
    lines += [f"WORKDIR {table.workdir}"] if table.workdir else []
    lines += [f"EXPOSE {' '.join(table.expose)}"] if table.expose else []
    lines += [f"VOLUME {json.dumps(list(table.volumes))}"] if table.volumes else []
    lines += [f"STOPSIGNAL {table.stop_signal}"] if table.stop_signal else []
    if table.entrypoint is not None:
        lines.append(f"ENTRYPOINT {json.dumps(list(table.entrypoint))}")
    if table.cmd is not None:
        lines.append(f"CMD {json.dumps(list(table.cmd))}")
    return [History(line, empty=True) for line in lines]


def build_image(
    recipe: Recipe,
    *,
    layers: tuple[Layer, ...],
    base: Base | None,
    created: int,
    architecture: str,
    blobs: Blobs,
) -> Image:
    """Write configuration and manifest of `recipe`'s image.

    `layers` are the image's own, above the base's; with `base` None they are all of them. `created`
    is the release's time. The recipe's source is the archive that was used. ImageError where the
    image is over the recipe's budget.
    """
    table, version = recipe.image, recipe.source.version
    run = derive_run_config(table, run_config_of(base.config) if base else RunConfig())
    history = _base_history(base)
    history += [History(layer.created_by, layer.comment, author=table.author) for layer in layers]
    history += _instructions(table)
    stack = (*(base.layers if base else ()), *layers)
    config = dump_config(
        run,
        layers=stack,
        history=history,
        labels=image_labels(recipe),
        created=created,
        architecture=architecture,
        author=table.author,
        comment=expand(table.comment, version),
    )
    config_digest = blobs.add(config)
    manifest = dump_manifest(Descriptor(CONFIG_TYPE, config_digest, len(config)), stack)
    manifest_digest = blobs.add(manifest)
    names = tag_names(recipe)
    image = Image(
        recipe=recipe.name,
        version=version,
        manifest=manifest_digest,
        config=config_digest,
        layers=stack,
        sizes=Sizes(
            unpacked=sum(layer.unpacked_size for layer in stack),
            layers=sum(layer.size for layer in stack),
            archive=0,
        ),
        tags=names,
        created=created,
    )
    members = list_members(
        image,
        manifest_size=len(manifest),
        config_size=len(config),
        architecture=architecture,
        names=names,
    )
    return replace(image, sizes=replace(image.sizes, archive=archive_size(members)))


def check_budget(recipe: Recipe, sizes: Sizes, load_tree: Callable[[], Tree]) -> None:
    """ImageError where the unpacked image is larger than `image.budget`; `load_tree` is asked only
    then, for the largest files."""
    budget = recipe.image.budget_bytes
    if budget is None or sizes.unpacked <= budget:
        return
    entries = load_tree().entries
    files = sorted(entries, key=lambda entry: -(entry.content.size if entry.content else 0))
    largest = ", ".join(
        f"/{entry.image_path} {format_size(entry.content.size)}"
        for entry in files[:5]
        if entry.content
    )
    raise ImageError(
        f"{recipe.file}: image.budget: expected at most {format_size(budget)} unpacked, "
        f"got {format_size(sizes.unpacked)}",
        hint=f"the largest files: {largest}",
    )
