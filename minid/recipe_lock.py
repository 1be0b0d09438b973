"""The lock record: to which release minid has moved a recipe whose file stays the user's.

A lock was decided for one `[source]` of the file. When the user edits version or digest there, the
file speaks again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from minid.formats.digest import Digest
from minid.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Lock:
    """A release that a recipe was moved to. `of_version` and `of_sha256` are what the recipe's
    file said when that was decided; `pinned` says that a person chose it."""

    version: str
    url: str
    sha256: Digest
    of_version: str
    of_sha256: Digest
    pinned: bool = False

    def as_json(self, recipe: str) -> dict[str, str]:
        """Where that recipe was moved to, as JSON values."""
        return {
            "recipe": recipe,
            "version": self.version,
            "url": self.url,
            "sha256": str(self.sha256),
        }


def apply_lock(recipe: Recipe, lock: Lock | None) -> Recipe:
    """The recipe as it is to be built: its file's source, or the release it was moved to.

    Alternatives and the distribution's package hold the bytes of the file's own version, so a
    moved recipe has none.
    """
    source = recipe.source
    if lock is None or (source.version, source.sha256) != (lock.of_version, lock.of_sha256):
        return recipe
    if (lock.version, lock.sha256) == (source.version, source.sha256):
        return recipe
    moved = replace(
        source,
        version=lock.version,
        url=lock.url,
        sha256=lock.sha256,
        distro=None,
        alternatives=(),
        released=None,
        moved_from=(source.version, source.url),
    )
    return replace(recipe, source=moved)
