"""`minid cancel`: end runs that wait or run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from minid.cli.daemon_client import Daemon, need_daemon
from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.words import print_json
from minid.daemon.requests import Cancel, Status
from minid.errors import UsageError


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid cancel`."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="the id of a run, or the recipe whose runs to end"
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when all of them are over."""
    daemon = need_daemon(load_folder_config(arguments))
    answers = []
    for run in dict.fromkeys(_runs(daemon, arguments.runs)):
        answer = daemon.ask_once(Cancel(run))
        answers.append(answer)
        if not arguments.json:
            print(f"run {answer['run']} ({answer['recipe']}): cancelled, was {answer['was']}")
    if arguments.json:
        print_json(answers)
    return 0


def _runs(daemon: Daemon, words: list[str]) -> Iterator[int]:
    """The runs that the words mean; UsageError before anything is cancelled."""
    open_runs: list[dict[str, Any]] | None = None
    found: list[int] = []
    for word in words:
        if word.isascii() and word.isdigit():
            found.append(int(word))
            continue
        if open_runs is None:
            status = daemon.ask_once(Status())
            open_runs = [*status["running"], *status["queued"]]
        matches = [int(row["run"]) for row in open_runs if row["recipe"] == word]
        if not matches:
            raise UsageError(
                f"expected a run, or a recipe that waits or runs, got {word!r}",
                hint="`minid queue` lists them",
            )
        found += matches
    yield from found
