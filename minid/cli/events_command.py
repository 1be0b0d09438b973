"""`minid events`: what happened, newest last, and with -f what happens."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import open_records
from minid.cli.words import clock_time, print_json, printable
from minid.store.events import EventRow, Events

_LOOK_S = 0.2


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid events`."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on while things happen")
    parser.add_argument(
        *("-n", "--lines"), type=int, default=50, metavar="N", help="the last N (default: 50)"
    )
    parser.add_argument("--recipe", metavar="NAME", help="of this recipe only")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """One line an event. Reads the records: no service is needed."""
    records = open_records(load_folder_config(arguments))
    events = Events(records.database)
    newest = events.newest(1)
    rows = events.newest(max(0, arguments.lines), arguments.recipe or "")
    if arguments.json and not arguments.follow:
        print_json([asdict(row) for row in rows])
        return 0
    for row in rows:
        _print(row, as_json=arguments.json)
    if arguments.follow:
        for row in _coming(events, newest[-1].id if newest else 0):
            if arguments.recipe in (None, row.recipe):
                _print(row, as_json=arguments.json)
    return 0


def _coming(events: Events, last: int) -> Iterator[EventRow]:
    while True:
        for row in events.after(last):
            last = row.id
            yield row
        time.sleep(_LOOK_S)


def _print(row: EventRow, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(row)), flush=True)
        return
    run = f" (run {row.run})" if row.run is not None else ""
    about = f"{row.recipe}: " if row.recipe else ""
    line = f"{clock_time(row.time, time.time())}  {row.kind:<11}  {about}{row.text}{run}"
    print(printable(line), flush=True)
