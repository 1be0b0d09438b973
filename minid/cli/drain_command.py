"""`minid drain`: start no run any more and wait until none runs, as before an upgrade."""

from __future__ import annotations

import argparse
import sys

from minid.cli.daemon_client import need_daemon
from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.words import print_json
from minid.daemon.requests import Drain


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid drain`."""
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for the runs that are under way"
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 once nothing runs, or with --no-wait once nothing starts."""
    daemon = need_daemon(load_folder_config(arguments))
    last: dict[str, object] = {}
    for last in daemon.ask(Drain(wait=not arguments.no_wait), patient=True):
        if last.get("running") and not arguments.json:
            print(f"minid: running: {last['running']}", file=sys.stderr)
    if arguments.json:
        print_json(last)
    else:
        print("drained: no run starts until `minid resume`, also after a restart")
    return 0
