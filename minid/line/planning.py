"""Where each recipe stands: its plan, what changed since its last good run, what is to be done.

Only reads: the command line asks this before it takes any lock, and `explain` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from minid.config import Config
from minid.errors import ConfigError, RecipeError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.host.docker_engine import engine_answers
from minid.host.environment import find_environment
from minid.line.by_hand import put_by_hand
from minid.line.stored_base import find_stored, stored_plan
from minid.model import Environment, Image
from minid.recipe import Recipe, tag_names
from minid.recipe_graph import is_stored, references
from minid.steps.plan import OwnFiles, Plan, changed_inputs, load_own_files, make_plan
from minid.steps.publish_targets import workable_targets
from minid.store.blobs import Blobs
from minid.store.records import Records


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one recipe stands.

    `plan` is None while the environment has yet to be made. `image` is the image of this very
    plan, if the store has it; `edited` what a person put under its tags since, which stays as long
    as nothing changes. `pending` names targets that lack what is tagged. `current` means that there
    is nothing to do.
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
    edited: Image | None = None

    @property
    def tagged(self) -> Image | None:
        """The image that the recipe's tags are to point at, if the store has it."""
        return self.edited or self.image


def recipe_order(recipes: Mapping[str, Recipe], names: Iterable[str]) -> tuple[str, ...]:
    """The recipes and all they stand on, each after what it needs. RecipeError for an unknown
    name; the recipes must have passed `check_together`."""
    done: dict[str, None] = {}
    for name in names:
        waiting = [(name, "recipes", False)]
        while waiting:
            current, asker, below_done = waiting.pop()
            if below_done:
                done[current] = None
            elif current not in done:
                if current not in recipes:
                    raise RecipeError(f"{asker}: expected a recipe of that name, got {current!r}")
                waiting.append((current, asker, True))
                file = str(recipes[current].file)
                below = references(recipes[current])
                waiting += [(other, file, False) for other in reversed(below)]
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


@dataclass(frozen=True, slots=True)
class _Desk:
    """What recipes are held against. `environments` remembers what was found in this assessment:
    thousands of recipes share a few. `answers` asks a container engine once: one that hangs takes
    half a second to be given up."""

    config: Config
    blobs: Blobs
    records: Records
    machine: str
    environments: dict[tuple[str, tuple[str, ...]], Environment | None] = field(
        default_factory=dict
    )
    answers: Callable[[], bool] = field(default_factory=lambda: cache(engine_answers))

    def environment(self, recipe: Recipe) -> Environment | None:
        """The recipe's environment if it has been made."""
        request = (recipe.build.environment, environment_packages(recipe))
        if request not in self.environments:
            self.environments[request] = existing_environment(recipe, self.config)
        return self.environments[request]


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
    found = iterate_standings(
        order, recipes, config=config, blobs=blobs, records=records, machine=machine
    )
    return {standing.recipe.name: standing for standing in found}


def iterate_standings(
    order: Iterable[str],
    recipes: Mapping[str, Recipe],
    *,
    config: Config,
    blobs: Blobs,
    records: Records,
    machine: str,
    kept: dict[str, Standing] | None = None,
) -> Iterator[Standing]:
    """As `assess`, one after the other: of thousands only those are kept, in `kept` if it is given,
    that others stand on."""
    desk = _Desk(config, blobs, records, machine)
    order = tuple(order)
    below = {other for name in order for other in references(recipes[name])}
    standings = {} if kept is None else kept
    for name in order:
        standing = _assess_one(recipes[name], standings, desk)
        if name in below:
            standings[name] = standing
        yield standing


def _assess_one(recipe: Recipe, standings: Mapping[str, Standing], desk: _Desk) -> Standing:
    standing = _plan_recipe(recipe, standings, desk)
    below = [standings[other] for other in references(recipe)]
    # An input that shapes no byte, such as a check, still wants a run that ends well.
    current = (
        not standing.pending
        and not standing.changes
        and all(item.current for item in below)
        and _is_done(standing, desk)
    )
    return replace(standing, current=True) if current else standing


def _plan_recipe(recipe: Recipe, standings: Mapping[str, Standing], desk: _Desk) -> Standing:
    files = load_own_files(recipe)
    environment = desk.environment(recipe)
    needs = {name: standings[name].plan for name in recipe.build.needs}
    base = _plan_base(recipe, standings, desk)
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
            architecture=desk.machine,
        )
        for digest in digests
    ]
    chosen = _choose(plans, digests, desk)
    plan = plans[chosen]
    image = _find_image(plan, desk)
    targets = desk.config.publish
    changes = changed_inputs(desk.records.inputs(recipe.name), plan.inputs)
    edited = _find_edited(recipe, image, desk) if image and not changes else None
    shown = edited or image
    pending = workable_targets(targets, desk.records, shown, answers=desk.answers) if shown else ()
    return Standing(
        recipe, files, environment, digests[chosen], plan, changes, image, pending, False, edited
    )


def _choose(plans: list[Plan], digests: tuple[Digest, ...], desk: _Desk) -> int:
    """The archive to build from: one that was built, else one that is here, else the first."""
    if len(plans) == 1:
        return 0
    for position, plan in enumerate(plans):
        if desk.records.result(plan.compile):
            return position
    return next((n for n, digest in enumerate(digests) if desk.blobs.has(digest)), 0)


def _find_image(plan: Plan, desk: _Desk) -> Image | None:
    """The image of a plan, if the store has it and every part of it."""
    result = desk.records.result(plan.image) if plan.image else None
    if result is None:
        return None
    image = parse_image(result)
    return image if _is_whole(image, desk) else None


def _is_whole(image: Image, desk: _Desk) -> bool:
    parts = (image.manifest, image.config, *(layer.digest for layer in image.layers))
    return all(desk.blobs.has(digest) for digest in parts)


def _find_edited(recipe: Recipe, image: Image, desk: _Desk) -> Image | None:
    """What a person put under the recipe's tags instead of its image."""
    manifest, names = str(image.manifest), tag_names(recipe)
    if all(desk.records.tagged(name) == manifest for name in names):
        return None
    detail = put_by_hand(desk.records, names, manifest)
    found = parse_image(detail) if detail else None
    return found if found and _is_whole(found, desk) else None


def _plan_base(recipe: Recipe, standings: Mapping[str, Standing], desk: _Desk) -> Plan | None:
    name = recipe.rootfs.base
    if not _has_base(recipe):
        return None
    if is_stored(name):
        detail = find_stored(desk.records, name)
        return stored_plan(detail) if detail else None
    return standings[name].plan


def _has_base(recipe: Recipe) -> bool:
    return recipe.kind == "image" and recipe.rootfs.base != "scratch"


def _is_done(standing: Standing, desk: _Desk) -> bool:
    plan = standing.plan
    if plan is None:
        return False
    if standing.recipe.kind == "library":
        result = desk.records.result(plan.compile)
        return bool(result) and desk.blobs.has(Digest.parse(str((result or {})["tree"])))
    if standing.image is None:
        return False
    if standing.edited is not None:
        return True
    manifest = str(standing.image.manifest)
    return all(desk.records.tagged(name) == manifest for name in tag_names(standing.recipe))
