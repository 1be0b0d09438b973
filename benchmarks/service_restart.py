"""How soon the service is back after it was killed in the middle of builds, with a large store.

    python benchmarks/service_restart.py FOLDER [--recipes 1000] [--restarts 5] [--json]

FOLDER becomes a working folder and is kept. Every recipe has an image with a manifest, a
configuration and a layer of its own; two runs are marked as running before each start, with job
folders and unfinished blobs as builds leave them. The queue is paused, so that only the start is
measured. `recover` and the rest are the parts of a start, in a process of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import describe_machine, show_figures, timed
from folder import Service, make_recipes
from service_common import service

from minid.formats.digest import Digest
from minid.store.queue import Queue
from minid.store.records import Records

LAYER_BYTES = 100_000
LEFT_FILES = 5000


def prepare(folder: Path, recipes: int) -> None:
    """The folder, with everything built and a queue that is paused."""
    make_recipes(folder, recipes)
    held = Service(folder)
    held.catalogue.scan()
    if len(held.records.tags()) < recipes:
        record_images(held)
    Queue(held.records.database).set_setting("queue.mode", "paused")
    held.records.close()


def record_images(held: Service) -> None:
    """Record for every recipe an image whose blobs are in the store."""
    from minid.recipe import tag_names

    records = held.records
    for standing in held.plan(held.catalogue.recipes):
        recipe, plan = standing.recipe, standing.plan
        assert plan is not None
        layer = _add(held, os.urandom(LAYER_BYTES))
        config = _add(held, json.dumps({"of": recipe.name}).encode())
        manifest = _add(held, json.dumps({"config": config, "layer": layer}).encode())
        row = {"diff_id": layer, "digest": layer, "size": 1, "unpacked_size": 1}
        image: dict[str, object] = {"recipe": recipe.name, "manifest": manifest}
        image |= {"version": recipe.source.version}
        image |= {"config": config, "created": 0, "tags": tag_names(recipe)}
        image |= {"layers": [{**row, "created_by": "minid", "comment": ""}]}
        image |= {"sizes": {"unpacked": 1, "layers": 1, "archive": 1}}
        run = records.start_run(recipe.name, recipe.source.version, "benchmark", (), 0.0)
        records.add_result(plan.compile, "compile", recipe.name, {"tree": layer}, 0.0)
        records.add_result(plan.image, "image", recipe.name, image, 0.0)
        records.publish(run, image, tag_names(recipe), 0.0)
        records.finish_run(run, recipe.name, manifest, plan.inputs, 0.0)


def _add(held: Service, data: bytes) -> str:
    digest = Digest.of(data)
    held.blobs.path(digest).write_bytes(data)  # unlike the store's own way, without the disk
    return str(digest)


def leave_a_mess(folder: Path) -> None:
    """What two builds leave when they are killed with the service."""
    records = Records(folder / "var" / "records.sqlite", writable=True)
    for number in range(2):
        run = records.start_run(f"r0001{number}", "1", "benchmark", (), time.time())
        records.set_log(run, "")
        job = folder / "var" / "jobs" / f"run-{run}"
        for folder_number in range(LEFT_FILES // 100):
            inner = job / str(folder_number)
            inner.mkdir(parents=True)
            for file in range(100):
                (inner / str(file)).write_bytes(b"object")
        part = folder / "var" / "store" / "tmp" / f"run-{run}"
        part.mkdir(parents=True)
        (part / "unverified-x").write_bytes(bytes(1 << 20))
    records.close()


def measure(folder: Path, restarts: int) -> dict[str, float]:
    """Seconds from the start of the process to READY, and megabytes."""
    seconds, found = [], {}
    for _ in range(restarts):
        leave_a_mess(folder)
        with service(folder) as daemon:
            seconds.append(daemon.ready_s)
            found = {"rss MB": daemon.megabytes(), "processor s": daemon.processor_s()}
            daemon.kill()
    found["killed to READY, median s"] = statistics.median(seconds)
    found["killed to READY, most s"] = max(seconds)
    return found


def measure_parts(folder: Path) -> dict[str, float]:
    """Seconds of the parts of a start, in this process."""
    found: dict[str, float] = {}

    @contextmanager
    def clocked(part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        found[f"  {part} s"] = time.perf_counter() - began

    with clocked("imports"):
        import minid.daemon.serve  # noqa: F401
        from minid.line.workshop import recover
    with clocked("open"):
        held = Service(folder)
    with clocked("recover"):
        recover(held.config, held.blobs, held.records, time.time)
    with clocked("scan"):
        held.catalogue.scan()
    with clocked("plan"):
        wanting = sum(not standing.current for standing in held.plan(held.catalogue.recipes))
    held.records.close()
    return {**found, "to build": wanting}


def main() -> None:
    """Make the folder, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", type=int, default=1000)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.part:
        print(json.dumps(measure_parts(folder)))
        return
    machine = describe_machine()
    prepare(folder, options.recipes)
    found = measure(folder, options.restarts)
    leave_a_mess(folder)
    found |= json.loads(timed([sys.executable, __file__, "--part", str(folder)])[1])
    blobs = sum(1 for _ in (folder / "var" / "store" / "blobs" / "sha256").iterdir())
    found["blobs"] = blobs
    show_figures(machine, found, as_json=options.json)


if __name__ == "__main__":
    main()
