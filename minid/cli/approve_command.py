"""`minid approve`: take a release that waits for a person, or was refused."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minid.cli.folder import add_json_option
from minid.cli.upstream import ask_or_do, print_decision
from minid.cli.words import print_json
from minid.daemon.requests import Approve

if TYPE_CHECKING:
    from minid.line.workshop import Workshop
    from minid.upstream.tracker import Tracker


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid approve`."""
    parser.add_argument("name", metavar="NAME", help="the recipe")
    parser.add_argument("version", metavar="VERSION", help="the release")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the word was taken."""
    name, version = arguments.name, arguments.version

    async def work(tracker: Tracker, _shop: Workshop) -> list[dict[str, Any]]:
        return [(await tracker.approve(name, version)).as_json()]

    (answer,) = ask_or_do(arguments, Approve(name, version), work)
    if arguments.json:
        print_json(answer)
    else:
        print_decision(answer)
    return 0
