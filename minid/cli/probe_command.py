"""`minid probe`: run an image's program, say what it missed, and write that into its recipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minid.cli.folder import (
    add_json_option,
    assess_folder,
    load_folder,
    need_recipes,
    sound_recipes,
)
from minid.cli.store_reader import find_image, open_records
from minid.cli.trailing_words import take_command
from minid.cli.words import print_json, printable
from minid.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from minid.cli.folder import Folder
    from minid.line.workshop import Workshop
    from minid.recipe import Recipe
    from minid.workbench.probe_subject import Subject
    from minid.workbench.probing import Report

_MAX_BUILDS = 5
_SECONDS = 10.0


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid probe`."""
    parser.usage = "minid probe [NAME] [--run ID] [options] [-- COMMAND...]"
    parser.add_argument("name", nargs="?", metavar="NAME", help="a tag, a recipe, or a digest")
    parser.add_argument("--run", type=int, metavar="ID", help="the root that this run had composed")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="N",
        help="watch for that long (default: until nothing new comes, at most 10)",
    )
    parser.add_argument(
        "--all", action="store_true", help="also what the program does well without"
    )
    parser.add_argument(
        "--apply", action="store_true", help="write the lines into the recipe, build, look again"
    )
    add_json_option(parser)
    take_command(parser)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:  # not so for nan either
        raise argparse.ArgumentTypeError(f"expected seconds up to 3600, got {text!r}")
    return value


def execute(arguments: argparse.Namespace) -> int:
    """0 when nothing is missing, 1 when something is; with --apply the status of the build."""
    if arguments.name is None and arguments.run is None:
        raise UsageError("probe: expected NAME or --run ID, got neither")
    if arguments.apply:
        return _apply(arguments)
    from minid.cli.probe_view import report_json, went_wrong

    folder = load_folder(arguments)
    with _watched(arguments, folder, arguments.run) as (subject, report):
        facts = report_json(subject, report)
    if arguments.json:
        print_json(facts)
    else:
        _show(arguments, folder, subject, report)
    return 1 if report.missing or went_wrong(report) else 0


@contextmanager
def _watched(
    arguments: argparse.Namespace, folder: Folder, run: int | None
) -> Iterator[tuple[Subject, Report]]:
    """Probe what the command line names."""
    from minid.line.workshop import open_guest
    from minid.store.contents import read_content
    from minid.workbench.probe_subject import command_of, knocks_of, programs_of
    from minid.workbench.probing import Place, Request, probe

    open_records(folder.config).close()
    with open_guest(folder.config, folder.recipes) as shop, _subject(
        arguments, folder, shop, run
    ) as subject:  # fmt: skip
        recipe = folder.recipes.get(subject.recipe)
        words = tuple(arguments.words)
        request = Request(
            argv=words or command_of(subject, recipe),
            seconds=arguments.seconds or _SECONDS,
            whole=arguments.seconds is not None,
            knocks=() if words else knocks_of(subject, recipe),
            programs=() if words else programs_of(recipe),
        )
        if not request.argv:
            raise UsageError(
                f"{subject.name}: expected a command to run, got an image that has none",
                hint=f"minid probe {subject.name} -- COMMAND",
            )
        place = Place(
            shop.config.paths.layers, shop.jobs_folder, read_content(shop.blobs), shop.cancel
        )

        def progress(text: str) -> None:
            if sys.stderr.isatty():
                print(printable(f"{subject.name}: {text}"), file=sys.stderr)

        if _is_stale(folder, subject, shop):
            print(
                printable(f"minid: {subject.name}: this is a root of before the recipe changed"),
                f"  hint: minid build {subject.recipe}",
                sep="\n",
                file=sys.stderr,
            )
        yield subject, probe(subject, request, place, progress=progress)


@contextmanager
def _subject(
    arguments: argparse.Namespace, folder: Folder, shop: Workshop, run: int | None
) -> Iterator[Subject]:
    from minid.workbench.probe_subject import failed_run, image_subject, run_subject

    name = arguments.name or ""
    number = run
    if number is None and name in sound_recipes(folder):
        # Of a recipe that is up to date, an older failure is of no interest.
        current = assess_folder(folder, [name], shop.blobs, shop.records)[name].current
        number = None if current else failed_run(shop.records, name) or None
    if number is not None:
        with run_subject(number, name, shop) as subject:
            yield subject
        return
    yield image_subject(name, find_image(shop.records, name), shop.blobs)


