"""`minid lint`: check recipes and say everything that is wrong with them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minid.cli.folder import add_json_option, load_folder_config, stem_of
from minid.cli.words import print_json, printable
from minid.errors import MinidError, RecipeError
from minid.recipe_reader import load_recipe, load_recipes


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid lint`."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: all recipes")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when nothing is wrong, RecipeError's exit code otherwise."""
    lines: list[str] = []
    checked = 0
    if arguments.files:
        for file in arguments.files:
            checked += 1
            try:
                load_recipe(file)
            except MinidError as error:
                lines += error.message.splitlines()
    else:
        from minid.recipe_graph import check_together

        folder = load_folder_config(arguments).paths.recipes
        recipes, errors = load_recipes(folder)
        checked = len(recipes) + len(errors)
        lines += [line for error in errors for line in error.message.splitlines()]
        broken = [stem_of(error) for error in errors]
        lines += [str(problem) for problem in check_together(recipes, broken=broken)]
    if arguments.json:
        print_json({"checked": checked, "problems": lines})
    else:
        for line in lines:
            print(printable(line), file=sys.stderr)
        if not lines:
            print(f"{checked} recipe{'s' if checked != 1 else ''}: nothing wrong")
    return RecipeError.exit_code if lines else 0
