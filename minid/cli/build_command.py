"""`minid build`: bring recipes and what they stand on up to date."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from minid.cli.folder import add_json_option, assess_folder, load_folder, need_recipes
from minid.cli.main import error_json, report_error
from minid.cli.words import format_size, print_json, printable, seconds
from minid.line.outcome import Outcome, keep_unchanged
from minid.line.workshop import open_workshop


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid build`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes (default: all)")
    parser.add_argument("-f", "--force", action="store_true", help="run every stage of NAME again")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the build's output")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when every recipe is up to date; else the exit code of the first that failed."""
    from minid.cli.progress import make_reporter

    folder = load_folder(arguments)
    names = need_recipes(folder, arguments.names)
    reporter = make_reporter(quiet=arguments.quiet or arguments.json, verbose=arguments.verbose)
    cancel = threading.Event()
    with open_workshop(folder.config, folder.recipes, reporter=reporter, cancel=cancel) as shop:
        standings = assess_folder(folder, names, shop.blobs, shop.records)
        forced = names if arguments.force else []
        if not forced and all(standing.current for standing in standings.values()):
            outcomes = {
                name: keep_unchanged(standing, shop.records, shop.clock)
                for name, standing in standings.items()
            }
        else:
            from minid.pipeline import build

            with _stop_on_signals(cancel), reporter:
                outcomes = build(shop, standings, forced=forced)
    if arguments.json:
        print_json([outcome_json(outcome) for outcome in outcomes.values()])
    else:
        _print_outcomes(outcomes, names)
    failed = [outcome for outcome in outcomes.values() if outcome.error]
    if cancel.is_set():
        return 130
    # The root cause comes first: what was skipped stands on something that failed.
    failed.sort(key=lambda outcome: outcome.status == "skipped")
    return failed[0].error.exit_code if failed and failed[0].error else 0


@contextmanager
def _stop_on_signals(cancel: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the builds within seconds; a second one ends minid at once."""

    def stop(_number: int, _frame: object) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """An outcome as JSON values."""
    made = outcome.made
    image = made.image if made else None
    value: dict[str, object] = {
        "recipe": outcome.recipe,
        "version": outcome.version,
        "status": outcome.status,
        "changes": list(outcome.changes),
        "seconds": round(outcome.seconds, 3),
        "stages": {name: round(took, 3) for name, took in (outcome.stages or {}).items()},
        "log": outcome.log,
    }
    if image:
        value |= {
            "manifest": str(image.manifest),
            "config": str(image.config),
            "tags": list(image.tags),
            "sizes": {
                "unpacked": image.sizes.unpacked,
                "layers": image.sizes.layers,
                "archive": image.sizes.archive,
            },
        }
    if made and made.published:
        value |= {"moved": list(made.published.moved), "notes": list(made.published.notes)}
    if outcome.error:
        value["error"] = error_json(outcome.error)
    return value


def _print_outcomes(outcomes: Mapping[str, Outcome], names: list[str]) -> None:
    for name, outcome in outcomes.items():
        if outcome.error:
            report_error(outcome.error, as_json=False)
            if outcome.log:
                print(f"  log: {outcome.log}", file=sys.stderr)
        elif outcome.status == "unchanged":
            if name in names:
                _print_unchanged(outcome)
        else:
            _print_built(outcome)


def _print_unchanged(outcome: Outcome) -> None:
    print(f"{outcome.recipe} {outcome.version}: nothing has changed")
    if outcome.made and outcome.made.image:
        _print_image(outcome)


def _print_built(outcome: Outcome) -> None:
    stages = ", ".join(
        f"{name} {took:.1f}" for name, took in (outcome.stages or {}).items() if took >= 0.05
    )
    print(
        f"{outcome.recipe} {outcome.version}: built in {seconds(outcome.seconds)}"
        + (f" ({stages})" if stages else "")
    )
    made = outcome.made
    if made is None or made.image is None:
        return
    _print_image(outcome)
    if made.report:
        for result in made.report.results:
            print(f"  check    {printable(result.name)}: passed in {seconds(result.seconds)}")
    for line in made.published.moved if made.published else ():
        print(f"  tagged   {line}")


def _print_image(outcome: Outcome) -> None:
    image = outcome.made.image if outcome.made else None
    if image is None:
        return
    sizes = image.sizes
    print(f"  image    {image.manifest}")
    print(
        f"  size     {format_size(sizes.unpacked)} unpacked, {format_size(sizes.layers)} layers, "
        f"{format_size(sizes.archive)} archive"
    )
