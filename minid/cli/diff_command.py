"""`minid diff`: how two images differ, or an image and a container."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import find_image, open_blobs, open_records
from minid.cli.words import cut, format_size, print_json, print_table

if TYPE_CHECKING:
    from minid.model import Entry
    from minid.workbench.comparing import Difference, FileChange, Pair, Side

_SHOWN = 100
_CONTAINER = "container:"


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid diff`."""
    for name in ("before", "after"):
        parser.add_argument(
            name,
            metavar="IMAGE",
            help="a tag, a recipe, a digest, or container:NAME for one of Docker's",
        )
    parser.add_argument("--stat", action="store_true", help="how much differs, in a few lines")
    parser.add_argument("--exit-code", action="store_true", help="status 1 where they differ")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0, or with --exit-code 1 where something differs."""
    from minid.line.origins import Story
    from minid.workbench.comparing import compare_sides, container_side, stored_side

    def open_side(name: str) -> Side:
        if name.startswith(_CONTAINER):
            return container_side(name)
        config = load_folder_config(arguments)
        records = open_records(config)
        return stored_side(name, Story(find_image(records, name), records, open_blobs(config)))

    left, right = open_side(arguments.before), open_side(arguments.after)
    found = compare_sides(left, right)
    if arguments.json:
        print_json(_json(left, right, found))
    elif found:
        if not arguments.stat:
            _print_changes(found)
        _print_summary(found)
    return 1 if arguments.exit_code and found else 0


def _json(left: Side, right: Side, found: Difference) -> dict[str, object]:
    packages = found.packages
    return {
        "from": {"name": left.name, "manifest": left.manifest},
        "to": {"name": right.name, "manifest": right.manifest},
        "differs": bool(found),
        "files": [_file_json(change) for change in found.files],
        "libraries": [_pair_json(pair) for pair in found.libraries],
        "config": [item.as_json() for item in found.config],
        "packages": None if packages is None else [_pair_json(pair) for pair in packages],
        "summary": _sums(found),
    }


def _file_json(change: FileChange) -> dict[str, object]:
    return {
        "path": "/" + change.image_path,
        "change": change.letter,
        "what": list(change.what),
        "before": _entry_json(change.before),
        "after": _entry_json(change.after),
    }


def _entry_json(entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    return {
        "kind": entry.kind,
        "size": entry.content.size if entry.content else 0,
        "digest": str(entry.content.digest) if entry.content else "",
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "target": entry.target,
    }


def _pair_json(pair: Pair) -> dict[str, str]:
    return {"name": pair.name, "before": pair.before, "after": pair.after}


def _sums(found: Difference) -> dict[str, int]:
    counts = {
        name: sum(change.letter == letter for change in found.files)
        for name, letter in (("added", "A"), ("modified", "M"), ("deleted", "D"))
    }
    return counts | {
        "size": sum(_size(change.after) - _size(change.before) for change in found.files),
        "config": len(found.config),
        "packages": len(found.packages or ()),
    }


def _size(entry: Entry | None) -> int:
    return entry.content.size if entry and entry.content else 0


def _print_changes(found: Difference) -> None:
    print_table(
        ("", "FILE", "SIZE", "WHAT"),
        [(c.letter, "/" + c.image_path, _sizes(c), _what(c)) for c in found.files],
    )
    for title, pairs in (("LIBRARY", found.libraries), ("PACKAGE", found.packages or ())):
        if pairs:
            print()
            rows = [(p.name, p.before or "-", p.after or "-") for p in pairs]
            print_table((title, "BEFORE", "AFTER"), rows)
    if found.config:
        print()
        rows = [(c.field, _value(c.before), _value(c.after)) for c in found.config]
        print_table(("CONFIG", "BEFORE", "AFTER"), rows)
    print()


def _sizes(change: FileChange) -> str:
    before, after = change.before, change.after
    if not (before and before.content) and not (after and after.content):
        return ""
    if before is None or after is None or _size(before) == _size(after):
        return format_size(_size(after or before))
    return f"{format_size(_size(before))} → {format_size(_size(after))}"


def _what(change: FileChange) -> str:
    before, after = change.before, change.after
    if before is None or after is None:
        entry = before or after
        return "" if entry is None or entry.kind == "file" else entry.kind
    facts = {
        "kind": f"{before.kind} → {after.kind}",
        "mode": f"mode {before.mode:04o} → {after.mode:04o}",
        "owner": f"owner {before.uid}:{before.gid} → {after.uid}:{after.gid}",
        "target": f"{before.target} → {after.target}",
    }
    return ", ".join(facts.get(name, name) for name in change.what)


def _value(value: object) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return cut(text, _SHOWN)


def _print_summary(found: Difference) -> None:
    sums = _sums(found)
    sign = "+" if sums["size"] >= 0 else "-"
    parts = [f"{sums[name]} {name}" for name in ("added", "modified", "deleted")]
    parts.append(f"{sign}{format_size(abs(sums['size']))}")
    text = f"{', '.join(parts)}; {sums['config']} of the configuration"
    print(text + ("" if found.packages is None else f", {sums['packages']} packages"))
