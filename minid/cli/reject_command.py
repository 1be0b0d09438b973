"""`minid reject`: never take a release."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from minid.cli.upstream import add_release_arguments, say_of_release
from minid.daemon.requests import Reject

if TYPE_CHECKING:
    from minid.upstream.tracker import Tracker
    from minid.upstream.tracking import Decision


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid reject`."""
    add_release_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the word was taken."""
    name, version = arguments.name, arguments.version

    async def say(tracker: Tracker) -> Decision:
        return tracker.reject(name, version)

    return say_of_release(arguments, Reject(name, version), say)
