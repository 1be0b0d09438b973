"""What is proved of a store: the ten invariants by name, what was found against them, and what a
proof has to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from minid.config import Config
from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.formats.tree import parse_tree
from minid.model import Tree
from minid.recipe import Recipe
from minid.store.blobs import Blobs
from minid.store.records import Records

INVARIANTS: Mapping[str, str] = {
    "content": "each blob is a read-only file with one name, of the bytes that it is named by",
    "rows": "each blob that a record names is there, and each record can be read",
    "files": "nothing lies in the store that minid did not put there",
    "closure": "each tag leads to a manifest, a configuration and layers that fit together",
    "tags": "index.json says what the records say, and each tag's history has no gap",
    "provenance": "each image tells its recipe, archive, environment and tools",
    "layers": "layers are sorted, without devices, whiteouts, times to come or rights unasked for",
    "elf": "each program finds its libraries inside its image",
    "database": "the records are sound, and what is marked as running runs",
    "quiescence": "no mount, process, lease or place is without an owner, and nothing that is "
    "needed would be collected",
}

Detail = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: against which invariant, where, and what was expected
    and found. `blob` is the one that is damaged or missing."""

    invariant: str
    where: str
    text: str
    blob: Digest | None = None


@dataclass(frozen=True)
class Case:
    """A store to be proved. `images` are the records to look at, with the tags of each; `whole`
    says that these are all, and that the store's own files are looked at too.

    `bad` collects blobs with which something is wrong, so that it is told once; `spoiled` those of
    them that were found by reading for another invariant.
    """

    config: Config
    blobs: Blobs
    records: Records
    recipes: Mapping[str, Recipe]
    machine: str
    images: Mapping[str, tuple[Detail, tuple[str, ...]]]
    contents: bool = False
    whole: bool = True
    progress: Callable[[int, int], None] = lambda _done, _all: None
    bad: set[Digest] = field(default_factory=set)
    spoiled: set[Digest] = field(default_factory=set)

    def usable(self, *digests: Digest) -> bool:
        """Whether nothing is known against these blobs."""
        return self.bad.isdisjoint(digests)

    def read(self, digest: Digest) -> bytes:
        """A blob's bytes, which are those of its name; StoreError otherwise."""
        try:
            return self.blobs.read(digest)
        except StoreError:
            if self.blobs.has(digest):
                self.spoil(digest)
            raise

    def spoil(self, digest: Digest) -> None:
        """Have it told that a blob's bytes are not its own."""
        self.bad.add(digest)
        self.spoiled.add(digest)

    def read_json(self, digest: Digest) -> dict[str, object]:
        """A blob that is a JSON object; StoreError for anything else."""
        try:
            value = json.loads(self.read(digest))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"blob {digest}: expected JSON, got other bytes") from error
        if not isinstance(value, dict):
            raise StoreError(f"blob {digest}: expected a JSON object, got another value")
        return value

    def tree(self, digest: Digest) -> Tree:
        """A tree of the store; StoreError for anything else."""
        try:
            return parse_tree(self.read(digest))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"blob {digest}: expected a tree, got other bytes") from error

    @cached_property
    def tagged(self) -> dict[str, tuple[Detail, tuple[str, ...]]]:
        """The images with a tag."""
        return {key: value for key, value in self.images.items() if value[1]}
