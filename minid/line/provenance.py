"""What a payload's report says of where its files are from; `line.origins` reads it.

A report is a JSON object: `reasons`, `drops`, `stripped_bytes`, `linked_bytes`, `warnings`,
`environment`, `compression`; and since the report's version 2:

- `source`: the recipe's release: `name`, `version`, `url` (empty where a distribution gave the
  archive), `digest`, `patches`, `license`, `homepage`, `summary`, and since version 3 `program`
  (see `formats.release`);
- `needs`: the same of each library recipe below, with `of` (the recipe that needs it) and `static`
  (its install tree has archives of objects, `.a`);
- `taken`: by image path, of what was copied: `source` (its path there), and `need` (a recipe's
  name) or `package` (a place in `packages`); neither where nothing is known;
- `packages`: see `formats.package_record`.

Since version 3 also `archives`: the environment's packages with archives of objects that the build
could link, as `package` (a place in `packages`) and `into` (image paths of programs that are known
to have code of it).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from minid.formats.digest import Digest
from minid.formats.elf_static import linked_libc
from minid.formats.gzip_stream import COMPRESSION
from minid.formats.package_record import Package, dump_package
from minid.formats.release import archive_url, program_name
from minid.host.package_owners import find_owners
from minid.host.static_archives import find_archives
from minid.model import Content, Environment, Payload, Tree
from minid.recipe import Recipe
from minid.recipe_graph import libraries_below

_VERSION = 3
# On a machine that builds by itself much is installed that has nothing to do with a recipe.
_RUNTIME = re.compile(r"libc6?-dev|musl-dev|libgcc-[0-9.]+-dev|libstdc\+\+-[0-9.]+-dev")
_LIBC = {"gnu": "libc6-dev", "other": "musl-dev"}

Read = Callable[[Content], bytes]


@dataclass(frozen=True, slots=True)
class Materials:
    """What a payload was made of: the recipe and its environment, the install trees of its own
    `build.needs`, every recipe, and by its name the archive that each was built from, where that is
    known."""

    recipe: Recipe
    environment: Environment
    needs: Sequence[Tree]
    recipes: Mapping[str, Recipe]
    archives: Mapping[str, Digest]

    def release_of(self, name: str) -> dict[str, object]:
        """The release that the recipe of that name was built from."""
        recipe = self.recipe if name == self.recipe.name else self.recipes[name]
        source = recipe.source
        archive = self.archives.get(name, source.sha256)
        return {
            "name": recipe.name,
            "program": program_name(recipe),
            "version": source.version,
            "url": archive_url(source, archive),
            "digest": str(archive),
            "patches": list(source.patches),
            "license": recipe.license,
            "homepage": recipe.homepage,
            "summary": recipe.summary,
        }


def dump_report(payload: Payload, materials: Materials, read: Read) -> bytes:
    """The report on a payload."""
    environment = materials.environment
    report = {
        "version": _VERSION,
        "reasons": [asdict(reason) for reason in payload.reasons],
        "drops": [asdict(drop) for drop in payload.drops],
        "stripped_bytes": payload.stripped_bytes,
        "linked_bytes": payload.linked_bytes,
        "warnings": list(payload.warnings),
        "environment": {
            "name": environment.name,
            "kind": environment.kind,
            "digest": str(environment.digest),
            "packages": list(environment.packages),
        },
        "compression": COMPRESSION,
        "source": materials.release_of(materials.recipe.name),
        "needs": list(_needs(materials)),
        **_origins(payload, materials, read),
    }
    return json.dumps(report, sort_keys=True).encode()


def _needs(materials: Materials) -> Iterator[dict[str, object]]:
    """Every library recipe below, each once, the recipe's own first."""
    recipe = materials.recipe
    static = {
        name: any(entry.image_path.endswith(".a") for entry in tree.entries)
        for name, tree in zip(recipe.build.needs, materials.needs, strict=True)
    }
    for name, above in libraries_below(recipe, materials.recipes):
        facts = materials.release_of(name)
        yield facts | {"of": above, "static": static.get(name, False)}


def _origins(payload: Payload, materials: Materials, read: Read) -> dict[str, object]:
    """`taken`, `archives` and `packages`."""
    root, recipe = Path(materials.environment.root), materials.recipe
    copied = {item.source for item in payload.taken if item.need is None}
    objects = find_archives(root)
    owners = find_owners(root, sorted({*copied, *objects}))
    given = {owners[path] for path in objects if path in owners}
    linkable = [package for package in given if _is_linkable(package, materials)]
    shipped = {owners[path] for path in copied if path in owners}
    packages = sorted({*shipped, *linkable}, key=lambda item: (item.name, item.architecture))
    places = {package: place for place, package in enumerate(packages)}
    taken: dict[str, dict[str, object]] = {}
    for item in payload.taken:
        facts: dict[str, object] = {"source": item.source}
        if item.need is not None:
            facts["need"] = recipe.build.needs[item.need]
        elif item.source in owners:
            facts["package"] = places[owners[item.source]]
        taken[item.image_path] = facts
    programs = _static_programs(payload, materials, read)
    return {
        "taken": taken,
        "packages": [dump_package(package) for package in packages],
        "archives": [
            {"package": places[item], "into": programs.get(item.name, [])}
            for item in sorted(linkable, key=places.__getitem__)
        ],
    }


def _is_linkable(package: Package, materials: Materials) -> bool:
    if materials.environment.kind != "host":
        return True
    wanted = {name.partition("=")[0] for name in materials.recipe.build.packages}
    return package.name in wanted or bool(_RUNTIME.fullmatch(package.name))


def _static_programs(payload: Payload, materials: Materials, read: Read) -> dict[str, list[str]]:
    """By the package whose C library they carry inside, the programs that the build installed.

    A C library that is a recipe itself is told among the `needs`.
    """
    copied = {item.image_path for item in payload.taken}
    needs_libc = "musl" in materials.recipe.build.needs
    found: dict[str, list[str]] = {}
    for entry in payload.tree.entries:
        if entry.kind != "file" or entry.content is None or entry.image_path in copied:
            continue
        libc = linked_libc(read(entry.content)) if entry.mode & 0o111 else None
        if libc == "gnu" or (libc and not needs_libc):
            found.setdefault(_LIBC[libc], []).append(entry.image_path)
    return found
