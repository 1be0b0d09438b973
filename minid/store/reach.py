"""Which blobs a row of the records stands on, and which rows and blobs are to stay.

What is kept: every image with a tag; of each recipe the newest images, as many as `Retention` says,
and those that are young; what these were edited from, so that it can be undone, and what they stand
on; the results of the runs that made them and of each recipe's last runs; and the archives of all
of these.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from minid.config import Keeping
from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.store.database import Database

# `archive` is not among what a result needs: it says where it came from.
_ONE = ("tree", "report", "manifest", "config", "plan")
_OPEN = "status IN ('queued', 'running')"

Detail = Mapping[str, object]


def blobs_of(row: Detail) -> tuple[Digest, ...]:
    """The blobs that a stage's output or the record of an image names, each once.

    ValueError for a row that minid did not write.
    """
    return tuple(dict.fromkeys(Digest.parse(text) for text in _names(row)))


def _names(row: Detail) -> Iterator[str]:
    yield from (str(row[key]) for key in _ONE if row.get(key))
    blobs, layers = row.get("blobs"), row.get("layers")
    yield from (str(item) for item in blobs) if isinstance(blobs, list) else ()
    if isinstance(row.get("diff_id"), str):  # a layer
        yield from (str(row["diff_id"]), str(row["digest"]))
    for layer in layers if isinstance(layers, list) else ():
        yield from (str(layer["diff_id"]), str(layer["digest"]))


def parse_row(text: str) -> Detail | None:
    """A row's JSON as a record whose blobs can be told; None for anything else."""
    try:
        value = json.loads(text)
        blobs_of(value)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept: `usual`, or what a recipe says for itself. `now` in seconds since the
    epoch. `known` are the names of all recipes that there are, None where that is not known;
    `blobs` what something outside the records needs, such as the archives of these recipes."""

    usual: Keeping
    now: float
    own: Mapping[str, Keeping] = field(default_factory=dict)
    known: frozenset[str] | None = None
    blobs: frozenset[Digest] = frozenset()

    def of(self, recipe: str) -> Keeping:
        """What holds for a recipe's images; those of no recipe are kept by age alone."""
        return self.own.get(recipe, self.usual)


@dataclass(frozen=True, slots=True)
class Reached:
    """What stays: manifest digests, keys of results, numbers of runs, and blobs."""

    images: frozenset[str]
    results: frozenset[str]
    runs: frozenset[int]
    blobs: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class _Images:
    details: Mapping[str, Detail]
    rows: tuple[tuple[str, str, float], ...]  # manifest, recipe, created; the newest first
    tagged: frozenset[str]


def find_reached(database: Database, retention: Retention) -> Reached:
    """What is to stay by the records as they are. Only reads; several queries, so that the caller
    sees to it that nobody wrote meanwhile (`Database.version`). StoreError for a row that is not
    minid's: nothing may go then."""
    try:
        return _find_reached(database, retention)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{database.path}: expected rows of minid, got one that cannot be read: {error}",
            hint="`minid verify --repair` drops it",
        ) from error


def _find_reached(database: Database, retention: Retention) -> Reached:
    images = _load_images(database)
    kept = _keep_images(images, retention)
    kept |= _edited_from(database, kept, images)
    kept |= _below(kept, images)
    runs = _keep_runs(database, kept, retention)
    keys = _stage_keys(database, runs)
    blobs = set(retention.blobs) | _archives_ahead(database, retention)
    for manifest in kept:
        blobs.update(blobs_of(images.details[manifest]))
    results = _keep_results(database, keys, runs, blobs)
    return Reached(frozenset(kept), frozenset(results), frozenset(runs), frozenset(blobs))


def _load_images(database: Database) -> _Images:
    rows = database.query(
        "SELECT manifest, recipe, created, detail FROM images ORDER BY created DESC, rowid DESC"
    )
    return _Images(
        {str(manifest): json.loads(str(detail)) for manifest, _, _, detail in rows},
        tuple((str(row[0]), str(row[1]), float(str(row[2]))) for row in rows),
        frozenset(str(row[0]) for row in database.query("SELECT manifest FROM tags")),
    )


def _keep_images(images: _Images, retention: Retention) -> set[str]:
    kept = set(images.tagged & images.details.keys())
    counts: dict[str, int] = defaultdict(int)
    for manifest, recipe, created in images.rows:
        keep = retention.of(recipe)
        counts[recipe] += 1
        if created > retention.now - keep.age_s or (recipe and counts[recipe] <= keep.images):
            kept.add(manifest)
    return kept


def _below(kept: set[str], images: _Images) -> set[str]:
    """The images that the kept ones stand on: what is in these is told from the records of those,
    and their layers stay anyway."""
    found: set[str] = set()
    waiting = list(kept)
    while waiting:
        base = str(images.details[waiting.pop()].get("base", ""))
        if base in images.details and base not in found | kept:
            found.add(base)
            waiting.append(base)
    return found


