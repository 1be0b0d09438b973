"""What is wrong with recipes that are fine each for itself, kept up to date change by change.

The rules are `minid.recipe_graph`'s; here is only what a change can have touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from minid.config import Config
from minid.errors import MinidError, RecipeError
from minid.line.planning import check_recipe
from minid.recipe import Recipe, tag_names
from minid.recipe_graph import (
    check_links,
    claimed_twice,
    cycle_problem,
    find_cycles,
    reaches_itself,
    references,
    tag_problem,
)

# From here on it is cheaper to look for cycles among all recipes at once.
_MANY = 100


class Checks:
    """The problems of recipes together, and who refers to whom. `recipes` is the owner's own."""

    def __init__(self, config: Config, recipes: Mapping[str, Recipe]) -> None:
        self._config = config
        self._recipes = recipes
        self._users: dict[str, dict[str, None]] = {}
        self._claims: dict[str, dict[str, None]] = {}
        self._tags: dict[str, tuple[str, ...]] = {}
        self._links: dict[str, str] = {}
        self._clashes: dict[str, str] = {}
        self._rings: dict[str, str] = {}
        self._in_rings: set[str] = set()

    def users(self, name: str) -> Collection[str]:
        """The recipes that need the named one or are based on it."""
        return self._users.get(name, ())

    def problems(self, name: str) -> list[str]:
        """What is wrong with the recipe beside others."""
        found = (self._rings.get(name), self._links.get(name), self._clashes.get(name))
        return [text for text in found if text]

    def update(
        self, before: Mapping[str, Recipe | None], broken: Collection[str]
    ) -> frozenset[str]:
        """Look again after a change; gives the names whose problems may be others now.

        `before` has the recipes that changed as they were, None where there was none; `broken`
        names those whose files are wrong now.
        """
        self._refer(before)
        linked = {*before, *self._users_of_moved(before)}
        for name in linked:
            self._note(self._links, name, self._check_links(name, broken))
        return frozenset(linked | self._claim(before) | self._find_rings(before))

    def _refer(self, before: Mapping[str, Recipe | None]) -> None:
        for name, old in before.items():
            new = self._recipes.get(name)
            for other in references(old) if old else ():
                self._users.get(other, {}).pop(name, None)
            for other in references(new) if new else ():
                self._users.setdefault(other, {})[name] = None

    def _users_of_moved(self, before: Mapping[str, Recipe | None]) -> Iterable[str]:
        """Those for whom a recipe came, went or became of another kind."""
        for name, old in before.items():
            new = self._recipes.get(name)
            if old is None or new is None or old.kind != new.kind:
                yield from self.users(name)

    def _check_links(self, name: str, broken: Collection[str]) -> str:
        recipe = self._recipes.get(name)
        if recipe is None:
            return ""
        lines = [str(problem) for problem in check_links(recipe, self._recipes, broken)]
        try:
            check_recipe(recipe, self._config)
        except MinidError as error:
            lines.append(error.message)
        return "\n".join(lines)

    def _claim(self, before: Mapping[str, Recipe | None]) -> set[str]:
        """Look at the tags of recipes that changed; gives who claims any of them, then or now."""
        touched: dict[str, None] = {}
        wrong: dict[str, str] = {}
        for name in before:
            for tag in self._tags.pop(name, ()):
                self._claims[tag].pop(name, None)
                touched[tag] = None
            for tag in self._read_tags(name, wrong):
                self._claims.setdefault(tag, {})[name] = None
                touched[tag] = None
        about = {name for tag in touched for name in self._claims[tag]} | set(before)
        for name in about:
            self._note(self._clashes, name, wrong.get(name) or self._clash(name))
        for tag in touched:
            if not self._claims[tag]:
                del self._claims[tag]
        return about

    def _read_tags(self, name: str, wrong: dict[str, str]) -> tuple[str, ...]:
        recipe = self._recipes.get(name)
        if recipe is None or recipe.kind == "library":
            return ()
        try:
            self._tags[name] = tag_names(recipe)
        except RecipeError as error:
            wrong[name] = str(tag_problem(recipe, error))
            return ()
        return self._tags[name]

    def _clash(self, name: str) -> str:
        """The tags that a recipe claims after another: the first by name has it."""
        lines = []
        for tag in self._tags.get(name, ()):
            claims = self._claims[tag]
            if len(claims) > 1 and (owner := min(claims)) != name:
                lines.append(str(claimed_twice(self._recipes[name], tag, self._recipes[owner])))
        return "\n".join(lines)

    def _find_rings(self, before: Mapping[str, Recipe | None]) -> set[str]:
        """Look for cycles where a change can have closed or opened one."""
        stale = any(name in self._in_rings for name in before) or len(before) > _MANY
        if not stale and not any(reaches_itself(name, self._recipes) for name in before):
            return set()
        old = set(self._rings)
        rings = list(find_cycles(self._recipes))
        self._in_rings = {name for ring in rings for name in ring}
        self._rings = {ring[0]: str(cycle_problem(ring, self._recipes)) for ring in rings}
        return old | set(self._rings)

    @staticmethod
    def _note(table: dict[str, str], name: str, text: str) -> None:
        if text:
            table[name] = text
        else:
            table.pop(name, None)
