"""What `minid status` reads of the records: of all recipes at once, in a few statements."""

from __future__ import annotations

from dataclasses import dataclass

from minid.store.database import Database
from minid.store.records import RUN_COLUMNS, RunRow, run_row


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """The image of a recipe whose tags moved last, and the tags that point at it, as whole names;
    `moved` in seconds since the epoch."""

    manifest: str
    version: str
    tags: tuple[str, ...]
    moved: float


def last_runs(database: Database) -> dict[str, RunRow]:
    """The newest run of each recipe that is not one that only waits."""
    rows = database.query(
        f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN"  # noqa: S608
        " (SELECT max(id) FROM runs WHERE status <> 'queued' GROUP BY recipe)"
    )
    return {row.recipe: row for row in map(run_row, rows)}


def tagged_images(database: Database) -> dict[str, TaggedImage]:
    """What of each recipe is tagged now."""
    rows = database.query(
        "SELECT images.recipe, tags.manifest, images.version, tags.name, tags.moved FROM tags"
        " JOIN images ON images.manifest = tags.manifest ORDER BY tags.moved, tags.name"
    )
    found: dict[str, TaggedImage] = {}
    for recipe, manifest, version, name, moved in rows:
        known = found.get(str(recipe))
        tags = known.tags if known and known.manifest == manifest else ()
        when = float(str(moved))
        found[str(recipe)] = TaggedImage(str(manifest), str(version), (*tags, str(name)), when)
    return found
