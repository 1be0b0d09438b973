"""Building again from the same inputs, in a place of its own, and what is not the same.

The place has the records and blobs of what the recipe stands on, and its archive; of its own
results it has none. Nothing of it is published and it is gone afterwards.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest

from minid.config import Config, Publishing
from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.formats.tree import parse_tree, path_key
from minid.line.planning import Standing, archive_digests
from minid.line.stored_base import find_stored
from minid.line.workshop import Workshop
from minid.model import Content, Entry
from minid.recipe_graph import is_stored
from minid.steps.plan import Plan
from minid.store.blobs import Blobs
from minid.store.contents import read_content
from minid.store.edits import EditRow, Edits
from minid.store.reach import blobs_of, parse_row
from minid.store.records import Records

_FOLDER = "rebuild"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not the same. `stage` is what differed first: `install` (what the
    build steps installed), `payload`, `layers` or `config`; `image_path` a file, or a key of the
    configuration. `what` is what differs of it, `before` and `now` how; sizes in bytes, and
    `offset` where the first differing byte is, -1 where that is no question."""

    stage: str
    image_path: str
    what: str
    before: str
    now: str
    sizes: tuple[int, int] = (0, 0)
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Comparison:
    """The manifest (of a library the install tree) before and now, and the first difference. It can
    lie in what is left out of the image, which is the same then."""

    before: str
    now: str
    difference: Difference | None

    @property
    def equal(self) -> bool:
        """Whether the image is the same, bit by bit."""
        return self.before == self.now


@dataclass(frozen=True, slots=True)
class Ground:
    """What a recipe stands on: the keys of results of others, archives, and tags of the store that
    are bases."""

    keys: frozenset[str]
    archives: frozenset[Digest]
    tags: frozenset[str]


def ground_of(name: str, standings: Mapping[str, Standing]) -> Ground:
    """What that recipe stands on, of all of these."""
    plans = [item.plan for other, item in standings.items() if other != name and item.plan]
    recipes = [item.recipe for item in standings.values()]
    return Ground(
        frozenset(key for p in plans for key in (p.compile, p.pack, p.compose, p.image) if key),
        frozenset(digest for recipe in recipes for digest in archive_digests(recipe)),
        frozenset(r.rootfs.base for r in recipes if is_stored(r.rootfs.base)),
    )


@contextmanager
def scratch_place(shop: Workshop, ground: Ground) -> Iterator[Config]:
    """The configuration of a place that has this ground and nothing else."""
    paths = shop.config.paths
    shop.jobs_folder.mkdir(parents=True, exist_ok=True)
    state = shop.jobs_folder / _FOLDER
    state.mkdir()
    for folder in (shop.jobs_folder, state):
        folder.chmod(0o711)  # builds run as another user
    # Both are shared: they are named by what is in them.
    for shared in (paths.environments, paths.layers):
        shared.mkdir(exist_ok=True)
        (state / shared.name).symlink_to(shared)
    config = replace(
        shop.config,
        paths=replace(paths, state=state),
        publish=Publishing(docker="off"),
    )
    _lay_ground(shop, config, ground)
    yield config  # the guest's place is removed with it


def _lay_ground(shop: Workshop, config: Config, ground: Ground) -> None:
    blobs = Blobs(config.paths.store)
    blobs.prepare()
    records = Records(config.paths.records, writable=True)
    wanted = dict.fromkeys(ground.archives)
    rows = shop.records.database.query("SELECT key, stage, recipe, output FROM results")
    for key, stage, recipe, text in rows:
        row = parse_row(str(text)) if key in ground.keys else None
        if row is not None and shop.blobs.claim(*blobs_of(row)):
            wanted |= dict.fromkeys(blobs_of(row))
            records.add_result(str(key), str(stage), str(recipe), row, shop.clock())
    for tag in ground.tags:
        detail = find_stored(shop.records, tag)
        if detail is not None:
            wanted |= dict.fromkeys(blobs_of(detail))
            manifest = str(detail["manifest"])
            edit = EditRow("pull", "", "", manifest, "rebuild", shop.clock())
            number = Edits(records.database).add(edit)
            records.publish(0, detail, [tag], shop.clock(), edit=number)
    for digest in wanted:
        if shop.blobs.claim(digest):
            shutil.copyfile(shop.blobs.path(digest), blobs.path(digest))
            blobs.path(digest).chmod(0o444)
    records.close()


