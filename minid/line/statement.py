"""The provenance of an image, from what was recorded when it was made. Nothing is guessed: what
the records have not is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from minid import __version__
from minid.formats.bom import image_purl
from minid.formats.digest import Digest
from minid.formats.image_edit import dump_change
from minid.formats.in_toto import Provenance, Resource
from minid.formats.oci import rfc3339
from minid.line.edits import chain_of
from minid.line.origins import Story
from minid.store.blobs import Blobs
from minid.store.edits import Edits
from minid.store.records import Records

BUILDER = "https://minid.org/builder/v1"
FROM_RECIPE = "https://minid.org/provenance/recipe/v1"
FROM_ELSEWHERE = "https://minid.org/provenance/elsewhere/v1"

# Inputs that are plain texts; all others are JSON (see `steps.plan`).
_TEXTS = {"source.version", "source.archive", "environment", "base"}
_TEXTS |= {"summary", "license", "homepage"}
_INTERNAL = {"minid", "environment", "base"}
# What is tried and looked at shapes no byte, and may hold passwords of trials.
_DIGESTS = {"check", "lint"}


def make_provenance(
    story: Story, records: Records, blobs: Blobs, archive: Resource | None = None
) -> Provenance:
    """How the image of `story` came to be. `archive` is the file that it lies in, a further
    subject."""
    subjects = (_image(story), *((archive,) if archive else ()))
    if not story.recipe:
        return _from_elsewhere(story, subjects, records)
    inputs = _inputs(story, blobs)
    built = story.facts.get("built")
    run: Mapping[str, Any] = built if isinstance(built, dict) else {}
    edits = _edits(story, records)
    external, internal = _parameters(story, inputs)
    finished = float(run.get("finished", 0))
    if edits:
        external |= {"edits": edits[0]}
        finished = edits[1]
    return Provenance(
        subjects=subjects,
        build_type=FROM_RECIPE,
        external=external,
        internal=internal,
        materials=tuple(_materials(story, inputs, records, blobs)),
        builder=BUILDER,
        versions=_versions(inputs),
        invocation=_invocation(run),
        started=float(run.get("started", 0)),
        finished=finished,
        byproducts=tuple(_byproducts(story, run)),
    )


def _invocation(run: Mapping[str, Any]) -> str:
    """The log's name without its ending, and since when: no other run of any store has both."""
    name = str((run.get("log") or {}).get("name", "")).removesuffix(".log")
    return f"{name}@{rfc3339(int(run['started']))}" if name else ""


def _image(story: Story) -> Resource:
    tags = story.facts.get("tags")
    names = [str(tag) for tag in tags] if isinstance(tags, list) else []
    own = f"{story.recipe}:{story.version}"
    name = own if story.recipe or not names else names[0]
    manifest = Digest.parse(story.manifest)
    architecture = str(story.config.get("architecture", ""))
    purl = image_purl(name.rpartition(":")[0] or "image", manifest, architecture)
    return Resource(name, manifest, purl)


def _inputs(story: Story, blobs: Blobs) -> Mapping[str, str]:
    """The named inputs of the image's plan; empty for what an older minid made.

    StoreError where they are damaged: half a provenance would not be told from a whole one.
    """
    if "plan" not in story.facts:
        return {}
    found = json.loads(blobs.read(Digest.parse(str(story.facts["plan"]))))
    return {str(key): str(value) for key, value in found.items()}


