"""`minid rebuild --check`: build again from the same inputs, and say what is not the same."""

from __future__ import annotations

import argparse
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

from minid.cli.build_command import stop_on_signals
from minid.cli.folder import (
    Folder,
    add_json_option,
    assess_folder,
    load_folder,
    need_recipes,
)
from minid.cli.store_reader import open_records
from minid.cli.words import format_size, print_json, printable
from minid.errors import BuildError, UsageError
from minid.line.workshop import Workshop, open_guest, open_workshop

if TYPE_CHECKING:
    from minid.cli.progress import Progress
    from minid.line.planning import Standing
    from minid.steps.plan import Plan
    from minid.workbench.rebuild_check import Comparison


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid rebuild`."""
    parser.usage = "minid rebuild --check [-q|-v] [--json] NAME"
    parser.add_argument("name", metavar="NAME", help="the recipe")
    parser.add_argument(
        "--check", action="store_true", help="compare with the image that is there, change nothing"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the build's output")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the image is the same, bit by bit; BuildError's status when it is not."""
    from minid.cli.progress import make_reporter

    if not arguments.check:
        raise UsageError(
            "rebuild: expected --check", hint=f"to build anew: minid build --force {arguments.name}"
        )
    folder = load_folder(arguments)
    need_recipes(folder, [arguments.name])
    open_records(folder.config).close()
    reporter = make_reporter(quiet=arguments.quiet or arguments.json, verbose=arguments.verbose)
    cancel = threading.Event()
    with (
        open_guest(folder.config, folder.recipes, reporter=reporter, cancel=cancel) as shop,
        stop_on_signals(cancel),
    ):
        comparison = _rebuild(folder, arguments.name, shop, reporter)
    if arguments.json:
        print_json({"recipe": arguments.name, "equal": comparison.equal, **asdict(comparison)})
    else:
        _print(arguments.name, comparison)
    return 0 if comparison.equal else BuildError.exit_code


def _rebuild(folder: Folder, name: str, shop: Workshop, reporter: Progress) -> Comparison:
    from minid.cli.outcomes import outcome_json
    from minid.pipeline import build
    from minid.workbench.rebuild_check import compare, ground_of, scratch_place

    standings = assess_folder(folder, [name], shop.blobs, shop.records)
    standing = standings[name]
    plan = _need_result(standing, shop)
    with (
        scratch_place(shop, ground_of(name, standings)) as config,
        open_workshop(config, folder.recipes, reporter=reporter, cancel=shop.cancel) as scratch,
    ):
        place = Folder(config, folder.recipes, ())
        with reporter:
            outcomes = build(scratch, assess_folder(place, [name], scratch.blobs, scratch.records))
        if shop.cancel.is_set():
            raise KeyboardInterrupt
        failed = next((item for item in outcomes.values() if item.error is not None), None)
        if failed is not None and failed.error is not None:
            raise BuildError(
                f"{outcome_json(failed)['recipe']}: expected to be built again, got: "
                f"{failed.error.message}",
                hint=failed.error.hint,
                log_tail=failed.error.log_tail,
            )
        return compare(shop, scratch, plan)


def _need_result(standing: Standing, shop: Workshop) -> Plan:
    """The plan, of which the store must have what it gave."""
    plan, name = standing.plan, standing.recipe.name
    if plan is None or shop.records.result(plan.image or plan.compile) is None:
        raise UsageError(
            f"{name}: expected a recipe that was built as it is now, got one that has changed",
            hint=f"minid build {name}",
        )
    return plan


def _print(name: str, comparison: Comparison) -> None:
    difference = comparison.difference
    if comparison.equal:
        print(printable(f"{name}: the same, bit by bit: {comparison.now}"))
    else:
        print(printable(f"{name}: not the same"))
        print(f"  before   {comparison.before}")
        print(f"  now      {comparison.now}")
    if difference is None:
        return
    if comparison.equal:
        print("  what was installed differs, in what is left out of the image:")
    where = f"/{difference.image_path}" if difference.stage != "config" else difference.image_path
    print(printable(f"  first in {difference.stage}: {where}: {difference.what}"))
    print(printable(f"    before {difference.before[:200]}{_size(difference.sizes[0])}"))
    print(printable(f"    now    {difference.now[:200]}{_size(difference.sizes[1])}"))
    if difference.offset >= 0:
        print(f"    from byte {difference.offset} on")


def _size(size: int) -> str:
    return f", {format_size(size)}" if size else ""