def _is_stale(folder: Folder, subject: Subject, shop: Workshop) -> bool:
    """Whether the recipe that a root is asked for by would give another one now."""
    if subject.name != subject.recipe or subject.recipe not in sound_recipes(folder):
        return False
    standing = assess_folder(folder, [subject.recipe], shop.blobs, shop.records)[subject.recipe]
    if subject.run and standing.plan is not None:
        keys = {stage.name: stage.key for stage in shop.records.stages(subject.run)}
        return keys.get("image", standing.plan.image) != standing.plan.image or (
            keys.get("compose") != standing.plan.compose
        )
    return standing.tagged is None or str(standing.tagged.manifest) != subject.manifest


def _apply(arguments: argparse.Namespace) -> int:
    """Build, look, write; again until nothing is missing or nothing more can be done."""
    from minid.cli.probe_view import report_json, went_wrong

    looks: list[dict[str, object]] = []
    folder = load_folder(arguments)
    file = _need_recipe(arguments, folder).file
    before = good = file.read_bytes()
    status = 0
    for number in range(1, _MAX_BUILDS + 1):
        folder = load_folder(arguments)
        recipe = _need_recipe(arguments, folder)
        first_run = arguments.run if number == 1 else None
        if first_run is None:
            status = _build(arguments, recipe)
            if status and not _can_go_on(folder, recipe.name):
                _put_back(file, before=good)
                break
        good = file.read_bytes()
        with _watched(arguments, folder, first_run) as (subject, report):
            looks.append(report_json(subject, report))
        if not arguments.json:
            _show(arguments, folder, subject, report)
        if not report.lines or number == _MAX_BUILDS or not _write(recipe, report):
            status = status or (1 if report.missing or went_wrong(report) else 0)
            break
        if not arguments.json:
            print(printable(f"written to {file}; building"))
    if arguments.json:
        changed = file.read_bytes() != before
        print_json({"looks": looks, "file": str(file), "changed": changed, "build": status})
    return status


def _put_back(file: Path, before: bytes) -> None:
    """Undo the last writing, whose build came to no root."""
    from minid.host.files import write_file

    if file.read_bytes() != before:
        write_file(file.resolve(), before, mode=file.stat().st_mode & 0o777)
        print(printable(f"minid: {file}: as it was before"), file=sys.stderr)


def _need_recipe(arguments: argparse.Namespace, folder: Folder) -> Recipe:
    """The recipe of what the command line names."""
    name = arguments.name or ""
    if name not in folder.recipes:
        records = open_records(folder.config)
        try:
            run = records.run(arguments.run) if arguments.run is not None else None
            name = run.recipe if run else str(find_image(records, name)["recipe"])
        finally:
            records.close()
    if not name:
        raise UsageError(
            f"{arguments.name}: expected an image of a recipe, got one that came from elsewhere",
            hint="without --apply the lines are printed; `minid new` makes a recipe",
        )
    need_recipes(folder, [name])
    return folder.recipes[name]


def _write(recipe: Recipe, report: Report) -> bool:
    """Write the lines; False where the recipe has them all, and they did not help."""
    from minid.formats.recipe_lines import add_lines
    from minid.host.files import write_file
    from minid.recipe_reader import parse_recipe

    text = recipe.file.read_text(encoding="utf-8")
    after = add_lines(text, report.lines)
    if after == text:
        print(
            printable(f"minid: {recipe.file}: has these lines already"),
            "  hint: look at rootfs.remove and rootfs.commands",
            sep="\n",
            file=sys.stderr,
        )
        return False
    parse_recipe(after.encode(), recipe.file)  # what is written must be a recipe still
    write_file(recipe.file.resolve(), after.encode(), mode=recipe.file.stat().st_mode & 0o777)
    return True


def _build(arguments: argparse.Namespace, recipe: Recipe) -> int:
    from minid.cli.build_again import build_again
    from minid.cli.main import report_error
    from minid.errors import MinidError

    try:
        return build_again(arguments, recipe.name)
    except MinidError as error:
        report_error(error, as_json=False)
        return error.exit_code


def _can_go_on(folder: Folder, name: str) -> bool:
    """Whether the build came to a root that can be looked at again."""
    from minid.workbench.probe_subject import failed_run

    records = open_records(folder.config)
    try:
        return failed_run(records, name) > 0
    finally:
        records.close()


def _show(arguments: argparse.Namespace, folder: Folder, subject: Subject, report: Report) -> None:
    from minid.cli.probe_view import print_report

    found = folder.recipes.get(subject.recipe)
    recipe = found.file.name if found else ""
    print_report(subject, report, recipe=recipe, everything=arguments.all)
