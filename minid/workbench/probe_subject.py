"""What a probe runs: an image, or the root that a run had composed before it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minid.errors import StoreError, UsageError
from minid.formats.digest import Digest
from minid.formats.oci import RunConfig
from minid.formats.runtime_spec import process_argv
from minid.formats.tree import parse_tree
from minid.host.container import LayerFile
from minid.line.workshop import Workshop
from minid.model import Tree
from minid.recipe import Check, Recipe, expand
from minid.steps.image import derive_run_config
from minid.store.blobs import Blobs
from minid.store.contents import Read, read_content, write_tar_file
from minid.store.records import Records

_HOST = "minid"


@dataclass(frozen=True, slots=True)
class Subject:
    """A root that can be run. `run` is 0 and `manifest` set for an image; `what` words which it is.

    `config` is the `config` part of an image's configuration. `layers` lie in the store.
    """

    name: str
    recipe: str
    version: str
    what: str
    tree: Tree
    config: Mapping[str, Any]
    layers: tuple[LayerFile, ...]
    run: int = 0
    manifest: str = ""


def image_subject(name: str, image: Mapping[str, object], blobs: Blobs) -> Subject:
    """An image of the records."""
    manifest = str(image["manifest"])
    return Subject(
        name=name,
        recipe=str(image["recipe"]),
        version=str(image["version"]),
        what=manifest[:19],
        tree=_tree(image, blobs),
        config=_config(image, blobs),
        layers=_layers(image, blobs),
        manifest=manifest,
    )


def failed_run(records: Records, recipe: str) -> int:
    """The newest run of a recipe, if it failed and had composed a root; else 0."""
    for run in records.runs(recipe, limit=20):
        if run.status in ("queued", "running", "unchanged", "skipped", "cancelled", "interrupted"):
            continue
        stages = {stage.name for stage in records.stages(run.id)}
        return run.id if run.status == "failed" and "compose" in stages else 0
    return 0


@contextmanager
def run_subject(number: int, name: str, shop: Workshop) -> Iterator[Subject]:
    """What a run had come to: its image, else its composed root with the recipe's command.
    UsageError where it came to neither."""
    records, blobs = shop.records, shop.blobs
    run = records.run(number)
    if run is None:
        raise UsageError(
            f"--run: expected the number of a run that is recorded, got {number}",
            hint="`minid history` lists them",
        )
    if name and name.partition(":")[0] != run.recipe:
        raise UsageError(f"--run {number}: expected a run of {name!r}, got one of {run.recipe!r}")
    reached = {stage.name: records.result(stage.key) for stage in records.stages(number)}
    image, composed = reached.get("image"), reached.get("compose")
    plain = Subject(run.recipe, run.recipe, run.version, "", Tree(), {}, (), run=number)
    if image:
        yield replace(
            plain,
            what=f"run {number}, its image before the check",
            tree=_tree(image, blobs),
            config=_config(image, blobs),
            layers=_layers(image, blobs),
        )
        return
    recipe = shop.recipes.get(run.recipe)
    if not composed or recipe is None:
        raise UsageError(
            f"--run {number}: expected a run that had composed a root, got one that {run.status} "
            "before",
            hint=f"`minid logs {run.recipe}` says where",
        )
    tree = _tree(composed, blobs)
    config = derive_run_config(recipe.image, RunConfig())
    shop.jobs_folder.mkdir(parents=True, exist_ok=True)
    layer = write_layer_file(shop.jobs_folder / "root.tar", tree, read_content(blobs))
    yield replace(
        plain,
        what=f"run {number}, its composed root",
        tree=tree,
        config=config.as_json(),
        layers=(layer,),
    )


def write_layer_file(path: Path, tree: Tree, read: Read) -> LayerFile:
    """A tree as one uncompressed layer."""
    return LayerFile(write_tar_file(path, tree.entries, read), path)


def command_of(subject: Subject, recipe: Recipe | None) -> tuple[str, ...]:
    """What to run: the image's own command, else the first that the recipe's checks run."""
    own = process_argv(subject.config)
    checks = recipe.checks if recipe else ()
    commands = [check.argv for check in checks if check.kind == "exec"]
    if own or not commands:
        return own
    return tuple(expand(word, subject.version) for word in commands[0])


def programs_of(recipe: Recipe | None) -> tuple[str, ...]:
    """The programs that the recipe's checks run, each once."""
    checks = recipe.checks if recipe else ()
    return tuple(dict.fromkeys(check.argv[0] for check in checks if check.kind == "exec"))


def knocks_of(subject: Subject, recipe: Recipe | None) -> tuple[tuple[int, bytes], ...]:
    """What the recipe's checks would send, by port."""
    checks = recipe.checks if recipe else ()
    return tuple(
        (check.port, _words(check, subject.version))
        for check in checks
        if check.kind in ("http", "tcp") and not check.tls
    )


def _words(check: Check, version: str) -> bytes:
    if check.kind == "tcp":
        return expand(check.send, version).encode()
    lines = [f"GET {expand(check.path, version)} HTTP/1.1", f"Host: {_HOST}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in check.headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _tree(facts: Mapping[str, object], blobs: Blobs) -> Tree:
    return parse_tree(blobs.read(Digest.parse(str(facts["tree"]))))


def _config(facts: Mapping[str, object], blobs: Blobs) -> Mapping[str, Any]:
    value = json.loads(blobs.read(Digest.parse(str(facts["config"]))))
    found = value.get("config") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _layers(facts: Mapping[str, object], blobs: Blobs) -> tuple[LayerFile, ...]:
    found = []
    values = facts["layers"]
    for value in values if isinstance(values, list) else []:
        digest = Digest.parse(str(value["diff_id"]))
        if not blobs.has(digest):
            raise StoreError(
                f"store: expected blob {digest}, got nothing", hint="`minid build` again"
            )
        found.append(LayerFile(digest, blobs.path(digest)))
    return tuple(found)
