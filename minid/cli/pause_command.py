"""`minid pause`: start no run until `minid resume`."""

from __future__ import annotations

import argparse

from minid.cli.daemon_client import need_daemon
from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.words import print_json
from minid.daemon.requests import Pause


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid pause`."""
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 once no run starts any more; those that run go on."""
    answer = need_daemon(load_folder_config(arguments)).ask_once(Pause())
    if arguments.json:
        print_json(answer)
    else:
        print("paused: no run starts until `minid resume`, also after a restart")
    return 0