def compare(shop: Workshop, scratch: Workshop, plan: Plan) -> Comparison:
    """What the same plan gave in both. StoreError where the store has not what it gave before."""
    key = plan.image or plan.compile
    before, now = shop.records.result(key), scratch.records.result(key)
    if before is None or now is None:
        where = "the store" if before is None else "the rebuild"
        raise StoreError(f"{where}: expected the result of the plan, got none")
    shop.blobs.claim(*blobs_of(before))
    name = "manifest" if plan.image else "tree"
    found = next(_differences(shop, scratch, plan, before, now), None)
    return Comparison(str(before[name]), str(now[name]), found)


def _differences(
    shop: Workshop,
    scratch: Workshop,
    plan: Plan,
    before: Mapping[str, object],
    now: Mapping[str, object],
) -> Iterator[Difference]:
    """All that differs, in the order of the line."""
    for stage, key in (("install", plan.compile), ("payload", plan.pack), ("layers", plan.compose)):
        rows = [place.records.result(key) if key else None for place in (shop, scratch)]
        if rows[0] is not None and rows[1] is not None:
            trees = [Digest.parse(str(row["tree"])) for row in rows if row]
            if trees[0] != trees[1] and shop.blobs.claim(trees[0]):
                yield from _compare_trees(stage, shop.blobs, scratch.blobs, trees[0], trees[1])
    if not plan.image:
        return
    images = (parse_image(before), parse_image(now))
    for layers in zip_longest(*(image.layers for image in images)):
        texts = [str(layer.digest) if layer else "no layer" for layer in layers]
        if texts[0] != texts[1]:
            sizes = (layers[0].size if layers[0] else 0, layers[1].size if layers[1] else 0)
            yield Difference("layers", "", "the layer's gzip", texts[0], texts[1], sizes)
    configs = [
        json.loads(place.blobs.read(image.config))
        for place, image in zip((shop, scratch), images, strict=True)
    ]
    for name in sorted(configs[0].keys() | configs[1].keys()):
        if configs[0].get(name) != configs[1].get(name):
            values = [json.dumps(config.get(name), sort_keys=True) for config in configs]
            yield Difference("config", name, "the value", values[0], values[1])


def _compare_trees(
    stage: str, ours: Blobs, theirs: Blobs, before: Digest, now: Digest
) -> Iterator[Difference]:
    old = {entry.image_path: entry for entry in parse_tree(ours.read(before)).entries}
    new = {entry.image_path: entry for entry in parse_tree(theirs.read(now)).entries}
    for path in sorted(old.keys() | new.keys(), key=path_key):
        left, right = old.get(path), new.get(path)
        if left is None or right is None:
            texts = ["there" if entry else "not there" for entry in (left, right)]
            yield Difference(stage, path, "the file", texts[0], texts[1])
            continue
        yield from _compare_entries(stage, ours, theirs, left, right)


def _compare_entries(
    stage: str, ours: Blobs, theirs: Blobs, left: Entry, right: Entry
) -> Iterator[Difference]:
    facts = (
        ("the kind", left.kind, right.kind),
        ("the target", left.target, right.target),
        ("the mode", f"{left.mode:04o}", f"{right.mode:04o}"),
        ("the owner", f"{left.uid}:{left.gid}", f"{right.uid}:{right.gid}"),
        ("the time", str(left.mtime), str(right.mtime)),
        ("the attributes", str(left.xattrs), str(right.xattrs)),
    )
    contents = (left.content, right.content)
    if contents[0] and contents[1] and contents[0].digest != contents[1].digest:
        offset = _first_difference(ours, theirs, contents[0], contents[1])
        yield Difference(
            stage,
            left.image_path,
            "the content",
            str(contents[0].digest),
            str(contents[1].digest),
            (contents[0].size, contents[1].size),
            offset,
        )
    for what, before, now in facts:
        if before != now:
            yield Difference(stage, left.image_path, what, before, now)


def _first_difference(ours: Blobs, theirs: Blobs, left: Content, right: Content) -> int:
    """Where two files begin to differ; -1 where the store has lost the one of before."""
    try:
        old, new = read_content(ours)(left), read_content(theirs)(right)
    except StoreError:
        return -1
    low, high = 0, min(len(old), len(new))
    while low < high:  # the longest common beginning
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
