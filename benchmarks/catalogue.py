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
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from common import REPOSITORY, describe_machine, minid, write_text

from minid.config_reader import load_config
from minid.recipe import Recipe
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

    def facts(self, *words: str) -> object:
        """What a command of minid says as JSON."""
        return json.loads(minid(self.folder, *words, "--json")[1])

    def compile_seconds(self, name: str) -> float:
        """Of the newest run that compiled it."""
        for run in self.records.runs(name, 1000):
            for stage in self.records.stages(run.id):
                if stage.name == COMPILE and not stage.cached:
                    return stage.seconds
        return 0.0

    def seconds_with_needs(self, name: str) -> float:
        """The same with all libraries below it."""
        return sum(self.compile_seconds(each) for each in _with_needs(name, self.recipes))


def _with_needs(name: str, recipes: Mapping[str, Recipe]) -> Iterator[str]:
    seen, waiting = set(), [name]
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            waiting += recipes[each].build.needs
            yield each


def open_catalogue(folder: Path) -> Catalogue:
    """The folder, ready to build in: its recipes are the shipped ones."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.toml").exists():
        write_text(folder / "config.toml", '[publish]\ndocker = "off"\n')
    if not (folder / "recipes").exists():
        (folder / "recipes").symlink_to(REPOSITORY / "recipes")
    config = load_config(folder / "config.toml", os.environ)
    recipes, problems = load_recipes(config.paths.recipes)
    if problems:
        sys.exit("\n".join(str(problem) for problem in problems))
    if not config.paths.records.exists():
        minid(folder, "build", "busybox")
    return Catalogue(folder, recipes, Records(config.paths.records, writable=False))


def measure(catalogue: Catalogue, name: str, *, docker: bool, twice: bool) -> Row:
    """Build one recipe, if it is not there, and read what came of it."""
    recipe = catalogue.recipes[name]
    minid(catalogue.folder, "build", name)
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
    image = catalogue.facts("inspect", name)
    assert isinstance(image, dict)
    report = check_report(catalogue, name)
    files = catalogue.facts("files", name)
    assert isinstance(files, list)
    libraries = {
        PurePosixPath(file["path"]).name
        for file in files
        if file["kind"] == "file" and ".so" in PurePosixPath(file["path"]).name
    }
    problems = [*missed_bars(name, image["sizes"])]
    problems += [result["name"] for result in report["results"] if not result["passed"]]
    if docker and not check_report(catalogue, name, "--runner", "docker")["passed"]:
        problems.append("smoke tests in Docker Engine")
    if twice:
        problems += second_build(catalogue, name)
    return Row(
        **{key: getattr(row, key) for key in ("name", "version", "summary", "kind")},
        seconds=row.seconds,
        with_needs=row.with_needs,
        tags=tuple(image["tags"]),
        unpacked=image["sizes"]["unpacked"],
        archive=image["sizes"]["archive"],
        libraries=tuple(sorted(libraries)),
        checks=tuple(str(result["name"]) for result in report["results"]),
        problems=tuple(problems),
    )


def check_report(catalogue: Catalogue, name: str, *options: str) -> dict[str, list[dict[str, str]]]:
    """What the smoke tests say now; a failing one is an answer, too."""
    argv = [str(Path(sys.executable).parent / "minid"), "test", name, "--json", *options]
    ran = subprocess.run(argv, cwd=catalogue.folder, capture_output=True, text=True, check=False)
    try:
        report: dict[str, list[dict[str, str]]] = json.loads(ran.stdout)
    except ValueError:
        sys.exit(f"{' '.join(argv)}: exit code {ran.returncode}\n{ran.stderr}")
    return report


def second_build(catalogue: Catalogue, name: str) -> list[str]:
    """Nothing, or that another build from the same inputs differs."""
    argv = [str(Path(sys.executable).parent / "minid"), "rebuild", "--check", name]
    ran = subprocess.run(argv, cwd=catalogue.folder, capture_output=True, text=True, check=False)
    return [] if ran.returncode == 0 else [f"a second build: {ran.stdout.strip()}"]


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
seconds to compile on 2 cores, in brackets with the libraries that a recipe needs.

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
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--docker", action="store_true")
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    machine = describe_machine()
    catalogue = open_catalogue(options.folder.resolve())
    names = options.names or sorted(catalogue.recipes.keys() - LEFT_OUT)
    rows = []
    for name in names:
        print(f"building {name}", file=sys.stderr)
        rows.append(measure(catalogue, name, docker=options.docker, twice=options.twice))
    if options.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        show(machine, rows)
    if options.write:
        write_text(options.write, page(rows, sorted(catalogue.recipes.keys() - set(names))))
    sys.exit(any(row.problems for row in rows))


if __name__ == "__main__":
    main()
