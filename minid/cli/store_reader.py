"""Reading the store of a working folder, without its lock."""

from __future__ import annotations

from minid.config import Config
from minid.errors import UsageError
from minid.formats.digest import Digest
from minid.store.blobs import Blobs
from minid.store.records import Records


def open_records(config: Config) -> Records:
    """The records, read-only; UsageError where nothing was built yet."""
    if not config.paths.records.is_file():
        raise UsageError(
            f"{config.paths.state}: expected a store, got nothing", hint="`minid build` makes it"
        )
    return Records(config.paths.records, writable=False)


def open_blobs(config: Config) -> Blobs:
    """The blobs."""
    return Blobs(config.paths.store)


def find_image(records: Records, name: str) -> dict[str, object]:
    """The image that a person means: a tag, a recipe (its `latest` or newest), or a digest."""
    tags = {row.name: row.manifest for row in records.tags()}
    wanted = tags.get(name) or tags.get(f"{name}:latest")
    images = records.images()
    bare = name.removeprefix("sha256:")
    if wanted is None:
        matches = [
            str(image["manifest"])
            for image in images
            if image["recipe"] == name
            or (len(bare) >= 6 and str(image["manifest"]).startswith("sha256:" + bare))
        ]
        wanted = matches[0] if matches else None
    if wanted is None:
        known = f"one of {', '.join(tags)}" if tags else "and there is none yet"
        raise UsageError(
            f"expected an image, {known}, got {name!r}", hint="`minid build` makes images"
        )
    found = records.image(wanted)
    assert found is not None
    return found


def digest_at(image: dict[str, object], key: str) -> Digest:
    """A digest among an image's facts."""
    return Digest.parse(str(image[key]))
