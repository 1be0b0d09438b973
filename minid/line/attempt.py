"""What a run attempts: a key to tell whether the same was attempted before, and what is different
from the last good run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from minid.formats.digest import Digest, digest_of_json
from minid.line.planning import Standing
from minid.recipe import Recipe
from minid.recipe_graph import references
from minid.steps.plan import OwnFiles, Plan

_WIDTH = 60
# Where a recipe lies, where its releases show up and how much of it is kept shapes nothing.
_NOT_ATTEMPTED = {"file", "folder", "track", "keep"}


def attempt_key(standing: Standing, standings: Mapping[str, Standing] | None = None) -> str:
    """The key of what a run of the recipe would attempt now; equal keys, equal attempts.

    `plan:` and the digest of the plan's inputs; while there is no plan, because an environment has
    yet to be made, `recipe:` and a digest of the recipe, its own files and the keys of what it
    stands on, as far as `standings` has them.
    """
    return _attempt_key(standing, standings or {}, {})


def _attempt_key(
    standing: Standing, standings: Mapping[str, Standing], known: dict[str, str]
) -> str:
    """`known` has the keys of what was met already: many may stand on one."""
    if standing.plan is not None:
        return plan_key(standing.plan)
    recipe = standing.recipe
    if recipe.name not in known:
        names = [name for name in references(recipe) if name in standings]
        below = {name: _attempt_key(standings[name], standings, known) for name in names}
        value = {"recipe": _meaning(recipe), "files": _own(standing.files), "below": below}
        known[recipe.name] = "recipe:" + digest_of_json(value).hex
    return known[recipe.name]


def plan_key(plan: Plan) -> str:
    """The key of an attempt at a plan."""
    return "plan:" + digest_of_json(dict(plan.inputs)).hex


def _meaning(recipe: Recipe) -> dict[str, object]:
    named = {item.name: getattr(recipe, item.name) for item in fields(recipe)}
    return {
        name: value if isinstance(value, str) else _plain(value)
        for name, value in named.items()
        if name not in _NOT_ATTEMPTED
    }


def _plain(value: object) -> object:
    """A field of a recipe as JSON values."""
    if isinstance(value, Digest):
        return value.hex
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({item.name: getattr(value, item.name) for item in fields(value)})
    return value


def _own(files: OwnFiles) -> dict[str, object]:
    return {
        "patches": [[name, Digest.of(data).hex] for name, data in files.patches],
        "files": {name: Digest.of(data).hex for name, data in files.files.items()},
    }


def reason_of(standing: Standing, before: Mapping[str, str]) -> str:
    """Why a run is to be, in a line; `before` are the inputs of the last good run."""
    if not before:
        return "first build"
    if standing.changes:
        return "changed: " + ", ".join(standing.changes)
    return f"missing at {', '.join(standing.pending)}" if standing.pending else "asked"


def describe_changes(standing: Standing, before: Mapping[str, str]) -> tuple[str, ...]:
    """For each change since the inputs `before`, a short line: its name, from what, to what."""
    now = standing.plan.inputs if standing.plan is not None else {}
    return tuple(
        f"{name}: {_short(before.get(name))} → {_short(now.get(name))}" for name in standing.changes
    )


def _short(value: str | None) -> str:
    if not value:
        return "nothing" if value is None else "empty"
    if len(value) >= 64 and " " not in value and "[" not in value:  # a digest
        return value.removeprefix("sha256:")[:12]
    return value if len(value) <= _WIDTH else value[: _WIDTH - 1] + "…"
