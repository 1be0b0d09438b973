"""`minid reload`: have the service read config.toml and the recipes again."""

from __future__ import annotations

import argparse

from minid.cli.daemon_client import need_daemon
from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.words import print_json
from minid.daemon.requests import Reload


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid reload`."""
    parser.add_argument(
        "--wait", action="store_true", help="until the recipes are read and planned, too"
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 once the service works with the configuration; where that is wrong, the status of its error
    and the old one stays in force."""
    daemon = need_daemon(load_folder_config(arguments))
    answers = daemon.ask(Reload(), patient=True)
    answer = next(answers, {})
    if arguments.wait:
        answer = [answer, *answers][-1]
    if arguments.json:
        print_json(answer)
    else:
        print(f"reloaded {answer.get('file') or 'the defaults'}")
    return 0
