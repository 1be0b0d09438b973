"""The line: recipe → plan → fetch → compile → pack → compose → image → check → publish → record.

`build` brings recipes and what they stand on up to date. Recipes go side by side: one compiles
while its base still does, and waits for it only where it needs it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from minid.errors import BuildError, MinidError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.host.jobserver import Jobserver
from minid.host.sandbox import build_identity
from minid.line import making, shipping
from minid.line.outcome import Made, Outcome, keep_unchanged
from minid.line.planning import Standing
from minid.line.run import Run, open_run
from minid.line.shipping import Below
from minid.line.workshop import Workshop
from minid.recipe import Recipe
from minid.recipe_graph import references
from minid.steps.compile import Workplace
from minid.steps.plan import Plan, make_plan


@dataclass(frozen=True, slots=True)
class _Line:
    """What every run of one `build` shares."""

    shop: Workshop
    workplace: Workplace
    forced: frozenset[str]


def build(
    shop: Workshop,
    standings: Mapping[str, Standing],
    *,
    forced: Collection[str] = (),
) -> dict[str, Outcome]:
    """Bring the recipes of `standings` up to date, in its order; one outcome each.

    A recipe that fails does not stop the others, only those that stand on it. Recipes named in
    `forced` run every stage again, whatever the store has.
    """
    settings = shop.config.build
    jobserver = Jobserver(settings.jobs or len(os.sched_getaffinity(0)))
    workplace = Workplace(
        jobs_folder=shop.config.paths.jobs,
        identity=build_identity(settings.user),
        jobserver=jobserver,
        limits=settings.limits,
        slots=threading.BoundedSemaphore(settings.parallel),
        cancel=shop.cancel,
    )
    line = _Line(shop, workplace, frozenset(forced))
    promises: dict[str, Future[Made]] = {name: Future() for name in standings}
    try:
        with ThreadPoolExecutor(len(standings), "recipe") as threads:
            outcomes = {
                name: threads.submit(
                    _keep if standing.current and name not in forced else _build_one,
                    line,
                    standing,
                    promises,
                )
                for name, standing in standings.items()
            }
            return {name: outcome.result() for name, outcome in outcomes.items()}
    finally:
        jobserver.close()


def _keep(line: _Line, standing: Standing, promises: Mapping[str, Future[Made]]) -> Outcome:
    """Nothing to do: the promise is kept from the records."""
    outcome = keep_unchanged(standing, line.shop.records, line.shop.clock)
    assert outcome.made is not None
    promises[standing.recipe.name].set_result(outcome.made)
    return outcome


def _build_one(line: _Line, standing: Standing, promises: Mapping[str, Future[Made]]) -> Outcome:
    """One recipe's run; keeps or breaks its promise to those that stand on it."""
    recipe, shop = standing.recipe, line.shop
    promise = promises[recipe.name]
    below = {name: promises[name] for name in references(recipe)}
    begin = time.monotonic()
    changes = standing.changes
    log = ""
    try:
        forced = recipe.name in line.forced
        with open_run(shop, recipe, _reason(line, standing), changes, forced=forced) as run:
            log = str(run.log.path)
            made = run_line(line, run, standing, below)
            manifest = str(made.image.manifest) if made.image else ""
            shop.records.finish_run(run.id, recipe.name, manifest, made.plan.inputs, shop.clock())
    except BaseException as error:
        promise.set_exception(error)
        if not isinstance(error, MinidError):
            raise
        status = "skipped" if isinstance(error, BelowFailedError) else "failed"
        seconds = time.monotonic() - begin
        version = recipe.source.version
        return Outcome(recipe.name, version, status, changes, None, {}, seconds, log, error)
    promise.set_result(made)
    seconds = time.monotonic() - begin
    version = recipe.source.version
    return Outcome(recipe.name, version, "built", changes, made, run.seconds, seconds, log)


class BelowFailedError(BuildError):
    """A recipe that this one stands on failed, so this one was not run to its end."""


def _reason(line: _Line, standing: Standing) -> str:
    if standing.recipe.name in line.forced:
        return "forced"
    if not line.shop.records.inputs(standing.recipe.name):
        return "first build"
    if standing.changes:
        return "changed: " + ", ".join(standing.changes)
    return f"missing at {', '.join(standing.pending)}" if standing.pending else "asked"


def run_line(line: _Line, run: Run, standing: Standing, below: Mapping[str, Future[Made]]) -> Made:
    """Walk one recipe along the line."""
    recipe = run.recipe
    needs = {name: _wait(recipe, name, below[name]) for name in recipe.build.needs}
    trees = [made.tree for made in needs.values()]
    keys = {name: made.plan.compile for name, made in needs.items()}
    environment = standing.environment or making.provide_environment(run, line.workplace)

    def plan_with(archive: Digest, base: Plan | None) -> Plan:
        return make_plan(
            recipe,
            archive=archive,
            environment=environment.digest,
            needs=keys,
            base=base,
            files=standing.files,
            architecture=line.shop.machine,
        )

    archive = standing.archive
    plan = plan_with(archive, None)
    if run.find(plan.compile) is None:
        archive = making.fetch(run).digest
        plan = plan_with(archive, None)
    install = making.compile_stage(
        run,
        plan,
        archive=archive,
        files=standing.files,
        environment=environment,
        needs=trees,
        workplace=line.workplace,
    )
    if recipe.kind == "library":
        return Made(plan, Digest.parse(str(install["tree"])))
    packed = making.pack(
        run, plan, install, environment=environment, needs=trees, workplace=line.workplace
    )
    base = _wait_for_base(recipe, below)
    plan = plan_with(archive, base.plan if base else None)
    under = Below(base.tree, base.image) if base and base.image else None
    composed = shipping.compose(run, plan, packed, standing.files, under)
    detail = shipping.image(run, plan, composed, under)
    image = parse_image(detail)
    report = shipping.check(run, image)
    published = shipping.publish(run, image, detail)
    return Made(plan, Digest.parse(str(composed["tree"])), image, report, published)


def _wait_for_base(recipe: Recipe, below: Mapping[str, Future[Made]]) -> Made | None:
    name = recipe.rootfs.base
    return _wait(recipe, name, below[name]) if name in below else None


def _wait(recipe: Recipe, name: str, promise: Future[Made]) -> Made:
    try:
        return promise.result()
    except MinidError as error:
        raise BelowFailedError(f"{recipe.name}: stands on {name}, which failed: {error}") from error
