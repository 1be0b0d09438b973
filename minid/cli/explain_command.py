"""`minid explain`: which inputs of a recipe changed, and which stages that redoes; what people did
to its images; where an image without a recipe came from."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from minid.cli.folder import Folder, add_json_option, assess_folder, load_folder, need_recipes
from minid.cli.store_reader import find_image, open_blobs, open_records
from minid.cli.words import ago, print_json, printable
from minid.errors import UsageError
from minid.line.planning import Standing
from minid.store.edits import Edits
from minid.store.records import Records

# The first stage that an input shapes; the ones behind it follow.
_STAGE_OF = {
    "source": "compile",
    "build": "compile",
    "needs": "compile",
    "environment": "compile",
    "contents": "pack",
    "rootfs": "compose",
    "base": "compose",
    "image": "image",
    "summary": "image",
    "license": "image",
    "homepage": "image",
    "check": "image",
    "lint": "lint",
}
_STAGES = ("compile", "pack", "compose", "image", "lint", "check", "publish")
_SHOWN = 100


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid explain`."""
    parser.add_argument("name", metavar="NAME", help="a recipe, or an image")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """What would be redone now and why, and what caused the last run."""
    folder = load_folder(arguments)
    image = _foreign_image(folder, arguments.name)
    if image is not None:
        _explain_image(arguments, image, open_records(folder.config))
        return 0
    (name,) = need_recipes(folder, [_recipe_of(folder, arguments.name)])
    records = open_records(folder.config)
    standings = assess_folder(folder, [name], open_blobs(folder.config), records)
    facts = _facts(name, standings, records)
    if arguments.json:
        print_json(facts)
    else:
        _print_facts(name, facts)
    return 0


def _stored_image(folder: Folder, name: str) -> dict[str, object] | None:
    """The image of that name, where the name is no recipe's; None where there is none."""
    if name in folder.recipes or not folder.config.paths.records.is_file():
        return None
    try:
        return find_image(open_records(folder.config), name)
    except UsageError:
        return None


def _recipe_of(folder: Folder, name: str) -> str:
    image = _stored_image(folder, name)
    return str(image["recipe"]) if image else name


def _foreign_image(folder: Folder, name: str) -> dict[str, object] | None:
    image = _stored_image(folder, name)
    return image if image and not image["recipe"] else None


def _explain_image(
    arguments: argparse.Namespace, image: dict[str, object], records: Records
) -> None:
    """An image that nobody's recipe made."""
    tags = {row.name for row in records.tags() if row.manifest == image["manifest"]}
    edits = _edits(tags, records)
    origin = image.get("origin")
    if arguments.json:
        facts = {"recipe": "", "manifest": image["manifest"], "origin": origin, "edits": edits}
        print_json(facts)
        return
    words = " from ".join(str(part) for part in origin.values()) if isinstance(origin, dict) else ""
    print(printable(f"{arguments.name}: no recipe made it{': ' if words else ''}{words}"))
    _print_edits(edits)


def _edits(tags: Collection[str], records: Records) -> list[dict[str, object]]:
    """The edits that moved these tags of the store last, each with the tags."""
    ledger = Edits(records.database)
    found: dict[int, list[str]] = {}
    for tag in sorted(tags):
        moves = records.publications(tag, "store", limit=1)
        if moves and moves[0].edit:
            found.setdefault(moves[0].edit, []).append(tag)
    rows = [(row, names) for number, names in found.items() if (row := ledger.edit(number))]
    return [
        {
            "id": row.id,
            "kind": row.kind,
            "who": row.who,
            "time": row.time,
            "message": row.message,
            "kept": row.kept,
            "tags": names,
        }
        for row, names in rows
    ]


def _print_edits(edits: object) -> None:
    for edit in edits if isinstance(edits, list) else ():
        why = f": {edit['message']}" if edit["message"] else ""
        kept = ", kept" if edit["kept"] else ""
        text = f"edit {edit['id']}, {edit['kind']} by {edit['who']} {ago(edit['time'])}{kept}{why}"
        print(printable(f"{', '.join(edit['tags'])}: {text}"))


def stages_of(changes: tuple[str, ...]) -> tuple[str, ...]:
    """The stages that a change of these inputs redoes."""
    first = min(
        (_STAGES.index(_STAGE_OF.get(name.split(".")[0], "compile")) for name in changes),
        default=len(_STAGES),
    )
    return _STAGES[first:]


def _facts(name: str, standings: dict[str, Standing], records: Records) -> dict[str, object]:
    standing = standings[name]
    before = records.inputs(name)
    now = standing.plan.inputs if standing.plan else {}
    built = [row for row in records.runs(name) if row.status != "unchanged"]
    last = built[0] if built else None
    named = {row.name: records.image(row.manifest) for row in records.tags()}
    return {
        "recipe": name,
        "current": standing.current,
        "environment_missing": standing.environment is None,
        "changes": [
            {"input": item, "before": before.get(item), "now": now.get(item)}
            for item in standing.changes
        ]
        if before
        else [],
        "redoes": list(stages_of(standing.changes) if before else _STAGES),
        "pending": list(standing.pending),
        "below": [other for other, item in standings.items() if other != name and not item.current],
        "edits": _edits(
            {tag for tag, image in named.items() if image and image["recipe"] == name}, records
        ),
        "last_run": {
            "id": last.id,
            "status": last.status,
            "reason": last.reason,
            "changes": list(last.changes),
            "started": last.started,
            "error": last.error,
        }
        if last
        else None,
    }


def _print_facts(name: str, facts: dict[str, object]) -> None:
    changes = facts["changes"]
    if facts["current"]:
        print(f"{name}: up to date")
    elif isinstance(changes, list) and changes:
        print(f"{name}: would redo {', '.join(_texts(facts['redoes']))}, because of:")
        for change in changes:
            print(f"  {change['input']}")
            print(f"    before: {_short(change['before'])}")
            print(f"    now:    {_short(change['now'])}")
    elif facts["environment_missing"]:
        print(f"{name}: its environment has yet to be made")
    elif below := _texts(facts["below"]):
        print(f"{name}: stands on {', '.join(below)}, which is not up to date")
    elif pending := _texts(facts["pending"]):
        print(f"{name}: missing at {', '.join(pending)}")
    else:
        print(f"{name}: no good run yet: would do {', '.join(_STAGES)}")
    _print_edits(facts["edits"])
    last = facts["last_run"]
    if isinstance(last, dict):
        print(f"last run: {last['id']}, {last['status']} {ago(last['started'])}: {last['reason']}")
        if last["error"]:
            print(f"  {printable(str(last['error']).splitlines()[0])}")


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _short(value: object) -> str:
    text = "nothing" if value is None else printable(str(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