def _edited_from(database: Database, kept: set[str], images: _Images) -> set[str]:
    """Images that the kept ones were edited from, and what a tag had before a person moved it."""
    before: dict[str, set[str]] = defaultdict(set)
    # Of an edit of a recipe the run before it has its own place among the recipe's images.
    rows = database.query(
        "SELECT kind, from_manifest, to_manifest, detail FROM edits WHERE kind <> 'recipe'"
    )
    for kind, was, now, detail in rows:
        root = json.loads(str(detail)).get("root", "")
        if kind in ("set", "undo") or now in images.tagged:
            before[str(now)] |= {str(was), str(root)} & images.details.keys()
    found: set[str] = set()
    waiting = list(kept)
    while waiting:
        more = before[waiting.pop()] - kept - found
        found |= more
        waiting += more
    return found


def _keep_runs(database: Database, images: Iterable[str], retention: Retention) -> set[int]:
    """The runs whose results stay: that are open, that made these images or moved a tag last, and
    each recipe's last good one and last of all."""
    runs = {_number(row) for row in database.query(f"SELECT id FROM runs WHERE {_OPEN}")}  # noqa: S608
    wanted = set(images)
    made = database.query("SELECT id, manifest FROM runs WHERE manifest <> '' AND status = 'ok'")
    runs |= {int(str(run)) for run, manifest in made if manifest in wanted}
    last = database.query("SELECT run, recipe FROM inputs")
    last += database.query("SELECT max(id), recipe FROM runs GROUP BY recipe")
    moved = database.query(
        "SELECT max(publications.id), run FROM publications JOIN tags USING (name)"
        " WHERE target = 'store' AND run IS NOT NULL GROUP BY name"
    )
    runs |= {int(str(run)) for _, run in moved}  # they bear witness to the tags
    known = retention.known
    tagged = {_text(row) for row in database.query("SELECT DISTINCT recipe FROM images")}
    runs |= {
        int(str(run))
        for run, recipe in last
        if known is None or recipe in known or recipe in tagged
    }
    return runs


def _stage_keys(database: Database, runs: set[int]) -> set[str]:
    rows = database.query("SELECT run, key FROM stages WHERE key <> ''")
    return {str(key) for run, key in rows if run in runs}


def _archives_ahead(database: Database, retention: Retention) -> set[Digest]:
    """Archives of releases that recipes are moved to, may be soon, or were of late."""
    found: set[str] = set()
    for (text,) in database.query("SELECT lock FROM locks"):
        lock = json.loads(str(text))
        found |= {str(lock.get("sha256", "")), str(lock.get("of_sha256", ""))}
    for recipe, text in database.query("SELECT recipe, memory FROM tracks"):
        memory = json.loads(str(text))
        candidate = memory.get("candidate") or {}
        found.add(str(candidate.get("digest", "")))
        newest = memory.get("digests", [])[-max(1, retention.of(str(recipe)).images) :]
        found |= {str(pair[0]) for pair in newest}
    for (text,) in database.query("SELECT inputs FROM inputs"):
        found.add(str(json.loads(str(text)).get("source.archive", "")))
    return {digest for text in found if (digest := _as_digest(text)) is not None}


def _as_digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except ValueError:
        return None


def _keep_results(
    database: Database, keys: set[str], runs: set[int], blobs: set[Digest]
) -> set[str]:
    """The keys of results that stay; what they stand on is added to `blobs`.

    Besides those of the runs: layers that an image has, and what was seen without leaving a blob
    (audits) since a recipe's first run that stays.
    """
    since = _first_starts(database, runs)
    others: list[tuple[str, Detail]] = []
    kept: set[str] = set()
    rows = database.query("SELECT key, stage, recipe, output, created FROM results")
    for key, stage, recipe, text, created in rows:
        output = json.loads(str(text))
        if key in keys:
            kept.add(str(key))
            blobs.update(blobs_of(output))
            if archive := _as_digest(str(output.get("archive", ""))):
                blobs.add(archive)
        elif stage == "layer":
            others.append((str(key), output))
        elif not output.get("blobs") and float(str(created)) >= since.get(str(recipe), _NEVER):
            kept.add(str(key))
    for key, output in others:
        pair = {Digest.parse(str(output["digest"])), Digest.parse(str(output["diff_id"]))}
        if pair <= blobs:
            kept.add(key)
            blobs.update(blobs_of(output))
    return kept


_NEVER = float("inf")


def _first_starts(database: Database, runs: set[int]) -> dict[str, float]:
    rows = database.query("SELECT id, recipe, started FROM runs ORDER BY id DESC")
    return {str(recipe): float(str(started)) for run, recipe, started in rows if run in runs}


def _number(row: tuple[object, ...]) -> int:
    return int(str(row[0]))


def _text(row: tuple[object, ...]) -> str:
    return str(row[0])
