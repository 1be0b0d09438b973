"""Recipes side by side: they overlap, and together keep to the configured number of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.support.line import Line, line_folder
from tests.support.require import require

pytestmark = pytest.mark.integration

# Each job notes when it worked, and make is told to run as many as it likes.
FILES = {
    "Makefile": "all: $(PARTS)\n"
    "part-%:\n"
    "\t@from=$$(date +%s%N); sleep 0.3; echo $$from $$(date +%s%N) > $@\n"
    "install:\n\tmkdir -p $(DESTDIR)/times\n\tcp part-* $(DESTDIR)/times\n",
}
PARTS = 6
Span = tuple[int, int]


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make")


@pytest.fixture
def line() -> Iterator[Line]:
    """Two libraries that know nothing of each other, on two jobs in all."""
    with line_folder() as folder:
        line = Line(folder)
        line.write_config(jobs=2)
        names = " ".join(f"part-{number}" for number in range(PARTS))
        for name in ("left", "right"):
            line.add_recipe(name, FILES)
            line.edit(name, '["make"', f"[\"make -j8 PARTS='{names}'\"")
        yield line


def spans(line: Line, name: str) -> list[Span]:
    """When each job of the recipe's build worked, in nanoseconds, as its install tree says."""
    from minid.formats.digest import Digest
    from minid.formats.tree import parse_tree
    from minid.store.blobs import Blobs
    from minid.store.contents import read_content
    from minid.store.records import Records

    records = Records(line.state / "records.sqlite", writable=False)
    try:
        run = records.runs(name, 1)[0].id
        (key,) = (row.key for row in records.stages(run) if row.name == "compile")
        output = records.result(key)
    finally:
        records.close()
    assert output is not None
    blobs = Blobs(line.store)
    read = read_content(blobs)
    tree = parse_tree(blobs.read(Digest.parse(str(output["tree"]))))
    texts = [read(entry.content).split() for entry in tree.entries if entry.content]
    found = sorted((int(begin), int(end)) for begin, end in texts)
    assert len(found) == PARTS
    return found


def most_at_once(found: list[Span]) -> int:
    """How many of the spans share an instant at most."""
    return max(sum(begin <= other < end for begin, end in found) for other, _ in found)


def test_one_recipe_alone_has_all_jobs(line: Line) -> None:
    line.build("left")
    assert most_at_once(spans(line, "left")) == 2


def test_two_recipes_share_the_jobs(line: Line) -> None:
    line.build("left", "right")
    left, right = spans(line, "left"), spans(line, "right")
    assert most_at_once(left + right) == 2
    # They overlap: neither waits for the other to end.
    assert left[0][0] < max(end for _, end in right)
    assert right[0][0] < max(end for _, end in left)


def test_one_job_in_all(line: Line) -> None:
    line.write_config(jobs=1)
    line.build("left", "right")
    found = sorted(spans(line, "left") + spans(line, "right"))
    assert all(before[1] <= after[0] for before, after in pairwise(found))
