"""Every shipped recipe from source: sizes beside their bars, seconds, libraries, smoke tests.

    python benchmarks/catalogue.py FOLDER [NAME ...] [--docker] [--twice] [--json] [--write PAGE]

FOLDER is a working folder on the shipped recipes, made where it is not there, and kept: what it has
built already is not compiled again, and the seconds are those of the run that compiled it. Archives
come from the mirrors in MINID_MIRRORS, then from their upstreams. With --docker, Docker Engine runs
the smoke tests too; with --twice, every image is built again and its digest compared. --write
makes docs/reference/recipes.md anew. Ends with 1 where a bar is missed, a smoke test fails, or a
second build differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from common import REPOSITORY, describe_machine, minid, write_text

from minid.config_reader import load_config
from minid.recipe import Recipe
from minid.recipe_graph import libraries_below
from minid.recipe_reader import load_recipes
from minid.store.records import Records

MB = 1_000_000
COMPILE = "compile"
SHOWN_CHARS = 110
# Hours to compile; built where it is named.
LEFT_OUT = {"mysql"}


@dataclass(frozen=True, slots=True)
class Bar:
    """The most that an image may weigh, in MB, and what people pull today."""

    unpacked: float
    archive: float
    peer: str = ""


def load_bars() -> dict[str, Bar]:
    """The bars by recipe, from the file beside this one."""
    with (Path(__file__).parent / "catalogue.toml").open("rb") as file:
        return {name: Bar(**values) for name, values in tomllib.load(file).items()}


BARS = load_bars()


@dataclass(frozen=True, slots=True)
class Row:
    """One recipe as built. Sizes in bytes; a library recipe has none. `seconds` is what it took to
    compile, `with_needs` the same with the libraries that it needs."""

    name: str
    version: str
    summary: str
    kind: str
    seconds: float
    with_needs: float
    tags: tuple[str, ...] = ()
    unpacked: int = 0
    archive: int = 0
    libraries: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The folder, and what is in it."""

    folder: Path
    recipes: Mapping[str, Recipe]
    records: Records

    def facts(self, *words: str) -> Any:  # noqa: ANN401
        """What a command of minid says as JSON; a test that fails says something, too."""
        argv = [str(Path(sys.executable).parent / "minid"), *words, "--json"]
        ran = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=False)
        try:
            return json.loads(ran.stdout)
        except ValueError:
            sys.exit(f"{' '.join(argv)}: exit code {ran.returncode}\n{ran.stderr}")

    def compile_seconds(self, name: str) -> float:
        """Of the newest run that compiled it."""
        for run in self.records.runs(name, 1000):
            for stage in self.records.stages(run.id):
                if stage.name == COMPILE and not stage.cached:
                    return stage.seconds
        return 0.0

    def seconds_with_needs(self, name: str) -> float:
        """The same with all libraries below it."""
        below = [each for each, _ in libraries_below(self.recipes[name], self.recipes)]
        return sum(map(self.compile_seconds, [name, *below]))


def build_all(folder: Path, names: Sequence[str]) -> tuple[Catalogue, Sequence[str]]:
    """Build what is not there in the folder, whose recipes are the shipped ones: those that are
    named, or all that do not take hours; and their names."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.toml").exists():
        write_text(folder / "config.toml", '[publish]\ndocker = "off"\n')
    if not (folder / "recipes").exists():
        (folder / "recipes").symlink_to(REPOSITORY / "recipes")
    config = load_config(folder / "config.toml", os.environ)
    recipes, problems = load_recipes(config.paths.recipes)
    if problems:
        sys.exit("\n".join(str(problem) for problem in problems))
    names = names or sorted(recipes.keys() - LEFT_OUT)
    for name in names:
        print(f"building {name}", file=sys.stderr)
        minid(folder, "build", name)
    return Catalogue(folder, recipes, Records(config.paths.records, writable=False)), names


def measure(catalogue: Catalogue, name: str, *, docker: bool, twice: bool) -> Row:
    """What came of a recipe that was built."""
    recipe = catalogue.recipes[name]
    row = Row(
        name,
        recipe.source.version,
        recipe.summary,
        recipe.kind,
        round(catalogue.compile_seconds(name), 1),
        round(catalogue.seconds_with_needs(name), 1),
    )
    if recipe.kind == "library":
        return row
    image, files = catalogue.facts("inspect", name), catalogue.facts("files", name)
    report = catalogue.facts("test", name)
    libraries = {
        PurePosixPath(file["path"]).name
        for file in files
        if file["kind"] == "file" and ".so" in PurePosixPath(file["path"]).name
    }
    problems = [*missed_bars(name, image["sizes"])]
    problems += [result["name"] for result in report["results"] if not result["passed"]]
    if docker and not catalogue.facts("test", name, "--runner", "docker")["passed"]:
        problems.append("smoke tests in Docker Engine")
    if twice and not catalogue.facts("rebuild", "--check", name)["equal"]:
        problems.append("a second build differs")
    return replace(
        row,
        tags=tuple(image["tags"]),
        unpacked=image["sizes"]["unpacked"],
        archive=image["sizes"]["archive"],
        libraries=tuple(sorted(libraries)),
        checks=tuple(str(result["name"]) for result in report["results"]),
        problems=tuple(problems),
    )


def missed_bars(name: str, sizes: Mapping[str, int]) -> Iterator[str]:
    """In words, the bars that an image is over."""
    bar = BARS.get(name)
    for what in ("unpacked", "archive") if bar else ():
        limit = getattr(bar, what)
        if sizes[what] > limit * MB:
            yield f"{what}: expected at most {limit} MB, got {sizes[what] / MB:.2f}"


def show(machine: str, rows: Sequence[Row]) -> None:
    """The table, for people."""
    print(machine)
    print(f"{'recipe':14} {'version':9} {'unpacked':>15} {'archive':>15} {'compiled':>9}  problems")
    for row in rows:
        bar = BARS.get(row.name)
        sizes = [
            f"{size / MB:.2f}{f' ≤ {limit}' if limit else ''} MB" if size else ""
            for size, limit in (
                (row.unpacked, bar and bar.unpacked),
                (row.archive, bar and bar.archive),
            )
        ]
        print(
            f"{row.name:14} {row.version:9} {sizes[0]:>15} {sizes[1]:>15} {row.seconds:7.1f} s  "
            f"{'; '.join(row.problems) or 'none'}"
        )


HEAD = """\
# The shipped recipes

