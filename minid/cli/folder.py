"""The working folder that a command is about: its configuration, recipes and store."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from minid.config import Config
from minid.config_reader import find_config, load_config
from minid.errors import MinidError, RecipeError, UsageError
from minid.recipe import Recipe
from minid.recipe_reader import load_recipes


@dataclass(frozen=True, slots=True)
class Folder:
    """Configuration and recipes; `broken` are the errors of files that are no recipes."""

    config: Config
    recipes: dict[str, Recipe]
    broken: tuple[MinidError, ...]


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """`--json`, the same for every command."""
    parser.add_argument("--json", action="store_true", help="print facts as JSON")


def load_folder_config(arguments: argparse.Namespace) -> Config:
    """The configuration that --config, the environment or the folder names."""
    if arguments.config:
        file: Path | None = Path(arguments.config)
    else:
        file = find_config(Path.cwd(), os.environ)
    return load_config(file, os.environ)


def load_folder(arguments: argparse.Namespace) -> Folder:
    """Configuration and every recipe, checked together."""
    from minid.recipe_graph import check_together

    config = load_folder_config(arguments)
    if not config.paths.recipes.is_dir():
        raise UsageError(
            f"{config.paths.recipes}: expected a folder of recipes, got nothing",
            hint="`minid init` makes a working folder",
        )
    recipes, broken = load_recipes(config.paths.recipes)
    problems = check_together(recipes)
    if problems:
        broken = (*broken, RecipeError("\n".join(str(problem) for problem in problems)))
    return Folder(config, recipes, broken)


def need_recipes(folder: Folder, names: list[str]) -> list[str]:
    """The named recipes, or all. An error of a file is raised if it was named, else shown."""
    if not names and not folder.recipes and not folder.broken:
        raise UsageError(f"{folder.config.paths.recipes}: expected a recipe, got an empty folder")
    for name in names:
        if name not in folder.recipes:
            for error in folder.broken:
                if f"/{name}.toml:" in error.message:
                    raise error
            known = ", ".join(folder.recipes) or "none"
            raise UsageError(f"expected a recipe ({known}), got {name!r}")
    for error in folder.broken:
        if not names:
            raise error
        print(f"minid: passed over: {error.message.splitlines()[0]}", file=sys.stderr)
    return names or list(folder.recipes)
