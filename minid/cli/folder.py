"""The working folder that a command is about: its configuration, recipes and store."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minid.config import Config
from minid.config_reader import find_config, load_config
from minid.errors import MinidError, RecipeError, UsageError

if TYPE_CHECKING:
    from minid.line.planning import Standing
    from minid.recipe import Recipe
    from minid.store.blobs import Blobs
    from minid.store.records import Records


@dataclass(frozen=True, slots=True)
class Folder:
    """Configuration and recipes, each at the release that the tracker moved it to; `broken` are
    the errors of files that are no recipes."""

    config: Config
    recipes: dict[str, Recipe]
    broken: tuple[MinidError, ...]


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """`--json`, the same for every command."""
    parser.add_argument("--json", action="store_true", help="print facts as JSON")


def add_message_option(parser: argparse.ArgumentParser) -> None:
    """`-m`, the same for every command that leaves a record."""
    parser.add_argument(
        "-m",
        "--message",
        type=_message,
        default="",
        metavar="TEXT",
        help="why, for the record",
    )


def _message(text: str) -> str:
    from minid.formats.image_words import parse_text

    try:
        return parse_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def config_file(arguments: argparse.Namespace) -> Path | None:
    """The config.toml that --config, the environment or the folder names; None: the defaults."""
    if arguments.config:
        return Path(arguments.config)
    return find_config(Path.cwd(), os.environ)


def load_folder_config(arguments: argparse.Namespace) -> Config:
    """The configuration that --config, the environment or the folder names."""
    return load_config(config_file(arguments), os.environ)


def load_folder(arguments: argparse.Namespace) -> Folder:
    """Configuration and every recipe, checked together."""
    from minid.line.planning import check_recipe
    from minid.recipe_graph import check_together
    from minid.recipe_lock import apply_lock
    from minid.recipe_reader import load_recipes
    from minid.store.releases import stored_locks

    config = load_folder_config(arguments)
    if not config.paths.recipes.is_dir():
        raise UsageError(
            f"{config.paths.recipes}: expected a folder of recipes, got nothing",
            hint="`minid init` makes a working folder",
        )
    recipes, broken = load_recipes(config.paths.recipes)
    locks = stored_locks(config.paths.records)
    recipes = {name: apply_lock(recipe, locks.get(name)) for name, recipe in recipes.items()}
    problems = check_together(recipes, broken=[stem_of(error) for error in broken])
    found = [*broken, *(RecipeError(str(problem)) for problem in problems)]
    for recipe in recipes.values():
        try:
            check_recipe(recipe, config)
        except MinidError as error:
            found.append(error)
    return Folder(config, recipes, tuple(found))


def stem_of(error: MinidError) -> str:
    """The name of the recipe whose file an error is about: messages begin with the file."""
    return Path(error.message.partition(".toml")[0]).name


def need_recipes(folder: Folder, names: list[str]) -> list[str]:
    """The named recipes, or all. Raises what is wrong with these and with what they stand on,
    all of it at once; what is wrong with others is shown."""
    if not names and not folder.recipes and not folder.broken:
        raise UsageError(f"{folder.config.paths.recipes}: expected a recipe, got an empty folder")
    from minid.recipe_graph import unknown_recipe

    about = _with_what_they_stand_on(folder, names)
    wrong = [error for error in folder.broken if not names or stem_of(error) in about]
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        hint = next((error.hint for error in wrong if error.hint), "")
        raise RecipeError("\n".join(error.message for error in wrong), hint=hint)
    for name in names:
        if name not in folder.recipes:
            raise unknown_recipe(name, folder.recipes)
    for error in folder.broken:
        print(f"minid: passed over: {error.message.splitlines()[0]}", file=sys.stderr)
    return names or list(folder.recipes)


def assess_folder(
    folder: Folder, names: Iterable[str], blobs: Blobs, records: Records
) -> dict[str, Standing]:
    """How the named recipes stand, and all that these stand on."""
    from minid.line.planning import assess, recipe_order

    return assess(
        recipe_order(folder.recipes, names),
        folder.recipes,
        config=folder.config,
        blobs=blobs,
        records=records,
        machine=os.uname().machine,
    )


def sound_recipes(folder: Folder) -> list[str]:
    """The names of recipes with which nothing is wrong, nor with anything they stand on."""
    broken = {stem_of(error) for error in folder.broken}
    return [
        name for name in folder.recipes if not _with_what_they_stand_on(folder, [name]) & broken
    ]


def _with_what_they_stand_on(folder: Folder, names: list[str]) -> set[str]:
    from minid.recipe_graph import references

    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in folder.recipes:
                waiting += references(folder.recipes[name])
    return found
