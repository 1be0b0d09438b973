"""What a probed program was refused, and what a root alone cannot give: devices, ports, rights."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from minid.formats.probe import EACCES, ENOENT, EPERM, OK, Event, Finding, Seen, is_device
from minid.formats.probe_ground import SHARED, Ground, folder_lines, parent_of, role_of, verb_of
from minid.formats.recipe_lines import RecipeLines
from minid.recipe import Directory, Edit

_NAMED_DEVICE = re.compile(rb"/dev/(null)(?=\0)")  # others are opened where they are wanted
_SYSTEM = re.compile(r"/|/(bin|sbin|lib|lib64|etc|usr|dev|proc|sys)(/[^/]*)?|/var|/run|/opt|/srv")
# Programs that go to the background unless their configuration says otherwise.
_FOREGROUND = {"nginx": ("nginx.conf", "daemon off;\n")}
_FOREGROUND_WORDS = "have it stay in the foreground: `daemon off;`, `daemonize no`, `-D`, `-F`"
_CHANGES_OWNER = ("chown", "setuid", "setgid", "setgroups", "setresuid", "setresgid")


def refused_findings(event: Event, seen: Seen, ground: Ground) -> Iterator[Finding]:
    """What was there and not allowed."""
    if event.error not in (EACCES, EPERM):
        return
    writes = event.makes or (event.call == "open" and event.flags & 3)
    folder = parent_of(event.path)
    if writes and event.uid and event.error == EACCES and ground.has(folder):
        what = f"{role_of(event.path)}: {verb_of(event)} {event.path}"
        why = f"{what} is not allowed to uid {event.uid}"
        fit = not _SYSTEM.fullmatch(folder) or folder in SHARED
        lines = folder_lines(event, folder, ground) if fit else RecipeLines()
        yield Finding("folder", folder, why, event.at_ms, True, lines)
    elif event.call in _CHANGES_OWNER:
        what = f"{event.call} {event.path}".strip()
        why = f"{event.call} is not allowed to uid {event.uid}"
        advice = "start it as root (no image.user), or as the user that it wants to be"
        yield Finding("right", what, why, event.at_ms, seen.failed, advice=advice)


def device_findings(event: Event, ground: Ground) -> Iterator[Finding]:
    """Devices that it opened, or would have."""
    if not is_device(event.path) or event.call not in ("open", "stat", "access"):
        return
    if event.error == OK:
        yield _engine_device(event.path, f"{verb_of(event)} it", event.at_ms, ground)
    elif event.error == ENOENT and event.call == "open":
        why = f"{verb_of(event)} it found no such device"
        advice = f"engines give it when told to: --device {event.path}"
        yield Finding("device", event.path, why, event.at_ms, False, advice=advice)


def _engine_device(path: str, why: str, at_ms: int, ground: Ground) -> Finding:
    """A device that engines supply; the root needs the folder for it."""
    bare = not ground.has("/dev")
    lines = RecipeLines(directories=(Directory("/dev"),)) if bare else RecipeLines()
    text = f"{why}; engines make it in the root's /dev" + (", which is missing" if bare else "")
    return Finding("device", path, text, at_ms, bare, lines, supplied="engine")


def named_devices(seen: Seen, ground: Ground) -> Iterator[Finding]:
    """Devices that the programs hold the names of, and did not open this time."""
    used = {event.path for event in seen.events}
    for event in seen.events:
        if event.call != "exec" or event.error != OK:
            continue
        for name in sorted(set(_NAMED_DEVICE.findall(ground.head(event.path)))):
            path = f"/dev/{name.decode()}"
            if path not in used:
                why = f"{event.leaf} names it, and did not open it in this run"
                yield _engine_device(path, why, event.at_ms, ground)


def socket_findings(event: Event, seen: Seen) -> Iterator[Finding]:
    """Services that did not answer, and addresses that it could not listen at."""
    if event.call not in ("bind", "connect") or event.path.startswith("family:"):
        return
    kind, _, where = event.path.partition(":")
    problem = os.strerror(event.error).lower() if event.error else ""
    if event.call == "connect" and event.error in (ENOENT, errno.ECONNREFUSED):
        if where == "/dev/log":
            return
        needed = seen.failed and any(where in line for line in seen.output)
        sort, why = "socket" if kind == "unix" else "port", f"nobody answers there: {problem}"
        advice = "another program's: run that one beside it"
        yield Finding(sort, where, why, event.at_ms, needed, advice=advice)
    elif event.call == "bind" and event.error and kind != "unix":
        root_only = event.error in (EACCES, EPERM)
        advice = "ports below 1024 are root's, unless the engine says otherwise"
        why = f"it cannot listen there: {problem}"
        advice = advice if root_only else "another address, or another port"
        yield Finding("port", where, why, event.at_ms, seen.failed, advice=advice)


def background_findings(seen: Seen) -> Iterator[Finding]:
    """A program that leaves its first process, which a container ends with."""
    if not seen.background:
        return
    program = next((e.leaf for e in seen.events if e.call == "exec" and e.error == OK), "")
    leaf, text = _FOREGROUND.get(program, ("", ""))
    conf = [e.path for e in seen.events if leaf and e.leaf == leaf and e.error == OK]
    lines = RecipeLines(edits=(Edit(conf[-1], prepend=text),)) if conf else RecipeLines()
    at = max((event.at_ms for event in seen.events), default=0)
    why = "its first process ended and left others: engines end the container then"
    advice = "" if lines else _FOREGROUND_WORDS
    yield Finding("foreground", program or "program", why, at, True, lines, advice=advice)
