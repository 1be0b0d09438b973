"""What a workbench stands on: the root of an image, or the one that a run had reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minid.config import Config
from minid.errors import UsageError
from minid.formats.digest import Digest
from minid.formats.runtime_spec import Json
from minid.recipe import Recipe
from minid.store.blobs import Blobs
from minid.store.meaning import find_tag
from minid.store.records import Records

# From the end of the line to its beginning: how far did a run come?
_STAGES = {
    "image": "its image, before the check",
    "compose": "its composed root, before the check",
    "pack": "its payload: nothing was laid below it yet",
    "compile": "its install tree: nothing was packed or laid below it yet",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A root to stand on. `manifest` is empty and `run` set where it is a run's.

    `tree` is a blob. `config` is the image's `config` part. `what` says what of a run it is.
    """

    name: str
    recipe: str
    version: str
    tree: str
    manifest: str = ""
    run: int = 0
    what: str = ""
    environ: tuple[str, ...] = ()
    cwd: str = "/"

    @property
    def partial(self) -> bool:
        """Whether this is no whole root, since a run did not come so far."""
        return self.what in (_STAGES["pack"], _STAGES["compile"])


def bench_name(records: Records, name: str) -> str:
    """The name of an image as workbenches have it: that of the tag that is meant, if one is."""
    tag = find_tag(records, name)
    return tag.name if tag else name


def image_source(name: str, image: Mapping[str, object], blobs: Blobs) -> Source:
    """The root of an image of the records."""
    environ, cwd = _read_config(str(image["config"]), blobs)
    return Source(
        name=name,
        recipe=str(image["recipe"]),
        version=str(image["version"]),
        tree=str(image["tree"]),
        manifest=str(image["manifest"]),
        environ=environ,
        cwd=cwd,
    )


def run_source(number: int, name: str, records: Records, blobs: Blobs) -> Source:
    """The root that a run had reached; `name` may be its recipe. UsageError where there is none."""
    run = records.run(number)
    if run is None:
        raise UsageError(
            f"--run: expected the number of a run that is recorded, got {number}",
            hint="`minid history` lists them",
        )
    check_run(number, name, run.recipe)
    reached = {stage.name: stage.key for stage in records.stages(number)}
    for stage, what in _STAGES.items():
        output = records.result(reached[stage]) if stage in reached else None
        tree = str(output.get("tree", "")) if output else ""
        if output and tree and blobs.has(Digest.parse(tree)):
            config = str(output.get("config", ""))
            environ, cwd = _read_config(config, blobs) if config else ((), "/")
            key = f"run-{number}"
            return Source(
                key, run.recipe, run.version, tree, "", number, what, environ=environ, cwd=cwd
            )
    raise UsageError(
        f"--run {number}: expected a run that came to a root, got one that {run.status} before",
        hint=f"`minid logs {run.recipe}` says where",
    )


def check_run(number: int, name: str, recipe: str) -> None:
    """UsageError where the run is not of the recipe or image that was named, if any was."""
    if name and name.partition(":")[0] != recipe:
        raise UsageError(f"--run {number}: expected a run of {name!r}, got one of {recipe!r}")


def find_environment_root(recipe: Recipe, config: Config) -> Path | None:
    """The tree of the environment that a recipe is built in; None where it is the machine's own, or
    not made."""
    from minid.host.environment import find_environment
    from minid.line.planning import environment_packages

    spec = config.environment(recipe.build.environment)
    if spec is None or spec.kind == "host":
        return None
    found = find_environment(spec, environment_packages(recipe), config.paths.environments)
    return Path(found.root) if found else None


def _read_config(digest: str, blobs: Blobs) -> tuple[tuple[str, ...], str]:
    value: Json = json.loads(blobs.read(Digest.parse(digest)))
    config = value.get("config") or {}
    return tuple(str(line) for line in config.get("Env") or ()), str(
        config.get("WorkingDir") or "/"
    )
