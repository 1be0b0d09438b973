"""The line: recipe → plan → fetch → compile → pack → compose → image → lint → check → publish →
record.

`build` brings recipes and what they stand on up to date. Recipes go side by side: one compiles
while its base still does, and waits for it only where it needs it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from minid.errors import BuildError, MinidError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.line import shipping
from minid.line.ahead import loaded_ahead
from minid.line.attempt import describe_changes, reason_of
from minid.line.checking import check
from minid.line.linting import licenses_of, lint
from minid.line.outcome import Made, Outcome, keep_unchanged, made_before
from minid.line.planning import Standing
from minid.line.promise import Promise
from minid.line.run import Output, Run, hold_environment, open_run
from minid.line.shipping import Below
from minid.line.stored_base import hold_stored
from minid.line.tidy import tidy_layers
from minid.line.workshop import Workshop
from minid.model import Environment
from minid.recipe import Recipe
from minid.recipe_graph import is_stored, references
from minid.steps.plan import Plan, make_plan
from minid.steps.publish import TagMovedError
from minid.store.reach import blobs_of

if TYPE_CHECKING:
    from minid.host.jobserver import Jobserver
    from minid.steps.compile import Workplace

# Python sees to a signal that arrives just before a wait only after it, so no wait is longer.
_SIGNALS_S = 0.2
# How often a run looks again at tags that people move while it checks what is to be under them.
_LOOKS = 5

_MakePlan = Callable[[Digest, Plan | None], Plan]


class _Line:
    """What every run of one `build` shares. Use as a context manager.

    What compiling needs is loaded by the first recipe that compiles: an edit of a file is to be
    an image sooner than that.
    """

    def __init__(self, shop: Workshop, forced: frozenset[str]) -> None:
        self.shop = shop
        self.forced = forced
        self._lock = threading.Lock()
        self._workplace: Workplace | None = None

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workplace is not None:
            self._workplace.jobserver.close()

    def workplace(self) -> Workplace:
        """Where this build's recipes are compiled, one for all of them."""
        with self._lock:
            if self._workplace is None:
                self._workplace = _open_workplace(self.shop)
            return self._workplace


def _open_workplace(shop: Workshop) -> Workplace:
    from minid.host.sandbox import build_identity
    from minid.steps.compile import Workplace

    settings = shop.config.build
    return Workplace(
        jobs_folder=shop.jobs_folder,
        identity=build_identity(settings.user),
        jobserver=_open_jobserver(shop),
        limits=settings.limits,
        slots=threading.BoundedSemaphore(settings.parallel),
        cancel=shop.cancel,
    )


def _open_jobserver(shop: Workshop) -> Jobserver:
    from minid.host.jobserver import Jobserver

    if shop.assignment is not None and shop.assignment.jobserver is not None:
        jobs, *fds = shop.assignment.jobserver
        return Jobserver(jobs, (fds[0], fds[1]))
    return Jobserver(shop.config.build.jobs or len(os.sched_getaffinity(0)))


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
    promises: dict[str, Promise[Made]] = {name: Promise() for name in standings}
    outcomes: dict[str, Promise[Outcome]] = {name: Promise() for name in standings}
    with _Line(shop, frozenset(forced)) as line:
        threads = []
        for name, standing in standings.items():
            if standing.current and name not in forced and _is_whole(shop, standing):
                outcomes[name].keep(_keep(line, standing, promises))
                continue
            words = (line, standing, promises, outcomes[name])
            threads.append(threading.Thread(target=_take_turn, args=words, name=f"recipe {name}"))
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_SIGNALS_S)
    if threads and not shop.cancel.is_set() and shop.assignment is None:
        tidy_layers(shop.config.paths.layers, shop.records)
    return {name: outcome.result() for name, outcome in outcomes.items()}


def _take_turn(
    line: _Line,
    standing: Standing,
    promises: Mapping[str, Promise[Made]],
    outcome: Promise[Outcome],
) -> None:
    try:
        outcome.keep(_build_one(line, standing, promises))
    except BaseException as error:
        outcome.fail(error)


def _is_whole(shop: Workshop, standing: Standing) -> bool:
    """Whether all that an up-to-date recipe gave is there; nobody collects it from now on."""
    plan = standing.plan
    assert plan is not None, "a current recipe has a plan"
    key = plan.image or plan.compile
    result = shop.records.result(key)
    # Held by now; but it may have been on its way out before.
    return bool(result and shop.blobs.claim(*blobs_of(result)) and shop.records.result(key))


def _keep(line: _Line, standing: Standing, promises: Mapping[str, Promise[Made]]) -> Outcome:
    """Nothing to do: the promise is kept from the records."""
    recipe, shop = standing.recipe, line.shop
    if shop.assignment is not None:
        made = made_before(standing, shop.records)
        outcome = Outcome(recipe.name, recipe.source.version, "unchanged", made=made)
    else:
        outcome = keep_unchanged(standing, shop.records, shop.clock)
    assert outcome.made is not None
    promises[recipe.name].keep(outcome.made)
    return outcome


