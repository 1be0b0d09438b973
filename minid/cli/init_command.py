"""`minid init`: make a working folder."""

from __future__ import annotations

import argparse
import sys
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


# What a draft of `minid new` stands on.
_BASE = "busybox.toml"


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid init`."""
    parser.add_argument(
        "folder",
        nargs="?",
        default=".",
        type=Path,
        metavar="DIR",
        help="the folder, made where it is not there (default: this one)",
    )


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
        base = folder / "recipes" / _BASE
        shipped = find_shipped(_BASE)
        if shipped is not None and not base.exists():
            _copy_recipe(shipped, base)
        write_file(config, _CONFIG.encode())
    except OSError as error:
        raise UsageError(f"{folder}: expected a writable folder, got {error.strerror}") from error
    made = f", with {_BASE} for the others to stand on" if base.exists() else ""
    print(f"made {config} and {folder / 'recipes'}/{made}")
    go = "" if folder.resolve() == Path.cwd() else f"cd {folder}, "
    print(f"next: {go}minid new URL of a source archive, minid build NAME")
    return 0


def _copy_recipe(shipped: Path, recipe: Path) -> None:
    """The file, and before it what lies in its folder, such as keys; what is there stays."""
    theirs = shipped.with_suffix("")
    for source in sorted(theirs.rglob("*")) if theirs.is_dir() else []:
        copy = recipe.with_suffix("") / source.relative_to(theirs)
        if source.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_file(copy, source.read_bytes())
    write_file(recipe, shipped.read_bytes())


def find_shipped(name: str) -> Path | None:
    """A recipe that comes with minid: in the checkout, or where an installed package keeps data."""
    places = (
        Path(__file__).parents[2] / "recipes",
        Path(sys.prefix) / "share" / "minid" / "recipes",
    )
    return next((place / name for place in places if (place / name).is_file()), None)
