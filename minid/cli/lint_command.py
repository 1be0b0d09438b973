"""`minid lint`: check recipes and say everything that is wrong with them; look images over."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minid.cli.folder import add_json_option, load_folder_config, stem_of
from minid.cli.words import print_json, printable
from minid.errors import MinidError, RecipeError, UsageError
from minid.recipe import Recipe
from minid.recipe_reader import load_recipe, load_recipes


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid lint`."""
    parser.add_argument(
        "files", nargs="*", metavar="RECIPE", help="a name or a file (default: all recipes)"
    )
    parser.add_argument(
        "--image", metavar="IMAGE", help="look an image over: a tag, recipe, digest"
    )
    parser.add_argument("--rules", action="store_true", help="say what is looked for in images")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when nothing is wrong, RecipeError's exit code otherwise; of an image LintError's."""
    asked = [bool(arguments.files), arguments.image is not None, arguments.rules]
    if sum(asked) > 1:
        raise UsageError("lint: expected one of RECIPE, --image and --rules, got more")
    if arguments.rules:
        from minid.cli.lint_images import show_rules

        show_rules(as_json=arguments.json)
        return 0
    if arguments.image is not None:
        from minid.cli.lint_images import lint_stored

        return lint_stored(arguments)
    checked, lines = _lint_files(arguments) if arguments.files else _lint_folder(arguments)
    if arguments.json:
        print_json({"checked": checked, "problems": lines})
    else:
        for line in lines:
            print(printable(line), file=sys.stderr)
        if not lines:
            print(f"{checked} recipe{'s' if checked != 1 else ''}: nothing wrong")
    return RecipeError.exit_code if lines else 0


def _lint_files(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    lines: list[str] = []
    for word in arguments.files:
        try:
            made = load_recipe(_find_file(word, arguments))
        except MinidError as error:
            lines += error.message.splitlines()
        else:
            lines += _missing_keys(made)
    return len(arguments.files), lines


def _find_file(word: str, arguments: argparse.Namespace) -> Path:
    """The file of that name; else the folder's recipe of that name, as other commands take it."""
    file = Path(word)
    if file.exists() or file.name != word or file.suffix:
        return file
    return load_folder_config(arguments).paths.recipes / f"{word}.toml"


def _lint_folder(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    from minid.recipe_graph import check_together

    folder = load_folder_config(arguments).paths.recipes
    recipes, errors = load_recipes(folder)
    lines = [line for error in errors for line in error.message.splitlines()]
    broken = [stem_of(error) for error in errors]
    lines += [str(problem) for problem in check_together(recipes, broken=broken)]
    lines += [line for made in recipes.values() for line in _missing_keys(made)]
    return len(recipes) + len(errors), lines


def _missing_keys(recipe: Recipe) -> list[str]:
    """Keys of `track.verify` that are not in the recipe's folder: it builds, and no release of it
    could be verified."""
    from minid.upstream.verify_options import read_verify

    openpgp = read_verify(recipe.track.options).openpgp
    if openpgp is None:
        return []
    from minid.upstream.openpgp import load_pinned

    try:
        load_pinned(openpgp.keys, recipe.folder)
    except RecipeError as error:
        return [f"{recipe.file}: track.verify.openpgp.keys: {error.message}"]
    return []