def _build_one(line: _Line, standing: Standing, promises: Mapping[str, Promise[Made]]) -> Outcome:
    """One recipe's run; keeps or breaks its promise to those that stand on it."""
    recipe, shop = standing.recipe, line.shop
    promise = promises[recipe.name]
    below = {name: promises[name] for name in references(recipe)}
    begin = time.monotonic()
    # At the first build all inputs are new: a list of them would only drown the log.
    before = shop.records.inputs(recipe.name)
    changes = standing.changes if before else ()
    shown = describe_changes(standing, before) if before else ()
    log = ""
    try:
        forced, reason = recipe.name in line.forced, _reason(line, standing)
        with open_run(shop, recipe, reason, changes, forced=forced, shown=shown) as run:
            log = str(run.log.path)
            made = run_line(line, run, standing, below)
            manifest = str(made.image.manifest) if made.image else ""
            shop.records.finish_run(run.id, recipe.name, manifest, made.plan.inputs, shop.clock())
    except BaseException as error:
        promise.fail(error)
        if not isinstance(error, MinidError):
            raise
        status = "skipped" if isinstance(error, BelowFailedError) else "failed"
        seconds = time.monotonic() - begin
        version = recipe.source.version
        return Outcome(recipe.name, version, status, changes, None, {}, seconds, log, error)
    promise.keep(made)
    seconds = time.monotonic() - begin
    version = recipe.source.version
    return Outcome(recipe.name, version, "built", changes, made, run.seconds, seconds, log)


class BelowFailedError(BuildError):
    """A recipe that this one stands on failed, so this one was not run to its end."""


def _reason(line: _Line, standing: Standing) -> str:
    if line.shop.assignment is not None:
        return line.shop.assignment.reason
    if standing.recipe.name in line.forced:
        return "forced"
    return reason_of(standing, line.shop.records.inputs(standing.recipe.name))


def run_line(line: _Line, run: Run, standing: Standing, below: Mapping[str, Promise[Made]]) -> Made:
    """Walk one recipe along the line."""
    recipe = run.recipe
    # Before all that takes long: it may not be there.
    stored = Made(*hold_stored(line.shop, recipe)) if is_stored(recipe.rootfs.base) else None
    needs = {name: _wait(recipe, name, below[name]) for name in recipe.build.needs}
    trees = [made.tree for made in needs.values()]
    keys = {name: made.plan.compile for name, made in needs.items()}
    environment = hold_environment(run, standing.environment)
    environment = environment or _provide_environment(line, run)

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

    plan = plan_with(standing.archive, None)
    payload = _kept_payload(run, plan)
    if payload is None:
        archive, payload = _make_payload(line, run, standing, environment, plan_with, trees)
        plan = plan_with(archive, None)
    else:
        archive = standing.archive
    if recipe.kind == "library":
        return Made(plan, Digest.parse(str(payload["tree"])))
    base = stored or _wait_for_base(recipe, below)
    plan = plan_with(archive, base.plan if base else None)
    under = Below(base.tree, base.base) if base and base.base else None
    composed = shipping.compose(run, plan, payload, standing.files, under)
    detail = shipping.image(run, plan, composed, under)
    made = Made(plan, Digest.parse(str(composed["tree"])), plain=parse_image(detail))
    for _ in range(_LOOKS):
        with suppress(TagMovedError):
            return _ship(run, standing, detail, made, under)
        run.log.say("   a tag was moved by hand meanwhile: once more")
    return _ship(run, standing, detail, made, under)


def _ship(run: Run, standing: Standing, detail: Output, made: Made, under: Below | None) -> Made:
    """Make the edits that are to be kept, look over and check what that gives, and move the
    tags."""
    reworked = shipping.rework(run, standing, detail)
    compiled = run.shop.records.result(made.plan.compile) or {}
    linted = lint(run, reworked.detail, under.tree if under else None, licenses_of(compiled))
    reworked = replace(reworked, detail=linted.record(reworked.detail))
    image = parse_image(reworked.detail)
    with loaded_ahead(run, image) as arrive:
        report = check(run, image, str(detail.get("programs", "")))
        arrive()
        published = shipping.publish(run, image, reworked, detail)
    return replace(made, image=image, report=report, published=published, lint=linted.findings)


def _provide_environment(line: _Line, run: Run) -> Environment:
    from minid.line.making import provide_environment

    return provide_environment(run, line.workplace())


def _kept_payload(run: Run, plan: Plan) -> Output | None:
    """What `_make_payload` would give, where the store has it already."""
    found = None
    stages = [("compile", plan.compile)] + ([("pack", plan.pack)] if plan.pack else [])
    for _, key in stages:
        found = run.find(key)
        if found is None:
            return None
    for stage, key in stages:
        run.cached(stage, key)
    return found


def _make_payload(
    line: _Line,
    run: Run,
    standing: Standing,
    environment: Environment,
    plan_with: _MakePlan,
    needs: Iterable[Digest],
) -> tuple[Digest, Output]:
    """Fetch, compile and pack: the archive that was used, and the payload. A library is not packed:
    it gives its install tree."""

    from minid.line import making

    trees = list(needs)
    archive = standing.archive
    plan = plan_with(archive, None)
    if run.find(plan.compile) is None:
        archive = making.fetch(run).digest
        plan = plan_with(archive, None)
    place = line.workplace()
    install = making.compile_stage(
        run,
        plan,
        archive=archive,
        files=standing.files,
        environment=environment,
        needs=trees,
        workplace=place,
    )
    if run.recipe.kind == "library":
        return archive, install
    packed = making.pack(run, plan, install, environment=environment, needs=trees, workplace=place)
    return archive, packed


def _wait_for_base(recipe: Recipe, below: Mapping[str, Promise[Made]]) -> Made | None:
    name = recipe.rootfs.base
    return _wait(recipe, name, below[name]) if name in below else None


def _wait(recipe: Recipe, name: str, promise: Promise[Made]) -> Made:
    try:
        return promise.result()
    except MinidError as error:
        raise BelowFailedError(f"{recipe.name}: stands on {name}, which failed: {error}") from error
