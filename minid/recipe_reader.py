"""recipes/*.toml to frozen Recipes, with every problem of a file told at once.

The format itself is declared in `minid.recipe_tables`; what recipes are to each other is checked
in `minid.recipe_graph`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Any, Literal

from minid.errors import MinidError, RecipeError
from minid.formats.table import Problem, Problems, read_table, show_value
from minid.formats.toml import MAX_BYTES, TomlError, parse_toml
from minid.recipe import Recipe, tag_names
from minid.recipe_tables import RECIPE

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
Kind = Literal["image", "library"]
_IMAGE_TABLES = ("rootfs", "image", "check")


def parse_recipe(text: bytes, file: Path) -> Recipe:
    """The recipe in these bytes; its name is the stem of `file`, which is not opened.

    RecipeError holds every problem of the text, one a line.
    """
    made, problems = _read(text, file)
    if made is None:
        raise _error(problems)
    return made


def recipe_problems(text: bytes, file: Path) -> tuple[Problem, ...]:
    """The problems that `parse_recipe` would raise with, as values."""
    return tuple(_read(text, file)[1].found)


def load_recipe(file: Path) -> Recipe:
    """Read and check a recipe, and that the patches and files it names lie in its folder.

    A symbolic link may point only at a file in the same folder. RecipeError for anything else.
    """
    made = parse_recipe(_read_bytes(file), file)
    problems = Problems(str(file))
    for key, name in named_files(made):
        if not _is_inside(made.folder / name, made.folder):
            problems.add(key, f'a regular file in "{made.folder}"', show_value(name))
    if problems.count:
        raise _error(problems)
    return made


def load_recipes(folder: Path) -> tuple[dict[str, Recipe], tuple[MinidError, ...]]:
    """All recipes of a folder by name, sorted, and an error for each file that is none.

    Hidden files and editors' lock and backup files are passed over.
    """
    recipes: dict[str, Recipe] = {}
    errors: list[MinidError] = []
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or "an error").lower()
        return {}, (RecipeError(f"{folder}: expected a folder of recipes, got {reason}"),)
    for file in files:
        if not is_recipe_file(file.name):
            continue
        try:
            made = load_recipe(file)
        except MinidError as error:
            errors.append(error)
        else:
            recipes[made.name] = made
    return recipes, tuple(errors)


def is_recipe_file(file_name: str) -> bool:
    """Whether a file of the recipes folder is to be read: not a hidden, lock or backup file."""
    return file_name.endswith(".toml") and not file_name.startswith((".", "#"))


def named_files(made: Recipe) -> list[tuple[str, str]]:
    """The files in the recipe's own folder that it names, each with the key that names it."""
    named = [(f"source.patches[{i}]", name) for i, name in enumerate(made.source.patches)]
    for index, item in enumerate(made.rootfs.files):
        if item.source is not None:
            named.append((f"rootfs.files[{index}].source", item.source))
    return named


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe, for editors."""
    from minid.formats.schema import document_schema

    return document_schema(RECIPE, "minid recipe")


def _error(problems: Problems) -> RecipeError:
    return RecipeError(problems.text(), hint="see docs/reference/recipe.md for every key")


def _read(text: bytes, file: Path) -> tuple[Recipe | None, Problems]:
    problems = Problems(str(file))
    if file.suffix != ".toml" or len(file.stem) > 64 or not _NAME.fullmatch(file.stem):
        problems.add("", 'a file name such as "nginx.toml"', show_value(file.name))
    try:
        document = parse_toml(text)
    except TomlError as error:
        problems.add_at_line(error.line, error.expected, error.got)
        return None, problems
    values, more = read_table(RECIPE, document, str(file))
    problems.extend(more)
    if problems.count:
        return None, problems
    kind: Kind = "image" if any(table in document for table in _IMAGE_TABLES) else "library"
    values["checks"] = values.pop("check", ())
    made = Recipe(name=file.stem, file=file, folder=file.with_suffix(""), kind=kind, **values)
    try:
        tag_names(made)
    except RecipeError:
        problems.add("image.tags", "tags that fit the version", show_value(made.source.version))
        return None, problems
    return made, problems


def _read_bytes(file: Path) -> bytes:
    # Without O_NONBLOCK a FIFO called x.toml would hold the reader for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(file, flags)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            descriptor = os.open(_resolve_link(file), flags)
        try:
            status = os.fstat(descriptor)
            _expect_regular(file, status.st_mode)
            return _read_capped(descriptor, max(4096, min(status.st_size, MAX_BYTES) + 1))
        finally:
            os.close(descriptor)
    except (OSError, RuntimeError) as error:
        reason = (getattr(error, "strerror", None) or "a loop of links").lower()
        raise RecipeError(f"{file}: expected a readable file, got {reason}") from error


def _read_capped(descriptor: int, piece: int) -> bytes:
    """All bytes, or more than a recipe may have. `piece` is how many there probably are."""
    data = b""
    while len(data) <= MAX_BYTES and (more := os.read(descriptor, piece)):
        data += more
    return data


def _resolve_link(file: Path) -> Path:
    real = file.resolve(strict=True)
    if real.parent != file.parent.resolve():
        raise RecipeError(f"{file}: expected a file in the recipes folder, got a link out of it")
    return real


def _expect_regular(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a special file"
        raise RecipeError(f"{file}: expected a regular file, got {got}")


def _is_inside(file: Path, folder: Path) -> bool:
    try:
        real = file.resolve(strict=True)
        return real.is_relative_to(folder.resolve(strict=True)) and real.is_file()
    except (OSError, RuntimeError):
        return False
