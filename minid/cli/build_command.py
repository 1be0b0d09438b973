"""`minid build`: bring recipes and what they stand on up to date."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from minid.cli.daemon_client import find_daemon
from minid.cli.folder import (
    add_json_option,
    assess_folder,
    load_folder,
    load_folder_config,
    need_recipes,
)
from minid.cli.outcomes import exit_status, outcome_json, print_outcomes
from minid.cli.words import print_json
from minid.errors import NoDaemonError
from minid.line.outcome import keep_unchanged
from minid.line.workshop import open_workshop


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid build`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes (default: all)")
    parser.add_argument("-f", "--force", action="store_true", help="run every stage of NAME again")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the build's output")
    parser.add_argument("--next", action="store_true", help="before all others that wait")
    parser.add_argument(
        *("-d", "--detach"),
        action="store_true",
        help="queue, print the ids of the runs, and do not wait for their end",
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when every recipe is up to date; else the exit code of the first that failed."""
    config = load_folder_config(arguments)
    daemon = find_daemon(config)
    if daemon is not None:
        from minid.cli.build_remote import build_through

        return build_through(daemon, config, arguments)
    if arguments.detach:
        raise NoDaemonError(
            "build --detach: no daemon is running", hint="without --detach it is built here and now"
        )
    return _build_here(arguments)


def _build_here(arguments: argparse.Namespace) -> int:
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

            with stop_on_signals(cancel), reporter:
                outcomes = build(shop, standings, forced=forced)
    told = [outcome_json(outcome) for outcome in outcomes.values()]
    if arguments.json:
        print_json(told)
    else:
        print_outcomes(told, names)
    return 130 if cancel.is_set() else exit_status(told)


@contextmanager
def stop_on_signals(cancel: threading.Event) -> Iterator[None]:
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
