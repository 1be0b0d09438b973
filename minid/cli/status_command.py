"""`minid status`: each recipe at a glance."""

from __future__ import annotations

import argparse

from minid.cli.folder import (
    add_json_option,
    assess_folder,
    load_folder,
    need_recipes,
    sound_recipes,
)
from minid.cli.store_reader import open_blobs
from minid.cli.words import ago, print_json, print_table, printable
from minid.line.planning import Standing
from minid.store.records import Records, RunRow


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid status`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes (default: all)")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0, or 3 when a recipe's last run failed, as systemctl does for what is not running."""
    folder = load_folder(arguments)
    named: list[str] = arguments.names
    names = need_recipes(folder, named) if named else sound_recipes(folder)
    if not folder.config.paths.records.is_file():
        rows = [_never_built(name, folder.recipes[name].source.version) for name in names]
        last: dict[str, RunRow | None] = {}
    else:
        records = Records(folder.config.paths.records, writable=False)
        standings = assess_folder(folder, names, open_blobs(folder.config), records)
        last = {name: next(iter(records.runs(name, 1)), None) for name in names}
        tags = {row.name: row.manifest for row in records.tags()}
        rows = [_describe(standings[name], last[name], tags) for name in names]
    broken = [str(error) for error in folder.broken]
    if arguments.json:
        print_json({"recipes": rows, "broken": broken})
    else:
        print_table(
            ("RECIPE", "VERSION", "STATE", "LAST RUN", "IMAGE"),
            [
                (
                    str(row["recipe"]),
                    str(row["version"]),
                    str(row["state"]),
                    str(row["last_run"]),
                    str(row["manifest"])[:19],
                )
                for row in rows
            ],
        )
        for error in broken:
            print(printable(error.splitlines()[0]))
    failed = any(run is not None and run.status == "failed" for run in last.values())
    return 3 if failed or broken else 0


def _never_built(name: str, version: str) -> dict[str, object]:
    return {
        "recipe": name,
        "version": version,
        "state": "never built",
        "last_run": "",
        "manifest": "",
        "changes": [],
    }


def _describe(standing: Standing, last: RunRow | None, tags: dict[str, str]) -> dict[str, object]:
    recipe = standing.recipe
    run = ""
    if last is not None:
        when = ago(last.finished or last.started)
        run = f"{last.status} {when}" if last.status != "running" else "running"
    current = next((tags[name] for name in tags if name.split(":")[0] == recipe.name), "")
    return {
        "recipe": recipe.name,
        "version": recipe.source.version,
        "state": _state(standing, last),
        "last_run": run,
        "manifest": current,
        "changes": list(standing.changes),
        "error": last.error if last is not None else "",
    }


def _state(standing: Standing, last: RunRow | None) -> str:
    if last is None:
        return "never built"
    if standing.current:
        return "up to date"
    if last.status == "failed":
        return "failed"
    return "to be built"
