"""`minid logs`: the log of a run."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import open_records
from minid.cli.words import print_json, printable
from minid.errors import UsageError
from minid.host.logfile import iterate_lines
from minid.store.records import Records, RunRow

_POLL_S = 0.2


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid logs`."""
    parser.add_argument("name", metavar="NAME", help="a recipe, or the number of a run")
    parser.add_argument("-f", "--follow", action="store_true", help="go on while the run does")
    parser.add_argument("-n", "--lines", type=int, metavar="N", help="only the last N lines")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the log with control characters escaped: it is a program's output."""
    records = open_records(load_folder_config(arguments))
    run = _find_run(records, arguments.name)
    path = Path(run.log)
    if not path.is_file():
        raise UsageError(f"run {run.id}: expected its log at {path}, got nothing")
    if arguments.json:
        lines = list(iterate_lines(path))[-(arguments.lines or 0) :]
        print_json({"run": run.id, "status": run.status, "log": run.log, "lines": lines})
        return 0
    if arguments.follow:
        _follow(path, records, run.id)
        return 0
    lines = list(iterate_lines(path))
    for line in lines[-arguments.lines :] if arguments.lines else lines:
        print(printable(line))
    return 0


def _find_run(records: Records, name: str) -> RunRow:
    if name.isdigit():
        run = records.run(int(name))
        if run is None:
            raise UsageError(f"expected the number of a run, got {name}")
        return run
    # A run that found nothing to do has no log; the one before it is what people look for.
    run = next((row for row in records.runs(name) if row.log), None)
    if run is None:
        raise UsageError(f"expected a recipe that was built, got {name!r}")
    return run


def _follow(path: Path, records: Records, run_id: int) -> None:
    with path.open("rb") as file:
        partial = b""
        while True:
            # Asked before reading, so that what was written before the run's end is read too.
            run = records.run(run_id)
            while chunk := file.read(1 << 16):
                lines = (partial + chunk).split(b"\n")
                partial = lines.pop()
                for line in lines:
                    print(printable(line.decode("utf-8", "replace")), flush=True)
            if run is None or run.status != "running":
                return
            time.sleep(_POLL_S)
