"""`minid build` where a service runs: it queues and builds, this follows and tells."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from minid.cli.daemon_client import Daemon
from minid.cli.outcomes import Facts, exit_status, print_outcomes
from minid.cli.words import print_json, printable
from minid.config import Config
from minid.daemon.requests import Build, Follow, Status
from minid.errors import MinidError
from minid.report import Reporter
from minid.store.records import Records, RunRow

_STATUS = {"ok": "built", "unchanged": "unchanged", "skipped": "skipped"}
INTERRUPTED = 130
# So many ids fit into one request.
_AT_ONCE = 4000


def build_through(daemon: Daemon, config: Config, arguments: argparse.Namespace) -> int:
    """Queue, and unless detached follow to the end: status and words of a build without service."""
    request = Build(tuple(arguments.names), next=arguments.next, force=arguments.force)
    answer = daemon.ask_once(request)
    for message in answer.get("passed_over", ()):
        print(f"minid: passed over: {printable(str(message).splitlines()[0])}", file=sys.stderr)
    rows: list[dict[str, Any]] = answer["recipes"]
    queued = [row for row in rows if row["run"] is not None]
    if arguments.detach:
        _print_queued(queued, as_json=arguments.json)
        return 0
    ended: dict[int, dict[str, Any]] = {}
    try:
        _follow(daemon, [row["run"] for row in queued], ended, arguments)
    except KeyboardInterrupt:
        _print_going_on([row for row in queued if row["run"] not in ended])
        return INTERRUPTED
    outcomes = _tell_outcomes(config, rows, ended)
    if arguments.json:
        print_json(outcomes)
    else:
        print_outcomes(outcomes, arguments.names or [row["recipe"] for row in rows])
    return exit_status(outcomes)


def _print_queued(queued: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"runs": [{key: row[key] for key in ("run", "recipe")} for row in queued]})
        return
    for row in queued:
        print(row["run"])


def _print_going_on(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    names = ", ".join(f"{row['run']} ({row['recipe']})" for row in rows)
    ids = " ".join(str(row["run"]) for row in rows)
    print(f"minid: the daemon goes on with {names}", file=sys.stderr)
    print(f"  hint: minid cancel {ids}", file=sys.stderr)


def _follow(
    daemon: Daemon,
    runs: Sequence[int],
    ended: dict[int, dict[str, Any]],
    arguments: argparse.Namespace,
) -> None:
    """Show progress until every run is over; their ends go into `ended` as they come."""
    if not runs:
        return
    from minid.cli.progress import make_reporter

    quiet = arguments.quiet or arguments.json
    if not quiet:
        _tell_why_none_runs(daemon, runs)
    with make_reporter(quiet=quiet, verbose=arguments.verbose) as reporter:
        for first in range(0, len(runs), _AT_ONCE):
            request = Follow(tuple(runs[first : first + _AT_ONCE]))
            with closing(daemon.ask(request, patient=True)) as answers:  # type: ignore[type-var]
                for answer in answers:
                    if answer.get("event") == "ended":
                        ended[answer["run"]] = answer
                    else:
                        show_progress(reporter, answer)


def _tell_why_none_runs(daemon: Daemon, runs: Sequence[int]) -> None:
    """Say what the runs wait for, where none of them can begin now."""
    status = daemon.ask_once(Status())
    waits = {row["run"]: str(row["waits"]) for row in status["queued"] if row["waits"]}
    if all(run in waits for run in runs):
        first = next(run for run in waits if run in runs)
        print(f"minid: run {first} waits: {printable(waits[first])}", file=sys.stderr)


def show_progress(reporter: Reporter, answer: Mapping[str, Any]) -> None:
    """Tell a reporter what the service tells of a run; what is unknown is passed over."""
    recipe = str(answer.get("recipe", ""))
    match answer.get("event"):
        case "stage_started":
            reporter.stage_started(recipe, str(answer["stage"]))
        case "stage_finished":
            seconds, cached = float(answer["seconds"]), bool(answer["cached"])
            reporter.stage_finished(recipe, str(answer["stage"]), seconds, cached=cached)
        case "log":
            reporter.log_line(recipe, str(answer["line"]))
        case "note":
            reporter.note(recipe, str(answer["text"]))
        case "fetched":
            total = answer.get("total")
            reporter.fetched(recipe, str(answer["file"]), int(answer["done"]), total)


def _tell_outcomes(
    config: Config, rows: Sequence[Mapping[str, Any]], ended: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    records = Records(config.paths.records, writable=False)
    try:
        return [_outcome(records, row, ended.get(row["run"], {})) for row in rows]
    finally:
        records.close()


def _outcome(records: Records, row: Mapping[str, Any], end: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome of one recipe, from its run and from what the service said of its end."""
    run = records.run(row["run"]) if row["run"] is not None else None
    facts: dict[str, Any] = {
        "recipe": row["recipe"],
        "version": row["version"],
        "status": "unchanged",
        "changes": [],
        "seconds": 0.0,
        "stages": {},
        "log": "",
    }
    if run is not None:
        facts |= _run_facts(records, run)
        facts["status"] = _STATUS.get(run.status, "failed")
    manifest = (run.manifest if run else row.get("manifest")) or ""
    image = records.image(manifest) if manifest else None
    if image:
        facts |= {key: image[key] for key in ("manifest", "config", "tags", "sizes")}
    if run is not None and facts["status"] == "built":
        facts |= {"checks": _checks(end), "moved": _moved(records, run, end)}
        facts["notes"] = list(end.get("notes") or ())
        facts["lint"] = (image or {}).get("lint", [])
    if run is not None and facts["status"] in ("failed", "skipped"):
        facts["error"] = _error(run, end).as_json()
    return facts


def _checks(end: Mapping[str, Any]) -> list[dict[str, object]]:
    checks: Mapping[str, float] = end.get("checks") or {}
    return [{"name": name, "seconds": took} for name, took in checks.items()]


def _moved(records: Records, run: RunRow, end: Mapping[str, Any]) -> list[str]:
    if end.get("moved"):
        return list(end["moved"])
    moves = records.publications(limit=1000)
    return [f"{move.target} {move.name}" for move in moves[::-1] if move.run == run.id]


def _run_facts(records: Records, run: RunRow) -> Facts:
    stages: dict[str, float] = {}
    for stage in records.stages(run.id):
        stages[stage.name] = round(stages.get(stage.name, 0.0) + stage.seconds, 3)
    return {
        "version": run.version,
        "changes": list(run.changes),
        "seconds": round((run.finished or run.started) - run.started, 3),
        "stages": stages,
        "log": run.log,
    }


def _error(run: RunRow, end: Mapping[str, Any]) -> MinidError:
    """Why a run did not end well: as the service told it, else as the records have it."""
    from minid.daemon.requests import error_of_status

    error = error_of_status(
        run.exit_code,
        str(end.get("error") or run.error or f"{run.recipe}: {run.status}"),
        hint=str(end.get("hint") or ""),
        log_tail=[str(line) for line in end.get("log_tail") or ()],
    )
    error.retryable = bool(end.get("retryable", error.retryable))
    return error
