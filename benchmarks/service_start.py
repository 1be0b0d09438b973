"""How soon the service starts the run of a recipe that is copied into its folder.

    python benchmarks/service_start.py FOLDER [--recipes 1000] [--copies 20] [--json]

FOLDER becomes a working folder and is kept. With --recipes so many others lie there that are built
already. Each copy is of the project's nginx under a new name; the time is from before the copy to
when the run's row says `running`, as any reader of the records sees it. The run is cancelled then.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sqlite3
import time
from pathlib import Path

from common import REPOSITORY, describe_machine, show
from folder import make_recipes
from service_common import record_in_own_process, service, wait_until

from minid.cli.daemon_client import Daemon
from minid.daemon.requests import Cancel, Pause, Resume


def measure(folder: Path, recipes: int, copies: int) -> list[float]:
    """Seconds of each copy."""
    make_recipes(folder, recipes)
    with (folder / "config.toml").open("a") as file:
        file.write("\n[track]\nenabled = false\n")
    if recipes:
        record_in_own_process(folder)
    source = folder / "source.toml"
    stamp = time.monotonic_ns()  # what was cancelled once is not started again
    text = (REPOSITORY / "recipes" / "nginx.toml").read_text()
    text = text.replace("[rootfs]\n", '[rootfs]\nbase = "scratch"\n')
    text = re.sub(r"^packages = .*\n", "", text, flags=re.MULTILINE)
    with service(folder) as daemon:
        asked = Daemon(folder / "var" / "minid.sock")
        asked.ask_once(Pause())
        seconds = []
        for number in range(copies):
            name = f"copied{number}-{stamp}"
            source.write_text(text.replace("nginx", name))
            asked.ask_once(Resume())
            time.sleep(1.5)  # after a quiet time, as when a person copies
            seconds.append(_copy(source, folder / "recipes" / f"{name}.toml", folder))
            asked.ask_once(Pause())
            row = _running(folder, name)
            assert row is not None
            asked.ask_once(Cancel(row))
            (folder / "recipes" / f"{name}.toml").unlink()
        assert daemon.process.poll() is None
    return seconds


def _copy(source: Path, target: Path, folder: Path) -> float:
    began = time.perf_counter()
    shutil.copyfile(source, target)
    wait_until(lambda: _running(folder, target.stem), 10, every_s=0.001)
    return time.perf_counter() - began


def _running(folder: Path, name: str) -> int | None:
    with sqlite3.connect(f"file:{folder}/var/records.sqlite?mode=ro", uri=True) as connection:
        row = connection.execute(
            "SELECT id FROM runs WHERE recipe = ? AND status = 'running'", (name,)
        ).fetchone()
    return int(row[0]) if row else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", type=int, default=0)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = describe_machine()
    seconds = measure(options.folder.resolve(), options.recipes, options.copies)
    row = f"copied → running, beside {options.recipes} recipes"
    show(machine, {row: seconds}, as_json=options.json)


if __name__ == "__main__":
    main()
