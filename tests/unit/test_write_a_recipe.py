"""The recipe that docs/how-to/write-a-recipe.md puts together is whole, and shows each table."""

from __future__ import annotations

import re
from pathlib import Path

import tomli

from minid.recipe_reader import load_recipes
from minid.recipe_tables import RECIPE

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-recipe.md"


def page_recipe() -> str:
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return "\n".join(blocks)


def test_it_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "cache.toml").write_text(page_recipe())
    recipes, problems = load_recipes(tmp_path)
    assert not problems, problems
    assert recipes["cache"].kind == "image"


def test_every_table_is_there() -> None:
    assert tomli.loads(page_recipe()).keys() == {key.name for key in RECIPE.keys}
