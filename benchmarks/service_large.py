"""The service with thousands of recipes: its start, its memory, and an edit of one of them.

    python benchmarks/service_large.py FOLDER [--recipes 10000] [--waiting] [--edits 20] [--json]

FOLDER becomes a working folder and is kept: each kind needs one of its own. All recipes are built,
by the records; with --waiting none is, and all wait in a queue that is paused. An edit's time is
from before it is written to when its run's row says so, as any reader of the records sees it.
Processor time and memory are of the service's process alone.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import time
from pathlib import Path

from common import describe_machine, show_figures
from folder import make_recipes
from service_common import record_in_own_process, service, wait_until

from minid.store.queue import Queue
from minid.store.records import Records


def prepare(folder: Path, recipes: int, *, waiting: bool) -> None:
    """The folder, with a queue that is paused."""
    make_recipes(folder, recipes)
    with (folder / "config.toml").open("a") as file:
        file.write("\n[track]\nenabled = false\n")
    if not waiting:
        record_in_own_process(folder)
    (folder / "var").mkdir(exist_ok=True)
    records = Records(folder / "var" / "records.sqlite", writable=True)
    Queue(records.database).set_setting("queue.mode", "paused")
    records.close()


def measure(folder: Path, recipes: int, edits: int) -> dict[str, float]:
    """Seconds and megabytes."""
    with service(folder) as daemon:
        found = {
            "start to READY s": daemon.ready_s,
            "of it processor s": daemon.processor_s(),
            "rss at READY MB": daemon.megabytes(),
        }
        time.sleep(5)
        seconds = sorted(_edit(folder, f"r{recipes - 1 - n:05}") for n in range(edits))
        found |= {
            "one edited, median s": statistics.median(seconds),
            "one edited, most s": seconds[-1],
            "rss MB": daemon.megabytes(),
            "peak MB": daemon.megabytes("VmHWM"),
            "waiting": _count(folder),
        }
    with service(folder) as daemon:
        found |= {"again, to READY s": daemon.ready_s, "again, rss MB": daemon.megabytes()}
    return found


def _edit(folder: Path, name: str) -> float:
    file = folder / "recipes" / f"{name}.toml"
    text = file.read_text()
    before = _key(folder, name)
    time.sleep(0.5)
    began = time.perf_counter()
    file.write_text(text.replace("\n[image]\n", f'\n[image]\nworkdir = "/srv{time.time_ns()}"\n'))
    wait_until(lambda: _key(folder, name) != before, 30, every_s=0.001)
    seconds = time.perf_counter() - began
    file.write_text(text)
    time.sleep(0.5)
    return seconds


def _key(folder: Path, name: str) -> str:
    return _ask(folder, "SELECT max(key) FROM runs WHERE recipe = ? AND status = 'queued'", name)


def _count(folder: Path) -> int:
    return int(_ask(folder, "SELECT count(*) FROM runs WHERE status = 'queued'"))


def _ask(folder: Path, sql: str, *values: str) -> str:
    with sqlite3.connect(f"file:{folder}/var/records.sqlite?mode=ro", uri=True) as connection:
        return str(connection.execute(sql, values).fetchone()[0])


def main() -> None:
    """Make the folder, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", type=int, default=10_000)
    parser.add_argument("--edits", type=int, default=20)
    parser.add_argument("--waiting", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = describe_machine()
    folder = options.folder.resolve()
    prepare(folder, options.recipes, waiting=options.waiting)
    found = measure(folder, options.recipes, options.edits)
    show_figures(machine, found, as_json=options.json)


if __name__ == "__main__":
    main()
