"""From what a program asked of the kernel to what its root lacks, each with its recipe line.

Pure: one run's events and the root's files in, findings in order of time out.
"""

from __future__ import annotations

from minid.formats.probe import OK, Event, Finding, Seen, is_library, missed_events
from minid.formats.probe_files import (
    missed_findings,
    search_finding,
    split_searches,
    wanted_folders,
)
from minid.formats.probe_ground import Ground, parent_of
from minid.formats.probe_means import (
    background_findings,
    device_findings,
    named_devices,
    refused_findings,
    socket_findings,
)
from minid.formats.probe_names import find_names

# No program of good will misses more; each search for a program goes through the whole root.
_MAX_MISSED, _MAX_SEARCHES = 5000, 200


def find_missing(seen: Seen, ground: Ground) -> list[Finding]:
    """Everything that one run shows to be missing, in order of time, each once."""
    found: list[Finding] = [*find_names(seen, ground.accounts)]
    missed = missed_events(seen.events)[:_MAX_MISSED]
    searched = {
        parent_of(event.path) for event in seen.events if event.error and is_library(event.leaf)
    }
    missed = [event for event in missed if event.call != "stat" or event.path not in searched]
    last = _last_words(seen, missed)
    folders = wanted_folders(missed)
    missed, searches = split_searches(missed, seen, ground)
    for event in missed:
        found += missed_findings(event, seen, ground, folders=folders)
    found += [search_finding(search, seen, ground) for search in searches[:_MAX_SEARCHES]]
    for event in seen.events:
        found += refused_findings(event, seen, ground)
        found += socket_findings(event, seen)
    found += background_findings(seen)
    if last and not any(one.needed and one.kind != "name service" for one in found):
        # Nothing else explains why it failed.
        around = next((search for search in searches if last in search), None)
        if around:
            found.append(search_finding(around, seen, ground, last=True))
        else:
            found += missed_findings(last, seen, ground, folders=folders, last=True)
    for event in seen.events:
        found += device_findings(event, ground)
    found += named_devices(seen, ground)
    unique: dict[tuple[str, str], Finding] = {}
    for one in sorted(found, key=lambda item: item.at_ms):
        key = (one.kind, one.what)
        if key not in unique or (one.needed and not unique[key].needed):
            unique[key] = one
    return sorted(unique.values(), key=lambda item: item.at_ms)


def _last_words(seen: Seen, missed: list[Event]) -> Event | None:
    """What a program that failed had looked for last: most often what it failed for. Nothing, where
    it has read something after that."""
    if not seen.failed:
        return None
    failed = [event for event in missed if event.reads and not is_library(event.leaf)]
    last = max(failed, key=lambda event: event.last, default=None)
    done = (event.last for event in seen.events if event.call == "open" and event.error == OK)
    return last if last and last.last > max(done, default=-1) else None