def _value(name: str, text: str) -> object:
    if name in _DIGESTS:
        return str(Digest.of(text.encode()))
    if name in _TEXTS or name.startswith(("needs.", "rootfs.files:")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parameters(
    story: Story, inputs: Mapping[str, str]
) -> tuple[dict[str, object], dict[str, object]]:
    """What the recipe says, and what minid brought along."""
    recipe: dict[str, object] = {"name": story.recipe, "version": story.version}
    if inputs:
        recipe["digest"] = str(story.facts["plan"])
    internal: dict[str, object] = {}
    for name, text in inputs.items():
        if name in _INTERNAL or name.startswith("needs."):
            internal[name] = _value(name, text)
        else:
            recipe[name] = _value(name, text)
    if compression := story.report.get("compression"):
        internal["compression"] = compression
    return {"recipe": recipe}, internal


def _versions(inputs: Mapping[str, str]) -> dict[str, str]:
    """Of minid, and of the stages that shape bytes."""
    stages = json.loads(inputs["minid"]) if "minid" in inputs else {}
    found = {name: str(value) for name, value in stages.items() if isinstance(value, int)}
    return {"minid": __version__, **found}


def _materials(
    story: Story, inputs: Mapping[str, str], records: Records, blobs: Blobs
) -> Iterator[Resource]:
    source = story.report.get("source")
    if source:
        yield _release(source, {"recipe": story.recipe})
    for name, digest in json.loads(inputs.get("source.patches", "[]")):
        yield Resource(str(name), Digest(str(digest)), annotations={"role": "patch"})
    for name, text in inputs.items():
        if name.startswith("rootfs.files:"):
            file = name.partition(":")[2]
            yield Resource(file, Digest(text), annotations={"role": "file of the recipe"})
    for need in story.report.get("needs") or ():
        facts = {"recipe": need["name"], "needed_by": need["of"], "role": "library"}
        key = inputs.get(f"needs.{need['name']}")
        yield _release(need, facts | ({"compiled": key} if key else {}))
    environment = story.report.get("environment")
    if environment:
        yield Resource(
            f"environment {environment.get('name', '')}".strip(),
            Digest.parse(str(environment["digest"])),
            annotations={
                "role": "environment",
                "kind": environment.get("kind", ""),
                "packages": environment.get("packages", []),
            },
        )
    if base := story.facts.get("base"):
        below = records.image(str(base)) or {"manifest": base}
        image = _image(Story(below, records, blobs)) if "config" in below else None
        digest = Digest.parse(str(base))
        yield Resource(
            image.name if image else "base",
            digest,
            image.uri if image else "",
            annotations={"role": "base"},
        )


def _release(facts: Mapping[str, Any], annotations: Mapping[str, object]) -> Resource:
    url = str(facts.get("url", ""))
    name = url.rpartition("/")[2] or f"{facts.get('program') or facts['name']} {facts['version']}"
    digest = Digest.parse(str(facts["digest"])) if facts.get("digest") else None
    return Resource(name, digest, url, annotations={"role": "source", **annotations})


def _byproducts(story: Story, run: Mapping[str, Any]) -> Iterator[Resource]:
    log = run.get("log")
    if log:
        size = {"bytes": log["size"], "role": "log of the run until the image was made"}
        digest = Digest.parse(str(log["digest"]))
        yield Resource(str(log["name"]), digest, media_type="text/plain", annotations=size)
    if "report" in story.facts:
        digest = Digest.parse(str(story.facts["report"]))
        role = {"role": "why each file is there"}
        yield Resource("report", digest, media_type="application/json", annotations=role)


def _edits(story: Story, records: Records) -> tuple[list[object], float] | None:
    """What people changed in the recipe's image, and when the last of it."""
    chain = chain_of(Edits(records.database), story.manifest)
    if not chain.steps:
        return None
    told: list[object] = [
        {"change": dump_change(step.change), "of": chain.root, "by": step.row.who}
        for step in chain.steps
    ]
    return told, max(step.row.time for step in chain.steps)


def _from_elsewhere(story: Story, subjects: tuple[Resource, ...], records: Records) -> Provenance:
    """Of an image that no recipe made minid knows only how it came."""
    found = story.facts.get("origin")
    origin: Mapping[str, Any] = found if isinstance(found, dict) else {}
    kind, came_from = str(origin.get("kind", "unknown")), str(origin.get("from", ""))
    if kind != "pull":  # the folders of whoever loaded it are nobody's business
        came_from = PurePosixPath(came_from).name
    row = Edits(records.database).made(story.manifest)
    return Provenance(
        subjects=subjects,
        build_type=FROM_ELSEWHERE,
        external={"kind": kind, "from": came_from},
        builder=BUILDER,
        versions={"minid": __version__},
        invocation=f"edit-{row.id}" if row else "",
        finished=row.time if row else 0,
    )
