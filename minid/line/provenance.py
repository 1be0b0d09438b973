"""What a payload's report says of where its files are from; `workbench` reads it.

A report is a JSON object: `reasons`, `drops`, `stripped_bytes`, `linked_bytes`, `warnings`,
`environment`, `compression`; and since the report's version 2:

- `source`: the recipe's release: `name`, `version`, `url` (empty where a distribution gave the
  archive), `digest`, `patches`, `license`, `homepage`, `summary`;
- `needs`: the same of each library recipe below, with `of` (the recipe that needs it) and `static`
  (its install tree has archives of objects, `.a`);
- `taken`: by image path, of what was copied: `source` (its path there), and `need` (a recipe's
  name) or `package` (a place in `packages`); neither where nothing is known;
- `packages`: see `formats.package_record`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from minid.formats.digest import Digest
from minid.formats.gzip_stream import COMPRESSION
from minid.formats.package_record import dump_package
from minid.host.package_owners import find_owners
from minid.model import Environment, Payload, Tree
from minid.recipe import Recipe, expand

_VERSION = 2


def dump_report(
    payload: Payload,
    environment: Environment,
    *,
    recipe: Recipe,
    archive: Digest,
    recipes: Mapping[str, Recipe],
    needs: Sequence[Tree],
) -> bytes:
    """The report on a payload. `needs` are the install trees of the recipe's own `build.needs`."""
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
        "source": release_facts(recipe, archive),
        "needs": list(_needs(recipe, recipes, needs)),
        **_origins(payload, environment, recipe),
    }
    return json.dumps(report, sort_keys=True).encode()


def release_facts(recipe: Recipe, archive: Digest) -> dict[str, object]:
    """The release that a recipe is built from."""
    source = recipe.source
    urls = {item.sha256: item.url for item in source.alternatives} | {source.sha256: source.url}
    return {
        "name": recipe.name,
        "version": source.version,
        "url": expand(urls.get(archive, ""), source.version),
        "digest": str(archive),
        "patches": list(source.patches),
        "license": recipe.license,
        "homepage": recipe.homepage,
        "summary": recipe.summary,
    }


def _needs(
    recipe: Recipe, recipes: Mapping[str, Recipe], trees: Sequence[Tree]
) -> Iterator[dict[str, object]]:
    """Every library recipe below, each once, the recipe's own first."""
    static = {
        name: any(entry.image_path.endswith(".a") for entry in tree.entries)
        for name, tree in zip(recipe.build.needs, trees, strict=True)
    }
    waiting = [(recipe.name, name) for name in recipe.build.needs]
    seen = set()
    while waiting:
        above, name = waiting.pop(0)
        if name in seen or name not in recipes:
            continue
        seen.add(name)
        found = recipes[name]
        facts = release_facts(found, found.source.sha256)
        yield facts | {"of": above, "static": static.get(name, False)}
        waiting += [(name, other) for other in found.build.needs]


def _origins(payload: Payload, environment: Environment, recipe: Recipe) -> dict[str, object]:
    """`taken` and `packages`."""
    copied = {item.source for item in payload.taken if item.need is None}
    owners = find_owners(Path(environment.root), sorted(copied))
    packages = sorted(set(owners.values()), key=lambda item: (item.name, item.architecture))
    places = {package: place for place, package in enumerate(packages)}
    taken: dict[str, dict[str, object]] = {}
    for item in payload.taken:
        facts: dict[str, object] = {"source": item.source}
        if item.need is not None:
            facts["need"] = recipe.build.needs[item.need]
        elif item.source in owners:
            facts["package"] = places[owners[item.source]]
        taken[item.image_path] = facts
    return {"taken": taken, "packages": [dump_package(package) for package in packages]}
