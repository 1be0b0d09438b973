"""How a recipe's turn ended, and what is left to do where there is nothing to do.

Kept apart from `minid.pipeline`, so that the command that finds everything up to date, which is
the one that runs most often, loads none of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minid.errors import MinidError
from minid.formats.digest import Digest
from minid.formats.lint import Finding
from minid.line.planning import Standing
from minid.model import CheckReport, Image, Published
from minid.steps.plan import Plan
from minid.store.records import Records


@dataclass(frozen=True, slots=True)
class Made:
    """What a finished run hands to recipes that stand on it. `tree` is a blob: the install tree of
    a library, the root file system of an image.

    `image` is what is tagged; where that was edited by hand, `plain` is what the recipe gives, on
    which others stand. `lint` is what lints found in it.
    """

    plan: Plan
    tree: Digest
    image: Image | None = None
    report: CheckReport | None = None
    published: Published | None = None
    plain: Image | None = None
    lint: tuple[Finding, ...] = ()

    @property
    def base(self) -> Image | None:
        """The image for recipes that stand on this one."""
        return self.plain or self.image


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one recipe ended: `built`, `unchanged`, `failed`, or `skipped` because of another."""

    recipe: str
    version: str
    status: str
    changes: tuple[str, ...] = ()
    made: Made | None = None
    stages: Mapping[str, float] | None = None
    seconds: float = 0.0
    log: str = ""
    error: MinidError | None = None


def made_before(standing: Standing, records: Records) -> Made:
    """What the last run of a recipe that is current gave."""
    plan = standing.plan
    assert plan is not None, "a current recipe has a plan"
    result = records.result(plan.image or plan.compile) or {}
    return Made(plan, Digest.parse(str(result["tree"])), standing.tagged, plain=standing.image)


def keep_unchanged(standing: Standing, records: Records, clock: Callable[[], float]) -> Outcome:
    """The outcome of a recipe that is current; the records say that it was asked for."""
    recipe, made = standing.recipe, made_before(standing, records)
    manifest = str(made.image.manifest) if made.image else ""
    records.record_unchanged(recipe.name, recipe.source.version, manifest, clock())
    return Outcome(recipe.name, recipe.source.version, "unchanged", made=made)
