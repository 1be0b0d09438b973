"""Reading the store of a working folder, without its lock."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from minid.cli.folder import load_folder_config
from minid.config import Config
from minid.errors import UsageError
from minid.formats.digest import Digest
from minid.store.blobs import Blobs
from minid.store.meaning import find_tag
from minid.store.records import Records

_SHOWN = 10  # tags, of thousands


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
    tag = find_tag(records, name)
    wanted = tag.manifest if tag else None
    bare = name.removeprefix("sha256:")
    if wanted is None:
        matches = [
            str(image["manifest"])
            for image in records.images()
            if image["recipe"] == name
            or (len(bare) >= 6 and str(image["manifest"]).startswith("sha256:" + bare))
        ]
        wanted = matches[0] if matches else None
    if wanted is None:
        tags = [row.name for row in records.tags()]
        shown = tags[:_SHOWN] + ([f"{len(tags) - _SHOWN} more"] if len(tags) > _SHOWN else [])
        known = f"one of {', '.join(shown)}" if tags else "and there is none yet"
        raise UsageError(
            f"expected an image, {known}, got {name!r}", hint="`minid build` makes images"
        )
    found = records.image(wanted)
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What the records have of an image, with the records and blobs that it is in."""

    facts: dict[str, object]
    records: Records
    blobs: Blobs

    def read(self, key: str) -> bytes:
        """The blob whose digest is among the facts under this key."""
        return self.blobs.read(Digest.parse(str(self.facts[key])))


def add_image_argument(parser: argparse.ArgumentParser) -> None:
    """IMAGE, the same for every command about one."""
    parser.add_argument("image", metavar="IMAGE", help="a tag, a recipe, or a digest")


def open_image(arguments: argparse.Namespace) -> StoredImage:
    """The image that the command line names, in the working folder's store."""
    config = load_folder_config(arguments)
    records = open_records(config)
    return StoredImage(find_image(records, arguments.image), records, open_blobs(config))
