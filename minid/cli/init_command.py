"""`minid init`: make a working folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from minid.errors import UsageError
from minid.host.files import write_file

_CONFIG = """\
# minid's configuration. Every key has a default; docs/reference/config.md tells them all.
# `minid schema --config` prints a JSON Schema for editors.

# Where archives are looked for before their upstream: folders and web addresses.
# mirrors = ["file:archives", "https://mirror.example/sources"]

[paths]
recipes = "recipes"
state = "var"

[build]
# jobs = 2          # make jobs of all builds together; default: one a processor

[publish]
# docker = "auto"   # load images into Docker Engine where one answers
# export = "images" # a folder of NAME_TAG-image.tar.gz
"""


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid init`."""
    parser.add_argument("folder", nargs="?", default=".", type=Path, metavar="DIR")


def execute(arguments: argparse.Namespace) -> int:
    """Make the folder; an existing config.toml is never replaced."""
    folder: Path = arguments.folder
    config = folder / "config.toml"
    if config.exists():
        raise UsageError(
            f"{config}: expected no file, got one", hint="it is a working folder already"
        )
    try:
        (folder / "recipes").mkdir(parents=True, exist_ok=True)
        write_file(config, _CONFIG.encode())
    except OSError as error:
        raise UsageError(f"{folder}: expected a writable folder, got {error.strerror}") from error
    print(f"made {config} and {folder / 'recipes'}/")
    print("next: minid new URL, then minid build")
    return 0
