"""Files, folders, libraries and programs that a probed program looked for and did not find."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from minid.formats.probe import IS_FOLDER, Event, Finding, Seen, is_device, is_library
from minid.formats.probe_ground import (
    Ground,
    folder_lines,
    is_sound,
    link_program,
    parent_of,
    role_of,
    verb_of,
)
from minid.formats.recipe_lines import RecipeLines
from minid.recipe import File

_HEAD_BYTES = 1 << 16  # where an ELF file names its loader
_LOADING = re.compile(r"(?:loading shared librar(?:ies|y):?|needed by|cannot open) ?")
_SCRIPT = re.compile(rb"#![ \t]*([^ \t\n\r\0]+)")
_LOADER = re.compile(rb"/[\x21-\x7e]{0,200}/ld-?[\x21-\x7e]{1,60}(?=\0)")


def wanted_folders(missed: Iterable[Event]) -> frozenset[str]:
    """Paths that others were looked for below: folders, whatever call named them alone."""
    found: set[str] = set()
    for event in missed:
        folder = parent_of(event.path)
        while folder not in found and folder.startswith("/"):
            found.add(folder)
            folder = parent_of(folder)
    return frozenset(found)


def missed_findings(
    event: Event,
    seen: Seen,
    ground: Ground,
    *,
    folders: frozenset[str] = frozenset(),
    last: bool = False,
) -> Iterator[Finding]:
    """What one failed call shows; `folders` as `wanted_folders`; `last` says that the program
    failed right after it."""
    if event.makes or event.call == "bind":
        return (yield from _parent(event, event.path.removeprefix("unix:"), ground))
    if is_device(event.path) or event.call in ("connect", "chown"):
        return None
    needed = _is_said(event, seen) or last
    if event.call == "exec":
        yield from _program(event, ground, needed)
    elif is_library(event.leaf):
        yield _library(event, seen)
    elif (
        event.call in ("chdir", "chroot")
        or event.flags & IS_FOLDER
        or event.path in folders
        or _says_folder(event, seen)
    ):
        sure = needed or event.call in ("chdir", "chroot")
        why = f"{verb_of(event)} found no such folder"
        yield Finding(
            "folder", event.path, why, event.at_ms, sure, folder_lines(event, event.path, ground)
        )
    elif event.reads:
        lines = (
            RecipeLines(files=(File(event.path, ""),)) if is_sound(event.path) else RecipeLines()
        )
        why = f"{verb_of(event)} found no such file"
        advice = "the line makes it empty: what it should say is yours to write"
        yield Finding("file", event.path, why, event.at_ms, needed, lines, advice=advice)
    return None


def split_searches(
    missed: list[Event], seen: Seen, ground: Ground
) -> tuple[list[Event], list[list[Event]]]:
    """The events without those that look for one name in one folder after the other, and these,
    together for each name. What the program names with its path was no search."""
    by_leaf: dict[str, list[Event]] = {}
    text = "\n".join(seen.output)
    for event in missed:
        if event.reads and not is_library(event.leaf) and event.path not in text:
            by_leaf.setdefault(event.leaf, []).append(event)
    searches = [events for events in by_leaf.values() if len({e.path for e in events}) > 1]
    taken = {event for events in searches for event in events if not ground.has(event.path)}
    # What is there lacks something itself, and the search ended with it.
    searches = [events for events in searches if all(event in taken for event in events)]
    return [event for event in missed if event not in taken], searches


def search_finding(
    search: list[Event], seen: Seen, ground: Ground, *, last: bool = False
) -> Finding:
    """What was looked for in several folders and was in none; `last` as above."""
    first, folders = search[0], list(dict.fromkeys(parent_of(event.path) for event in search))
    said = re.search(rf"(?<![\w.-]){re.escape(first.leaf)}(?![\w-])", "\n".join(seen.output))
    where = f"{verb_of(first)} found none in {', '.join(folders[:3])}"
    where += f" and {len(folders) - 3} more" if len(folders) > 3 else ""
    if first.call == "exec" or all(folder.endswith("bin") for folder in folders):
        near = "/usr/bin" if "/usr/bin" in folders else folders[-1]
        lines = link_program(first.leaf, ground.root, near)
        return Finding("program", first.leaf, where, first.at_ms, bool(said) or last, lines)
    advice = "one of these folders is to have it"
    return Finding("file", first.leaf, where, first.at_ms, bool(said) or last, advice=advice)


def _says_folder(event: Event, seen: Seen) -> bool:
    """Whether the program's own message calls it a folder."""
    for line in (line for line in seen.output if event.path in line):
        words = re.sub("no such file or directory", "", line, flags=re.IGNORECASE)
        words = words.replace(event.path, "")
        if re.search(r"director|folder|\bdir\b", words, re.IGNORECASE):
            return True
    return False


def _parent(event: Event, path: str, ground: Ground) -> Iterator[Finding]:
    """The folder that something was to be made in."""
    folder = parent_of(path)
    if ground.has(folder):
        place = ground.place(path)  # a link that leads nowhere
        if place is None or ground.place(path, follow_last=False) == place:
            return
        folder = parent_of(f"/{place}")
    why = f"{role_of(path)}: {verb_of(event)} {path} found no such folder"
    yield Finding("folder", folder, why, event.at_ms, True, folder_lines(event, folder, ground))


def _is_said(event: Event, seen: Seen) -> bool:
    text = "\n".join(seen.output)
    return event.path in text or (len(event.leaf) > 3 and event.leaf in text)


def _library(event: Event, seen: Seen) -> Finding:
    said = any(event.leaf in line for line in seen.output)
    loading = said and any(_LOADING.search(line) for line in seen.output)
    asked = event.leaf.startswith("libnss_") and bool(seen.names)
    why = (
        "the program is linked to it, and it lies nowhere on the search path"
        if loading
        else "opened by name, and it lies nowhere on the search path"
    )
    needed = said or (asked and seen.failed)
    kind = "name service" if event.leaf.startswith("libnss_") else "library"
    return Finding(kind, event.leaf, why, event.at_ms, needed, _from_environment(event.leaf))


def _from_environment(name: str) -> RecipeLines:
    """The line for a library, where a recipe can name it."""
    sound = re.fullmatch(r"/?[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*", name) and len(name) < 1000
    return RecipeLines(dlopen=(name,)) if sound else RecipeLines()


def _program(event: Event, ground: Ground, needed: bool) -> Iterator[Finding]:
    if not ground.has(event.path):
        lines = link_program(event.leaf, ground.root, "/usr/bin")
        why = "the program wanted to run it, and it is not there"
        yield Finding("program", event.leaf, why, event.at_ms, needed, lines)
        return
    head = ground.head(event.path)[:_HEAD_BYTES]
    script, loader = _SCRIPT.match(head), _LOADER.search(head)
    if script:
        wanted = os.fsdecode(script[1])
        lines = link_program(wanted, ground.root, "/usr/bin")
        yield Finding(
            "program", wanted, f"{event.path} is a script for it", event.at_ms, True, lines
        )
    elif loader:
        wanted = os.fsdecode(loader[0])
        why = f"the loader that {event.path} names"
        yield Finding("library", wanted, why, event.at_ms, True, _from_environment(wanted))
