"""Where each recipe stands: its plan, what changed since its last good run, what is to be done.

Only reads: the command line asks this before it takes any lock, and `explain` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from minid.config import Config
from minid.errors import ConfigError, RecipeError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.host.environment import find_environment
from minid.model import Environment, Image
from minid.recipe import Recipe, tag_names
from minid.recipe_graph import references
from minid.steps.plan import OwnFiles, Plan, changed_inputs, load_own_files, make_plan
from minid.steps.publish import workable_targets
from minid.store.blobs import Blobs
from minid.store.records import Records


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one recipe stands.

    `plan` is None while the environment has yet to be made. `image` is the image of this very
    plan, if the store has it. `pending` names targets that lack it. `current` means that there is
    nothing to do.
    """

    recipe: Recipe
    files: OwnFiles
    environment: Environment | None
    archive: Digest
    plan: Plan | None
    changes: tuple[str, ...]
    image: Image | None
    pending: tuple[str, ...]
    current: bool


def recipe_order(recipes: Mapping[str, Recipe], names: Iterable[str]) -> tuple[str, ...]:
    """The recipes and all they stand on, each after what it needs. RecipeError for an unknown
    name; the recipes must have passed `check_together`."""
    done: dict[str, None] = {}

    def visit(name: str, asker: str) -> None:
        if name in done:
            return
        if name not in recipes:
            raise RecipeError(f"{asker}: expected a recipe of that name, got {name!r}")
        for other in references(recipes[name]):
            visit(other, str(recipes[name].file))
        done[name] = None

    for name in names:
        visit(name, "recipes")
    return tuple(done)


def archive_digests(recipe: Recipe) -> tuple[Digest, ...]:
    """Every digest that the recipe accepts for its archive, the preferred one first."""
    source = recipe.source
    digests = [source.sha256, *(item.sha256 for item in source.alternatives)]
    if source.distro:
        digests.append(source.distro.sha256)
    return tuple(dict.fromkeys(digests))


def environment_packages(recipe: Recipe) -> tuple[str, ...]:
    """What the recipe wants installed, sorted so that equal wishes share an environment."""
    return tuple(sorted(set(recipe.build.packages)))


def check_recipe(recipe: Recipe, config: Config) -> None:
    """ConfigError where config.toml has not the recipe's environment."""
    if config.environment(recipe.build.environment) is None:
        known = ", ".join(sorted(item.name for item in config.environments))
        raise ConfigError(
            f"{recipe.file}: build.environment: expected one of {known}, "
            f"got {recipe.build.environment!r}",
            hint=f"add [environments.{recipe.build.environment}] to config.toml",
        )


def existing_environment(recipe: Recipe, config: Config) -> Environment | None:
    """The recipe's environment if it has been made; the recipe must have passed `check_recipe`."""
    spec = config.environment(recipe.build.environment)
    assert spec is not None
    return find_environment(spec, environment_packages(recipe), config.paths.environments)


def assess(
    order: Iterable[str],
    recipes: Mapping[str, Recipe],
    *,
    config: Config,
    blobs: Blobs,
    records: Records,
    machine: str,
) -> dict[str, Standing]:
    """The standing of each recipe of `order`, which must hold all that its recipes refer to."""
    tags = {row.name: row.manifest for row in records.tags()}
    standings: dict[str, Standing] = {}
    for name in order:
        recipe = recipes[name]
        standing = _plan_recipe(recipe, standings, config, blobs, records, machine)
        below = [standings[other] for other in references(recipe)]
        current = all(item.current for item in below) and _is_done(standing, tags, blobs, records)
        # An input that shapes no byte, such as a check, still wants a run that ends well.
        current = current and not standing.pending and not standing.changes
        standings[name] = replace(standing, current=current)
    return standings


def _plan_recipe(
    recipe: Recipe,
    standings: Mapping[str, Standing],
    config: Config,
    blobs: Blobs,
    records: Records,
    machine: str,
) -> Standing:
    files = load_own_files(recipe)
    environment = existing_environment(recipe, config)
    needs = {name: standings[name].plan for name in recipe.build.needs}
    base = standings[recipe.rootfs.base].plan if _has_base(recipe) else None
    digests = archive_digests(recipe)
    blank = Standing(recipe, files, environment, digests[0], None, (), None, (), False)
    if environment is None or None in needs.values() or (_has_base(recipe) and base is None):
        return blank
    keys = {name: plan.compile for name, plan in needs.items() if plan}
    plans = [
        make_plan(
            recipe,
            archive=digest,
            environment=environment.digest,
            needs=keys,
            base=base,
            files=files,
            architecture=machine,
        )
        for digest in digests
    ]
    chosen = _choose(plans, digests, blobs, records)
    plan = plans[chosen]
    image = _find_image(plan, blobs, records)
    pending = workable_targets(config.publish, records, image) if image else ()
    changes = changed_inputs(records.inputs(recipe.name), plan.inputs)
    return Standing(
        recipe, files, environment, digests[chosen], plan, changes, image, pending, False
    )


def _choose(plans: list[Plan], digests: tuple[Digest, ...], blobs: Blobs, records: Records) -> int:
    """The archive to build from: one that was built, else one that is here, else the first."""
    if len(plans) == 1:
        return 0
    for position, plan in enumerate(plans):
        if records.result(plan.compile):
            return position
    return next((n for n, digest in enumerate(digests) if blobs.has(digest)), 0)


def _find_image(plan: Plan, blobs: Blobs, records: Records) -> Image | None:
    """The image of a plan, if the store has it and every part of it."""
    result = records.result(plan.image) if plan.image else None
    if result is None:
        return None
    image = parse_image(result)
    parts = (image.manifest, image.config, *(layer.digest for layer in image.layers))
    return image if all(blobs.has(digest) for digest in parts) else None


def _has_base(recipe: Recipe) -> bool:
    return recipe.kind == "image" and recipe.rootfs.base != "scratch"


def _is_done(standing: Standing, tags: Mapping[str, str], blobs: Blobs, records: Records) -> bool:
    plan = standing.plan
    if plan is None:
        return False
    if standing.recipe.kind == "library":
        result = records.result(plan.compile)
        return bool(result) and blobs.has(Digest.parse(str((result or {})["tree"])))
    if standing.image is None:
        return False
    manifest = str(standing.image.manifest)
    return all(tags.get(name) == manifest for name in tag_names(standing.recipe))
