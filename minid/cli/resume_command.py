"""`minid resume`: start runs again after `minid pause` or `minid drain`."""

from __future__ import annotations

import argparse

from minid.cli.daemon_client import need_daemon
from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.words import print_json
from minid.daemon.requests import Resume


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid resume`."""
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 once runs may start."""
    answer = need_daemon(load_folder_config(arguments)).ask_once(Resume())
    if arguments.json:
        print_json(answer)
    else:
        print("resumed")
    return 0
