"""`minid check`: ask the upstreams of recipes now, and say what was decided and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minid.cli.folder import add_json_option
from minid.cli.upstream import ask_or_do, print_decision
from minid.cli.words import print_json
from minid.daemon.requests import Check

if TYPE_CHECKING:
    from minid.line.workshop import Workshop
    from minid.upstream.tracker import Tracker

# A person should look: as systemctl says it of what does not run.
_ATTENTION = 3
_UNWELL = ("held", "suspect", "failed")


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid check`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes (default: all)")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0, or 3 where a page was not believed or not reached, or a release waits for a person."""
    names = tuple(arguments.names)

    async def work(tracker: Tracker, shop: Workshop) -> list[dict[str, Any]]:
        decisions = await tracker.check(names or tuple(shop.recipes), unblock=bool(names))
        return [decision.as_json() for decision in decisions]

    answers = ask_or_do(arguments, Check(names), work)
    if arguments.json:
        print_json(answers)
    else:
        for answer in answers:
            print_decision(answer)
    return _ATTENTION if any(answer["decision"] in _UNWELL for answer in answers) else 0
