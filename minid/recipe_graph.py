"""What recipes are to each other: bases, needs and tags that must fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from minid.errors import RecipeError, UsageError
from minid.formats.table import Problem
from minid.recipe import Recipe, tag_names

SCRATCH = "scratch"
# Among more recipes than this no name is looked for that was meant.
_MANY = 1000


def check_together(
    recipes: Mapping[str, Recipe], *, broken: Collection[str] = ()
) -> tuple[Problem, ...]:
    """Every problem that no recipe has alone.

    `broken` names recipes whose files have problems of their own: they are not missing. Found are
    a missing or unfit base or need, a cycle through bases and needs, a tag claimed twice. Each
    stands under the file of the recipe that refers; a cycle under its first name.
    """
    problems: list[Problem] = []
    for name in sorted(recipes):
        problems.extend(check_links(recipes[name], recipes, broken))
    problems.extend(cycle_problem(ring, recipes) for ring in find_cycles(recipes))
    problems.extend(_check_tags([recipes[name] for name in sorted(recipes)]))
    return tuple(problems)


def check_links(
    made: Recipe, recipes: Mapping[str, Recipe], broken: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with a recipe's base and needs; see `check_together`."""
    yield from _check_base(made, recipes, broken)
    yield from _check_needs(made, recipes, broken)


def unknown_recipe(name: str, known: Iterable[str]) -> UsageError:
    """The error of a command that names no recipe of these."""
    return UsageError(f"expected a recipe ({', '.join(known) or 'none'}), got {name!r}")


def references(made: Recipe) -> tuple[str, ...]:
    """The names of the recipes that this one builds on: its needs, then its base."""
    base = made.rootfs.base
    based = made.kind == "image" and base != SCRATCH and not is_stored(base)
    return (*made.build.needs, made.rootfs.base) if based else made.build.needs


def libraries_below(made: Recipe, recipes: Mapping[str, Recipe]) -> Iterator[tuple[str, str]]:
    """Every library recipe that is needed, the recipe's own first, each once with who needs it;
    names that are no recipe's are passed over."""
    waiting = [(name, made.name) for name in made.build.needs]
    seen = set()
    while waiting:
        name, above = waiting.pop(0)
        if name not in seen and name in recipes:
            seen.add(name)
            yield name, above
            waiting += [(other, name) for other in recipes[name].build.needs]


def is_stored(base: str) -> bool:
    """Whether a base is a tag of the store (`debian:12`), which no recipe needs to make."""
    return ":" in base


def _check_base(
    made: Recipe, recipes: Mapping[str, Recipe], broken: Collection[str]
) -> Iterator[Problem]:
    base = made.rootfs.base
    if made.kind == "library" or base == SCRATCH or is_stored(base) or base in broken:
        return
    expected = 'the name of an image recipe, a tag of the store or "scratch"'
    if base not in recipes:
        yield Problem(str(made.file), "rootfs.base", expected, f'"{base}"', _like(base, recipes))
    elif recipes[base].kind == "library":
        yield Problem(str(made.file), "rootfs.base", expected, f'the library recipe "{base}"')


def _check_needs(
    made: Recipe, recipes: Mapping[str, Recipe], broken: Collection[str]
) -> Iterator[Problem]:
    expected = "the name of a library recipe"
    for index, name in enumerate(made.build.needs):
        key = f"build.needs[{index}]"
        if name in broken:
            continue
        if name not in recipes:
            yield Problem(str(made.file), key, expected, f'"{name}"', _like(name, recipes))
        elif recipes[name].kind == "image":
            yield Problem(str(made.file), key, expected, f'the image recipe "{name}"')


def _like(name: str, recipes: Mapping[str, Recipe]) -> str:
    if len(recipes) > _MANY:
        return ""  # it would take longer than everything else, and a base has many users
    import difflib

    return next(iter(difflib.get_close_matches(name, list(recipes), n=1)), "")


def find_cycles(recipes: Mapping[str, Recipe]) -> Iterator[tuple[str, ...]]:
    """Rings of recipes that stand on each other, each in the order of its references from its
    first name on; a recipe is in one at most."""
    from graphlib import CycleError, TopologicalSorter

    graph = {
        name: {other for other in references(made) if other in recipes}
        for name, made in recipes.items()
    }
    while True:
        try:
            TopologicalSorter(dict(sorted(graph.items()))).prepare()
        except CycleError as error:
            ring = error.args[1][:0:-1]
            first = ring.index(min(ring))
            ring = ring[first:] + ring[:first]
            yield tuple(ring)
            for name in ring:
                graph[name] -= set(ring)
        else:
            return


def cycle_problem(ring: tuple[str, ...], recipes: Mapping[str, Recipe]) -> Problem:
    """A ring of `find_cycles`, under the file of its first recipe."""
    shown = " → ".join((*ring, ring[0]))
    return Problem(str(recipes[ring[0]].file), "", "no cycle of bases and needs", shown)


def reaches_itself(name: str, recipes: Mapping[str, Recipe]) -> bool:
    """Whether a recipe stands on itself, through others or at once."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        made = recipes.get(waiting.pop())
        for other in references(made) if made else ():
            if other == name:
                return True
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return False


def _check_tags(ordered: list[Recipe]) -> Iterator[Problem]:
    owners: dict[str, Recipe] = {}
    for made in ordered:
        try:
            names = tag_names(made)
        except RecipeError as error:
            yield tag_problem(made, error)
            continue
        for name in names if made.kind == "image" else ():
            owner = owners.setdefault(name, made)
            if owner is not made:
                yield claimed_twice(made, name, owner)


def tag_problem(made: Recipe, error: RecipeError) -> Problem:
    """That the recipe's tags do not fit its version."""
    return Problem(str(made.file), "image.tags", "tag names", error.message)


def claimed_twice(made: Recipe, tag: str, owner: Recipe) -> Problem:
    """That a recipe claims a tag which `owner`, the first by name, claims already."""
    got = f'"{tag}", which {owner.file.name} claims as well'
    return Problem(str(made.file), "image.tags", "a tag of its own", got)
