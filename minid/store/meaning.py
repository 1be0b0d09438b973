"""Which tag a person means."""

from __future__ import annotations

from minid.store.records import Records, TagRow


def find_tag(records: Records, name: str) -> TagRow | None:
    """The tag that a name without more stands for: the one of that name, else `NAME:latest`.

    Where `NAME:latest` is at the image of another recipe, as with two series of a program of which
    the older has the plain name, the tag at the image of recipe NAME that moved last, if there is
    one. None where no tag is meant.
    """
    tags = {row.name: row for row in records.tags()}
    latest = tags.get(f"{name}:latest")
    if name in tags or latest is None:
        return tags.get(name)
    if _recipe(records, latest) in ("", name):
        return latest
    own = [row for row in tags.values() if _recipe(records, row) == name]
    return max(own, key=lambda row: row.moved, default=latest)


def _recipe(records: Records, tag: TagRow) -> str:
    """The recipe of a tag's image; empty for an image from elsewhere."""
    return str((records.image(tag.manifest) or {}).get("recipe", ""))