Made by `benchmarks/catalogue.py FOLDER --write docs/reference/recipes.md`, from images that were
built and checked. Sizes in MB (10⁶ bytes): unpacked, and of the archive that `docker load` takes;
seconds to compile on 2 cores, in brackets with the libraries that a recipe needs. They are of the
run that compiled it, and longer where others were compiled beside it.

"""


def page(rows: Sequence[Row], left_out: Sequence[str]) -> str:
    """docs/reference/recipes.md."""
    text = HEAD + "| image | version | unpacked | archive | compiled | instead of |\n" + "|---" * 6
    text += "|\n"
    images = [row for row in rows if row.kind == "image"]
    for row in images:
        peer = BARS[row.name].peer if row.name in BARS else ""
        both = f" ({row.with_needs:.0f} s)" if row.with_needs > row.seconds else ""
        text += (
            f"| [`{row.name}`](#{row.name}) | {row.version} | {row.unpacked / MB:.2f} "
            f"| {row.archive / MB:.2f} | {row.seconds:.0f} s{both} | {peer} |\n"
        )
    text += "\n| library | version | compiled | |\n|---|---|---|---|\n"
    for row in rows:
        if row.kind == "library":
            text += f"| `{row.name}` | {row.version} | {row.seconds:.0f} s | {row.summary} |\n"
    if left_out:
        text += "\nNot built here, so without figures: "
        text += ", ".join(f"`{name}`" for name in left_out) + ".\n"
    return text + "".join(chapter(row) for row in images)


def chapter(row: Row) -> str:
    """One image of the page."""
    libraries = ", ".join(f"`{name}`" for name in row.libraries) or "none, it is static"
    checks = "\n".join(f"- `` {shorten(check)} ``" for check in row.checks)
    return (
        f"\n## {row.name}\n\n{row.summary}. Tags: "
        + ", ".join(f"`{tag}`" for tag in row.tags)
        + f".\n\nShared libraries: {libraries}.\n\nIts check:\n\n{checks}\n"
    )


def shorten(check: str) -> str:
    """A check's name on one line of its own."""
    line = " ".join(check.split())
    return line if len(line) <= SHOWN_CHARS else line[: SHOWN_CHARS - 1] + "…"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="made where it is not there")
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes (default: all)")
    parser.add_argument("--docker", action="store_true", help="smoke tests in Docker Engine, too")
    parser.add_argument("--twice", action="store_true", help="build again, compare the digests")
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="make docs' page anew")
    options = parser.parse_args()
    if not options.folder.exists() and (REPOSITORY / f"recipes/{options.folder}.toml").is_file():
        parser.error(f"expected FOLDER first, got the recipe {str(options.folder)!r}")
    machine = describe_machine()
    catalogue, names = build_all(options.folder.resolve(), options.names)
    rows = [measure(catalogue, each, docker=options.docker, twice=options.twice) for each in names]
    if options.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        show(machine, rows)
    if options.write:
        write_text(options.write, page(rows, sorted(catalogue.recipes.keys() - set(names))))
    sys.exit(any(row.problems for row in rows))


if __name__ == "__main__":
    main()
