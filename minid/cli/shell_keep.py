"""`minid shell --keep`: show what the recipe would get, write it, build, and compare."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping

from minid.cli.build_again import build_again
from minid.cli.folder import load_folder, need_recipes
from minid.cli.store_reader import find_image, open_records
from minid.cli.words import print_json, printable
from minid.errors import UsageError
from minid.formats.changes import Change
from minid.formats.digest import Digest
from minid.formats.tree import parse_tree
from minid.recipe import Recipe
from minid.store.blobs import Blobs
from minid.store.contents import read_content
from minid.store.records import Records
from minid.workbench.shell_bench import Bench, discard, look, open_bench
from minid.workbench.shell_keep import (
    Kept,
    differing,
    find_ground,
    plan_keep,
    read_changed,
    write_kept,
)


def keep_bench(arguments: argparse.Namespace, bench: Bench, records: Records, blobs: Blobs) -> int:
    """0 when the recipe gives what the workbench has, which is discarded then; else the build's
    status, with the recipe as it was."""
    recipe = _need_recipe(arguments, bench)
    tree = bench.tree()
    ground = find_ground(bench.source, recipe, records, blobs)
    with open_bench(bench, blobs) as container:
        changes = look(container, tree)
        data = read_changed(container, changes)
    if not changes:
        discard(bench, blobs)
        _tell(arguments, {"kept": [], "recipe": recipe.name}, "nothing was changed: discarded")
        return 0
    kept = plan_keep(changes, data, recipe, ground, tree=tree, blobs=blobs)
    if not arguments.json:
        print_diff(kept)
    asks = not arguments.yes and not arguments.json and sys.stdin.isatty()
    if asks and not _agreed(recipe):
        print("nothing was written")
        return 1
    undo = write_kept(kept)
    try:
        status = build_again(arguments, recipe.name)
    except BaseException:
        undo()
        raise
    if status:
        undo()
        print(printable(f"minid: {kept.file}: as it was before; the workbench stays"),
              file=sys.stderr)  # fmt: skip
        if arguments.json:
            print_json({"recipe": recipe.name, "kept": [], "build": status})
        return status
    return _finish(arguments, bench, changes, data, kept)


def _need_recipe(arguments: argparse.Namespace, bench: Bench) -> Recipe:
    name = bench.source.recipe
    if not name:
        raise UsageError(
            f"{bench.source.name}: expected an image of a recipe, got one that came from elsewhere",
            hint="--status lists the changes; write a recipe with `minid new`",
        )
    folder = load_folder(arguments)
    need_recipes(folder, [name])
    return folder.recipes[name]


def print_diff(kept: Kept) -> None:
    """What would be written, as a unified diff, and the files that come with it."""
    name = kept.file.name
    lines = difflib.unified_diff(
        kept.before.splitlines(), kept.after.splitlines(), f"a/{name}", f"b/{name}", lineterm=""
    )
    for line in lines:
        print(printable(line))
    for file, data in kept.files.items():
        print(printable(f"+ {kept.folder.name}/{file}: {len(data)} bytes"))
    for path, why in kept.left_out.items():
        print(printable(f"left out: /{path}: {why}"))


def _agreed(recipe: Recipe) -> bool:
    print(printable(f"write this to {recipe.file.name} and build? [y/N] "), end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _finish(
    arguments: argparse.Namespace,
    bench: Bench,
    changes: tuple[Change, ...],
    data: Mapping[str, bytes],
    kept: Kept,
) -> int:
    """Compare what was built with the workbench, and discard it where they agree."""
    from minid.cli.folder import load_folder_config
    from minid.cli.store_reader import open_blobs

    config = load_folder_config(arguments)
    blobs = open_blobs(config)
    image = find_image(open_records(config), bench.source.recipe)
    tree = parse_tree(blobs.read(Digest.parse(str(image["tree"]))))
    expected = kept.expected(changes)
    wrong = differing(tree, expected, data, read_content(blobs), kept.left_out)
    facts: dict[str, object] = {
        "recipe": bench.source.recipe,
        "manifest": image["manifest"],
        "kept": [f"/{change.image_path}" for change in expected],
        "files": sorted(kept.files),
        "left_out": {f"/{path}": why for path, why in kept.left_out.items()},
        "differing": {f"/{path}": why for path, why in sorted(wrong.items())},
    }
    if wrong:
        told = [f"/{path}: {why}" for path, why in sorted(wrong.items())]
        _tell(arguments, facts, "built, but other than the workbench, which stays:\n"
              + "\n".join(told))  # fmt: skip
        return 1
    with open_bench(bench, blobs) as container:
        later = look(container, bench.tree()) != changes
    if later:
        _tell(arguments, facts, f"{len(expected)} changes kept; the workbench stays: it changed "
              "meanwhile")  # fmt: skip
        return 0
    discard(bench, blobs)
    _tell(arguments, facts, f"{bench.source.recipe}: {len(expected)} changes kept")
    return 0


def _tell(arguments: argparse.Namespace, facts: Mapping[str, object], text: str) -> None:
    if arguments.json:
        print_json(facts)
        return
    for line in text.splitlines():
        print(printable(line))
