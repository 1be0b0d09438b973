"""How `minid status` looks: lines of text that fit a width."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from minid.cli.queue_command import progress_text
from minid.cli.words import ago, clock_time, cut, fit_table, printable

Facts = Mapping[str, Any]
# How many of a kind are listed; `minid queue` and `minid events` have the rest.
_MOST = 10


def status_lines(facts: Facts, width: int, now: float, *, work_first: bool = False) -> list[str]:
    """The page: the service, the recipes, what runs and waits, what needs a person.

    With `work_first` the recipes, of which there may be many, come last.
    """
    head = [printable(line) for line in _service_lines(facts, now)]
    table = _recipe_lines(facts, width)
    work, person = _work_lines(facts, width, now), _person_lines(facts, width, now)
    blocks = [head, work, person, table] if work_first else [head, table, work, person]
    lines: list[str] = []
    for block in blocks:
        if block:
            lines += ["", *block] if lines else block
    return [cut(line, width) for line in lines]


def _service_lines(facts: Facts, now: float) -> list[str]:
    daemon = facts["daemon"]
    if daemon is None:
        refused = facts["refused"]
        return ["the daemon cannot be asked:", refused] if refused else ["no daemon is running"]
    since = ago(float(daemon["since"]), now) if daemon.get("since") else ""
    lines = [f"minid {daemon.get('version', '')}, process {daemon.get('pid')}, started {since}"]
    if daemon.get("paused"):
        lines.append(f"{daemon['paused']}: no run starts until `minid resume`")
    watch = daemon.get("watch") or {}
    if watch.get("mode") and watch["mode"] != "events":
        lines.append(f"recipes are watched by {watch['mode']}: {watch.get('reason', '')}")
    return lines


def _recipe_lines(facts: Facts, width: int) -> list[str]:
    header = ("RECIPE", "VERSION", "NEWEST", "STATE", "LAST RUN", "TAGS")
    rows = []
    for row in facts["recipes"]:
        has, wants = str(row["image_version"]), str(row["version"])
        version = f"{has} → {wants}" if has and wants and has != wants else wants or has
        tags = [str(tag).removeprefix(f"{row['recipe']}:") for tag in row["tags"]]
        newest = str(row["newest"]) if row["newest"] != wants else ""
        cells = (str(row["recipe"]), version, newest, str(row["state"]), str(row["last_run"]))
        rows.append((*cells, " ".join(tags)))
    kept = [n for n, name in enumerate(header) if name != "NEWEST" or any(row[n] for row in rows)]
    return fit_table([header[n] for n in kept], [[row[n] for n in kept] for row in rows], width)


def _work_lines(facts: Facts, width: int, now: float) -> list[str]:
    running = [
        (f"run {row['run']}", str(row["recipe"]), progress_text(row, now))
        for row in facts["running"]
    ]
    waiting = [
        (f"run {row['run']}", str(row["recipe"]), str(row["waits"])) for row in facts["queued"]
    ]
    lines = fit_table(("RUNNING", "", ""), running, width)
    if waiting:
        lines += [""] if lines else []
        lines += fit_table(("WAITING", "", ""), waiting[:_MOST], width)
        lines += _more(len(waiting), "minid queue")
    return lines


def _person_lines(facts: Facts, width: int, now: float) -> list[str]:
    """What is wrong or wants a decision."""
    items = [text.splitlines()[0] for text in facts["broken"] if text]
    items += [f"{row['recipe']}: {row['note']}" for row in facts["recipes"] if row["note"]]
    items += [
        f"{row['recipe']}: {str(row['error']).splitlines()[0]}"
        for row in facts["recipes"]
        if row["state"] == "failed" and row["error"]
    ]
    upstreams = (facts["daemon"] or {}).get("upstreams") or {}
    noted = [row["recipe"] for row in facts["recipes"] if row["note"]]
    items += _upstream_items(upstreams, noted, now)
    if not items:
        return []
    lines = ["ATTENTION", *(cut(printable(item), width) for item in items[:_MOST])]
    return lines + _more(len(items), "minid status --json")


def _upstream_items(upstreams: Facts, known: Collection[str], now: float) -> Iterator[str]:
    """What the tracker says of pages and hosts, as `upstream.tracker` sums it up, but for recipes
    of which something is `known` already."""
    attention = upstreams.get("attention")
    for name, note in attention.items() if isinstance(attention, Mapping) else ():
        if name not in known:
            yield f"{name}: {note}"
    hosts = upstreams.get("hosts")
    for wait in hosts if isinstance(hosts, list) else ():
        until = clock_time(float(wait["until"]), now)
        yield f"{wait['host']} is left alone until {until}: {wait['reason']}"


def _more(count: int, command: str) -> list[str]:
    return [f"… and {count - _MOST} more: {command}"] if count > _MOST else []
