"""How the recipes of a `minid build` ended, worded the same whoever built them.

An outcome is a mapping of JSON values, as docs/reference/cli.md lists them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from minid.cli.main import error_json, report_error
from minid.cli.words import format_size, printable, seconds
from minid.line.outcome import Outcome

Facts = Mapping[str, Any]


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """An outcome as JSON values."""
    made = outcome.made
    value: dict[str, object] = {
        "recipe": outcome.recipe,
        "version": outcome.version,
        "status": outcome.status,
        "changes": list(outcome.changes),
        "seconds": round(outcome.seconds, 3),
        "stages": {name: round(took, 3) for name, took in (outcome.stages or {}).items()},
        "log": outcome.log,
    }
    if made and made.image:
        image = made.image
        sizes = image.sizes
        value |= {
            "manifest": str(image.manifest),
            "config": str(image.config),
            "tags": list(image.tags),
            "sizes": {
                "unpacked": sizes.unpacked,
                "layers": sizes.layers,
                "archive": sizes.archive,
            },
        }
    if made and made.report:
        value["checks"] = [
            {"name": result.name, "seconds": result.seconds} for result in made.report.results
        ]
    if made and made.report:
        value["lint"] = [finding.as_json() for finding in made.lint]
    if made and made.published:
        value |= {"moved": list(made.published.moved), "notes": list(made.published.notes)}
    if outcome.error:
        value["error"] = error_json(outcome.error)
    return value


def print_outcomes(outcomes: Iterable[Facts], names: Iterable[str]) -> None:
    """What a person wants to know: of unchanged recipes only those that were named."""
    from minid.daemon.requests import parse_error

    named = set(names)
    for facts in outcomes:
        if "error" in facts:
            report_error(parse_error(facts["error"]), as_json=False)
            if facts["log"]:
                print(f"  log: {facts['log']}", file=sys.stderr)
        elif facts["status"] == "unchanged":
            if facts["recipe"] in named:
                print(f"{facts['recipe']} {facts['version']}: nothing has changed")
                _print_image(facts)
        else:
            _print_built(facts)


def exit_status(outcomes: Iterable[Facts]) -> int:
    """0, or the exit code of the root cause: what was skipped stands on something that failed."""
    failed = [facts for facts in outcomes if "error" in facts]
    failed.sort(key=lambda facts: facts["status"] == "skipped")
    return int(failed[0]["error"]["exit_code"]) if failed else 0


def _print_built(facts: Facts) -> None:
    stages = ", ".join(
        f"{name} {took:.1f}" for name, took in facts["stages"].items() if took >= 0.05
    )
    print(
        f"{facts['recipe']} {facts['version']}: built in {seconds(facts['seconds'])}"
        + (f" ({stages})" if stages else "")
    )
    _print_image(facts)
    for result in facts.get("checks", ()):
        print(f"  check    {printable(result['name'])}: passed in {seconds(result['seconds'])}")
    for line in facts.get("moved", ()):
        print(f"  tagged   {printable(line)}")


def _print_image(facts: Facts) -> None:
    if "manifest" not in facts:
        return
    sizes = facts["sizes"]
    print(f"  image    {facts['manifest']}")
    print(
        f"  size     {format_size(sizes['unpacked'])} unpacked, {format_size(sizes['layers'])} "
        f"layers, {format_size(sizes['archive'])} archive"
    )
