"""How fast a large folder of recipes is read and planned, and what it costs in memory.

    python benchmarks/folder.py FOLDER [--recipes 10000] [--built] [--json]

FOLDER becomes a working folder and is kept. One recipe in five is as large as the project's nginx,
one in twenty carries a patch, ten are bases, and all are built in this machine's own environment,
so that every plan is made to its end. With --built the records say that each was built before:
then every plan is compared with what was recorded, as at a restart. Memory is of the process that
reads and plans, with all of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common import REPOSITORY, describe_machine, timed, write_text

if TYPE_CHECKING:
    from minid.line.planning import Standing

BASES = 10
SMALL = """\
summary = "Tool number {n}"
license = "MIT"
homepage = "https://tool{n}.example.org/"

[source]
version = "{n}.4.1"
url = "https://tool{n}.example.org/download/tool{n}-{{version}}.tar.xz"
sha256 = "{n:064x}"
{patches}
[track]
from = "index"
url = "https://tool{n}.example.org/download/"
match = 'tool{n}-(?P<version>\\d+\\.\\d+\\.\\d+)\\.tar\\.xz'

[build]
packages = ["zlib1g-dev"]
steps = ["./configure --prefix=/usr", "make -j$JOBS", "make DESTDIR=$DESTDIR install"]

[rootfs]
base = "{base}"

[image]
cmd = ["tool{n}", "--serve"]

[[check]]
exec = ["tool{n}", "--version"]
contains = "{{version}}"
"""
CONFIG = """\
[environments.debian]
kind = "host"

