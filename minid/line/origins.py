"""Where each file of an image is from, told from what its build recorded.

`payload`: a recipe's own build installed it. `need`: it was copied from a library recipe,
`package`: from the environment, whose package is known, `environment`: whose package is not.
`rootfs`: the recipe's `[rootfs]` put it there. `base`: the image below has it. `arrived`: nothing
was recorded, as of images that were loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from minid.errors import ComposeError, StoreError, UsageError
from minid.formats.digest import Digest
from minid.formats.elf_closure import why_chain
from minid.formats.package_record import Package, parse_package
from minid.formats.rootfs import Rootfs
from minid.formats.tree import parents, parse_tree
from minid.model import Entry, Reason, Tree
from minid.store.blobs import Blobs
from minid.store.records import Records

Kind = Literal["payload", "need", "package", "environment", "rootfs", "base", "arrived"]
_DEEPEST = 50  # images on images


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry is from. `recipe` and `version` are of the image that it came with, and with
    kind `base` those of the image below that has it; `image` is that one's manifest digest.

    `name` is the library recipe, or the package with its version in `package`. `keys` are the
    recipe's keys below `rootfs` that placed or changed it.
    """

    kind: Kind
    recipe: str = ""
    version: str = ""
    image: str = ""
    name: str = ""
    package: Package | None = None
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In a few words."""
        keys = ", ".join(f"[rootfs] {key}" for key in self.keys)
        if self.kind == "package" and self.package:
            text = f"package {self.package.name} {self.package.version}"
        elif self.kind == "need":
            text = f"recipe {self.name}"
        elif self.kind == "environment":
            text = "the environment, no package"
        elif self.kind == "base":
            text = f"base {self.recipe or self.image[7:19]} {self.version}".rstrip()
        elif self.kind == "arrived":
            text = "as it came"
        else:
            text = f"recipe {self.recipe}"
        if self.kind == "rootfs":
            return f"{text}, {keys or '[rootfs]'}"
        return f"{text}, then {keys}" if keys else text


class Story:
    """What is recorded of an image, and of the images that it stands on.

    `facts` is its record. What is not in the store any more counts as not recorded.
    """

    def __init__(
        self, facts: Mapping[str, object], records: Records, blobs: Blobs, depth: int = 0
    ) -> None:
        self.facts = facts
        self.recipe = str(facts.get("recipe", ""))
        self.version = str(facts.get("version", ""))
        self.manifest = str(facts["manifest"])
        self._records = records
        self._blobs = blobs
        self._depth = depth

    @cached_property
    def tree(self) -> Tree:
        """The image's files."""
        return parse_tree(self._blobs.read(Digest.parse(str(self.facts["tree"]))))

    @cached_property
    def root(self) -> Rootfs:
        """The image's files, by path."""
        return Rootfs(self.tree.entries)

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """What packing reported; see `line.provenance`."""
        try:
            found = json.loads(self._blobs.read(Digest.parse(str(self.facts["report"]))))
        except (StoreError, KeyError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The image's configuration."""
        found = json.loads(self._blobs.read(Digest.parse(str(self.facts["config"]))))
        return found if isinstance(found, dict) else {}

    @cached_property
    def reasons(self) -> Mapping[str, Reason]:
        """Why each file of the payload is there, by path."""
        return {item["image_path"]: Reason(**item) for item in self.report.get("reasons", ())}

    @cached_property
    def packages(self) -> Sequence[Package]:
        """The packages that files were copied from."""
        return [parse_package(value) for value in self.report.get("packages", ())]

    @cached_property
    def linkable(self) -> Sequence[tuple[Package, tuple[str, ...]]]:
        """The packages of the environment whose archives of objects the build could link, each with
        the programs that are known to have code of it."""
        return [
            (self.packages[int(item["package"])], tuple(str(path) for path in item["into"]))
            for item in self.report.get("archives") or ()
        ]

    @cached_property
    def base(self) -> Story | None:
        """The image below, if there is one and it is known."""
        found = self._base_facts() if self._depth < _DEEPEST else None
        if found is None:
            return None
        story = Story(found, self._records, self._blobs, self._depth + 1)
        try:
            _ = story.tree
        except StoreError:
            return None
        return story

    def _base_facts(self) -> Mapping[str, object] | None:
        if "base" in self.facts:
            named = str(self.facts["base"])
            return self._records.image(named) if named else None
        # Images of before that was recorded: the one with the most of the same layers.
        own = _diff_ids(self.facts)
        best: Mapping[str, object] | None = None
        for other in self._records.images():
            layers = _diff_ids(other)
            known = len(_diff_ids(best)) if best else 0
            if known < len(layers) < len(own) and own[: len(layers)] == layers:
                best = other
        return best

    @cached_property
    def _payload_folders(self) -> frozenset[str]:
        return frozenset(folder for path in self.reasons for folder in parents(path))

    @cached_property
    def _keys(self) -> Mapping[str, tuple[str, ...]]:
        found = self.facts.get("keys")
        table = found if isinstance(found, dict) else {}
        return {path: tuple(str(key) for key in keys) for path, keys in table.items()}

    def entry(self, image_path: str) -> Entry | None:
        """What lies at a path, not followed; a hard link as the file that it is a name of."""
        return self.root.file(image_path) or self.root.get(image_path)

    def origin(self, image_path: str) -> Origin:
        """Where the entry at that path is from."""
        own = Origin("arrived", self.recipe, self.version, self.manifest)
        keys = self._keys.get(image_path, ())
        below = self.base.entry(image_path) if self.base else None
        here = self.entry(image_path)
        if below is not None and here is not None and not keys and _same(below, here):
            return self._from_base(image_path)
        if image_path in self.reasons:
            return self._from_payload(replace(own, kind="payload", keys=keys), image_path)
        if keys:
            return replace(own, kind="rootfs", keys=keys)
        if below is not None:
            return self._from_base(image_path)
        if image_path in self._payload_folders:
            return replace(own, kind="payload")
        # The reports of before had reasons, and nothing about keys.
        return replace(own, kind="rootfs") if self.reasons and "keys" not in self.facts else own

    def _from_base(self, image_path: str) -> Origin:
        assert self.base is not None
        found = self.base.origin(image_path)
        return (
            found
            if found.kind == "base"
            else replace(
                Origin("base"), recipe=found.recipe, version=found.version, image=found.image
            )
        )

    def _from_payload(self, own: Origin, image_path: str) -> Origin:
        file = self._behind(image_path)
        taken = (self.report.get("taken") or {}).get(file)
        if taken is None:
            return own
        if "need" in taken:
            return replace(own, kind="need", name=str(taken["need"]))
        if "package" in taken:
            package = self.packages[int(taken["package"])]
            return replace(own, kind="package", name=package.name, package=package)
        return replace(own, kind="environment")

    def _behind(self, image_path: str) -> str:
        """The file that a link of the closure was made for."""
        seen = set()
        while image_path in self.reasons and self.reasons[image_path].how == "link":
            if image_path in seen:
                break
            seen.add(image_path)
            image_path = self.reasons[image_path].via
        return image_path

    def holder(self, image_path: str) -> Story:
        """The image, this one or one below, whose build put the entry there."""
        origin = self.origin(image_path)
        story = self
        while origin.kind == "base" and story.manifest != origin.image and story.base:
            story = story.base
        return story

    def chain(self, image_path: str) -> list[Reason]:
        """Why a file of the payload is there, back to what was installed or listed."""
        return why_chain(self.reasons, image_path)

    def resolve(self, path: str, *, follow_last: bool) -> str:
        """The image path behind a path as people write it; UsageError for a loop of links."""
        try:
            return self.root.resolve(path.lstrip("/"), follow_last=follow_last)
        except ComposeError as error:
            raise UsageError(error.message) from None


def _diff_ids(facts: Mapping[str, object]) -> list[str]:
    layers = facts.get("layers")
    return [str(layer["diff_id"]) for layer in layers] if isinstance(layers, list) else []


def _same(below: Entry, here: Entry) -> bool:
    if below.kind != here.kind or below.target != here.target:
        return False
    digests = [entry.content.digest if entry.content else None for entry in (below, here)]
    owners = [(entry.mode, entry.uid, entry.gid) for entry in (below, here)]
    return digests[0] == digests[1] and owners[0] == owners[1]
