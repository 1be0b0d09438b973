"""`minid queue`: the runs that are under way and those that wait, and for what."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from typing import Any

from minid.cli.daemon_client import find_daemon
from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.words import fit_table, format_size, print_json
from minid.config import Config
from minid.daemon.requests import Status


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid queue`."""
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """One line a run, in the order in which they start."""
    config = load_folder_config(arguments)
    daemon = find_daemon(config, wait=False)
    answer = daemon.ask_once(Status()) if daemon else recorded_queue(config)
    running, queued = answer["running"], answer["queued"]
    if arguments.json:
        paused = answer.get("paused", "")
        facts = {"daemon": daemon is not None, "paused": paused, "running": running}
        print_json(facts | {"queued": queued})
        return 0
    rows = [(*_head(row), "running", progress_text(row, time.time())) for row in running]
    rows += [(*_head(row), "queued", str(row["waits"])) for row in queued]
    header = ("ID", "RECIPE", "REASON", "STATE", "PROGRESS OR WHY IT WAITS")
    for line in fit_table(header, rows, shutil.get_terminal_size().columns):
        print(line)
    return 0


def _head(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(row["run"]), str(row["recipe"]), str(row.get("reason", ""))


def recorded_queue(config: Config) -> dict[str, Any]:
    """What waits according to the records, where no service runs that could say more."""
    if not config.paths.records.is_file():
        return {"running": [], "queued": []}
    from minid.store.queue import Queue
    from minid.store.records import Records

    records = Records(config.paths.records, writable=False)
    try:
        rows = Queue(records.database).queued()
        running = Queue(records.database).running()
    finally:
        records.close()
    queued = [
        {
            "run": row.id,
            "recipe": row.recipe,
            "version": row.version,
            "reason": row.reason,
            "waits": "no daemon is running",
            "priority": row.priority,
            "queued": row.queued,
        }
        for row in rows
    ]
    under_way = [
        {
            "run": row.id,
            "recipe": row.recipe,
            "version": row.version,
            "reason": row.reason,
            "stage": "",
            "line": "",
            "started": row.started,
            "expected_end": None,
            "fetched": None,
        }
        for row in running
    ]
    return {"running": under_way, "queued": queued}


def progress_text(row: Mapping[str, Any], now: float) -> str:
    """`compile 12 s, about 40 s left: CC main.o`."""
    text = f"{row.get('stage') or 'started'} {_whole(now - float(row['started']))}"
    end = row.get("expected_end")
    if end is not None:
        left = float(end) - now
        text += f", about {_whole(left)} left" if left >= 0.5 else ", longer than last time"
    line = _fetched_text(row) or str(row.get("line") or "")
    return f"{text}: {line}" if line else text


def _fetched_text(row: Mapping[str, Any]) -> str:
    """How far a download is: `fetched` is `[file, done, total]`, the total null if unknown."""
    fetched = row.get("fetched")
    if row.get("stage") != "fetch" or not isinstance(fetched, list) or len(fetched) != 3:
        return ""
    name, done, total = fetched
    return f"{name}: {format_size(done)}" + (f" of {format_size(total)}" if total else "")


def _whole(value: float) -> str:
    value = max(0, round(value))
    return f"{value} s" if value < 120 else f"{value // 60} min"
