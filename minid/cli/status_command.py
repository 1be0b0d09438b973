"""`minid status`: each recipe at a glance, what runs and waits, and what needs a person."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minid.cli.folder import add_json_option, load_folder, load_folder_config
from minid.cli.status_facts import gather_status, status_code
from minid.cli.status_view import status_lines
from minid.cli.words import print_json
from minid.errors import MinidError

_REDRAW_S = 1.0
Facts = dict[str, Any]


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid status`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes (default: all)")
    parser.add_argument(
        *("-w", "--watch"),
        action="store_true",
        help="keep it on the screen; in a pipe, print it at each change",
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0, or 3 when a recipe's last run failed, as systemctl does for what is not running."""
    config = load_folder_config(arguments)

    def gather() -> Facts:
        return gather_status(config, arguments.names, lambda: load_folder(arguments))

    if not arguments.watch:
        facts = gather()
        if arguments.json:
            print_json(facts)
        else:
            print("\n".join(_lines(facts)))
        return status_code(facts)
    if sys.stdout.isatty() and not arguments.json:
        return _watch_screen(gather)
    return _watch_changes(gather, as_json=arguments.json)


def _lines(facts: Facts, *, work_first: bool = False) -> list[str]:
    width = shutil.get_terminal_size().columns
    return status_lines(facts, width, time.time(), work_first=work_first)


def _watch_screen(gather: Callable[[], Facts]) -> int:
    """Redraw until an interrupt; the status is that of what was seen last."""
    facts = gather()  # what is wrong with the question shows before the screen is taken
    with _screen():
        try:
            while True:
                begin = time.monotonic()
                try:
                    facts = gather()
                    lines = _lines(facts, work_first=True)
                except MinidError as error:
                    lines = [f"minid: {error.message}"]
                _draw(lines)
                # Where it takes long, as without a service, it is done less often.
                time.sleep(max(_REDRAW_S, 4 * (time.monotonic() - begin)))
        except KeyboardInterrupt:
            pass
    return status_code(facts)


def _draw(lines: list[str]) -> None:
    height = shutil.get_terminal_size().lines
    if len(lines) > height:
        left = len(lines) - height + 1
        lines = [*lines[: height - 1], f"… {left} lines more: minid status"]
    sys.stdout.write("\x1b[H" + "\x1b[K\n".join(lines) + "\x1b[K\x1b[J")
    sys.stdout.flush()


@contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen, without a cursor; SIGTERM ends it like an interrupt."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    sys.stdout.write("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, before)


def _watch_changes(gather: Callable[[], Facts], *, as_json: bool) -> int:
    """Print at each change of a state, not of mere progress."""
    seen: object = None
    while True:
        facts = gather()
        state = _state_of(facts)
        if state != seen:
            if as_json:
                print(json.dumps(facts, default=str), flush=True)
            else:
                print("\n".join([*_lines(facts), "---"]), flush=True)
        seen = state
        time.sleep(_REDRAW_S)


def _state_of(facts: Facts) -> object:
    """What of the facts is not different each second."""
    recipes = [{**row, "last_run": (row["run"] or {}).get("id")} for row in facts["recipes"]]
    running = [(row["run"], row.get("stage")) for row in facts["running"]]
    daemon = {**(facts["daemon"] or {}), "upstreams": None}
    waits = [(row["run"], row["waits"]) for row in facts["queued"]]
    return json.dumps([recipes, running, daemon, waits, facts["broken"]], default=str)