[publish]
docker = "off"
"""


def make_recipes(folder: Path, count: int) -> None:
    """Write the recipes, bases first in their numbers."""
    recipes = folder / "recipes"
    recipes.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.toml", CONFIG)
    large = (REPOSITORY / "recipes" / "nginx.toml").read_text()
    for n in range(count):
        base = "scratch" if n < BASES else f"r{n % BASES:05}"
        if n % 5 == 4:
            text = large.replace("nginx", f"nginx{n}")
            text = text.replace("[rootfs]\n", f'[rootfs]\nbase = "{base}"\n').replace(
                "69ee2b237744036e61d24b836668aad3040dda461fe6f570f1787eab570c75aa", f"{n:064x}"
            )
            text = text.replace('packages = ["libpcre2-dev", "zlib1g-dev", "libssl-dev"]\n', "")
        else:
            patched = n % 20 == 0
            text = SMALL.format(n=n, base=base, patches='patches = ["a.patch"]' * patched)
            text = text.replace('packages = ["zlib1g-dev"]\n', "")
            if patched:
                (recipes / f"r{n:05}").mkdir(exist_ok=True)
                write_text(recipes / f"r{n:05}" / "a.patch", f"--- a/x\n+++ b/x{n}\n")
        write_text(recipes / f"r{n:05}.toml", text)


class Service:
    """What the service holds: the recipes and the store of a working folder."""

    def __init__(self, folder: Path) -> None:
        from minid.config_reader import load_config
        from minid.daemon.catalogue import Catalogue
        from minid.store.blobs import Blobs
        from minid.store.records import Records

        self.config = load_config(folder / "config.toml", os.environ)
        self.config.paths.state.mkdir(parents=True, exist_ok=True)
        self.blobs = Blobs(self.config.paths.store)
        self.blobs.prepare()
        self.records = Records(self.config.paths.records, writable=True)
        self.catalogue = Catalogue(self.config)

    def plan(self, names: Iterable[str]) -> Iterator[Standing]:
        """How these recipes stand, and all that they stand on."""
        from minid.line.planning import iterate_standings, recipe_order

        recipes = self.catalogue.recipes
        return iterate_standings(
            recipe_order(recipes, filter(self.catalogue.sound, names)),
            recipes,
            config=self.config,
            blobs=self.blobs,
            records=self.records,
            machine=os.uname().machine,
        )


def record_all(folder: Path) -> None:
    """Record for every recipe what a good run of it would have recorded."""
    from minid.recipe import tag_names

    service = Service(folder)
    service.catalogue.scan()
    records = service.records
    blob = str(service.blobs.add(b"what a build made"))
    layer: dict[str, object] = {"diff_id": blob, "digest": blob, "size": 1, "unpacked_size": 1}
    layers = [{**layer, "created_by": "minid", "comment": ""}] * 3
    for standing in service.plan(service.catalogue.recipes):
        recipe, plan = standing.recipe, standing.plan
        assert plan is not None
        image: dict[str, object] = {
            "recipe": recipe.name,
            "version": recipe.source.version,
            "manifest": blob,
        }
        image |= {"config": blob, "created": 0, "tags": tag_names(recipe), "layers": layers}
        image |= {"sizes": {"unpacked": 1, "layers": 1, "archive": 1}}
        run = records.start_run(recipe.name, recipe.source.version, "benchmark", (), 0.0)
        records.add_result(plan.compile, "compile", recipe.name, {"tree": blob}, 0.0)
        records.add_result(plan.image, "image", recipe.name, image, 0.0)
        records.publish(run, image, tag_names(recipe), 0.0)
        records.finish_run(run, recipe.name, blob, plan.inputs, 0.0)
    records.close()


def measure(folder: Path) -> dict[str, float]:
    """Seconds and megabytes of a first scan and plan, and seconds of what comes after it."""
    began = time.perf_counter()
    service = Service(folder)
    catalogue = service.catalogue
    ready, worked = time.perf_counter(), time.process_time()
    catalogue.scan()
    scanned = time.perf_counter()
    standings = [standing.current for standing in service.plan(catalogue.recipes)]
    planned, processor = time.perf_counter(), time.process_time() - worked
    if catalogue.problems or len(standings) != len(catalogue.recipes):
        sys.exit(f"{folder}: expected sound recipes, got {dict(catalogue.problems)}")
    found = {
        "start s": ready - began,
        "scan s": scanned - ready,
        "plan s": planned - scanned,
        "scan and plan s": planned - ready,
        "of it processor s": processor,
        "rss MB": _megabytes("VmRSS"),
        "peak MB": _megabytes("VmHWM"),
        "recipes": len(standings),
        "to build": standings.count(False),
    }
    changes = sorted(_measure_change(service, number) for number in range(20))
    began = time.perf_counter()
    catalogue.scan()
    rescan = time.perf_counter() - began
    return found | {
        "one changed, median s": changes[len(changes) // 2],
        "one changed, most s": changes[-1],
        "scan again s": rescan,
    }


def _measure_change(service: Service, number: int) -> float:
    """Seconds until an edit of one recipe is planned. The file is as it was afterwards."""
    catalogue = service.catalogue
    name = f"r{len(catalogue.recipes) - 1 - number:05}"
    file = service.config.paths.recipes / f"{name}.toml"
    text = file.read_text()
    file.write_text(text.replace("\n[image]\n", '\n[image]\nworkdir = "/srv"\n'))
    began = time.perf_counter()
    change = catalogue.update([name])
    wanting = [
        item for item in service.plan(catalogue.affected(change.changed)) if not item.current
    ]
    seconds = time.perf_counter() - began
    if name not in {item.recipe.name for item in wanting}:
        sys.exit(f"{file}: expected the edit to want a build")
    file.write_text(text)
    catalogue.update([name])
    return seconds


def _megabytes(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) / 1024


def main() -> None:
    """Make the folder, measure in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", type=int, default=10_000)
    parser.add_argument("--built", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        if options.part == "record":
            record_all(options.folder)
        print(json.dumps(measure(options.folder) if options.part == "measure" else {}))
        return
    machine = describe_machine()
    make_recipes(options.folder, options.recipes)
    if options.built:
        _run_part("record", options.folder)
    found = _run_part("measure", options.folder)
    if options.json:
        print(json.dumps({"machine": machine, **found}))
        return
    print(machine)
    for key, value in found.items():
        print(f"{key:22} {value:10.3f}" if isinstance(value, float) else f"{key:22} {value:6}")


def _run_part(part: str, folder: Path) -> dict[str, float]:
    """One part in a process of its own, so that nothing else is in its memory."""
    output = timed([sys.executable, __file__, "--part", part, str(folder)])[1]
    found = json.loads(output)
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    main()
