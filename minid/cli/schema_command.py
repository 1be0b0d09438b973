"""`minid schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

import argparse

from minid.cli.words import print_json


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid schema`."""
    parser.add_argument("--config", dest="of_config", action="store_true", help="of config.toml")


def execute(arguments: argparse.Namespace) -> int:
    """Print it."""
    if arguments.of_config:
        from minid.config_reader import config_schema

        print_json(config_schema())
        return 0
    from minid.recipe_reader import recipe_schema

    print_json(recipe_schema())
    return 0
