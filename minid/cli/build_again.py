"""A build that another command asks for, after it has changed a recipe."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from minid.cli import build_command
from minid.cli.daemon_client import find_daemon
from minid.cli.folder import load_folder_config


def build_again(arguments: argparse.Namespace, name: str) -> int:
    """`minid build NAME`, through the service where one runs, which reads the recipes first; the
    status. What it tells goes to standard error where standard output is JSON."""
    from minid.daemon.requests import Reload

    daemon = find_daemon(load_folder_config(arguments))
    if daemon is not None:
        for _ in daemon.ask(Reload(), patient=True):
            pass  # the last answer says that the recipes are read
    parser = argparse.ArgumentParser()
    build_command.configure_parser(parser)
    given = parser.parse_args([name, *(["--quiet"] if arguments.json else [])])
    given.config = arguments.config
    with redirect_stdout(sys.stderr if arguments.json else sys.stdout):
        return build_command.execute(given)
