"""A base and images that lie on it; then a new release of the base."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.daemon import add_ground, add_tools, open_records, set_daemon_options
from tests.support.line import GROUND_FILES, GROUND_TABLES, Line


@dataclass(frozen=True, slots=True)
class Before:
    """The store before the release: the last run's id, and manifests by tag."""

    last_run: int
    tags: dict[str, str]


class BaseChange:
    """`images` recipes on the base `ground`, in the folder of `line`."""

    def __init__(self, line: Line, images: int) -> None:
        self.line = line
        self.images = images
        line.write_config()
        set_daemon_options(line, ['min_free = "1 kB"'])
        add_ground(line)
        add_tools(line, images)

    def begin(self) -> Before:
        """What is there now."""
        with open_records(self.line) as records:
            return Before(records.runs(limit=1)[0].id, self.line.tags())

    def release(self) -> None:
        """The base's recipe moves to a release with another program in it."""
        program = GROUND_FILES["tool.c"] + 'const char release[] = "1.1.0";\n'
        files = {**GROUND_FILES, "tool.c": program}
        self.line.add_recipe("ground", files, GROUND_TABLES, version="1.1.0")

    def moved(self, before: Before) -> bool:
        """Whether the tag of every image has moved."""
        tags = self.line.tags()
        return all(tags[name] != before.tags[name] for name in self._names())

    def counts(self, before: Before) -> dict[str, int]:
        """What was done since: stages that were not in the store, and tags that moved."""
        tags = self.line.tags()
        with open_records(self.line) as records:
            rows = [row for row in records.runs(limit=1000) if row.id > before.last_run]
            stages = [(row, stage) for row in rows for stage in records.stages(row.id)]
        done = [(row.recipe, stage.name) for row, stage in stages if not stage.cached]
        return {
            "runs": len(rows),
            "compiled, the base": done.count(("ground", "compile")),
            "compiled, anything": sum(name == "compile" for _, name in done),
            "images made": sum(name == "image" for _, name in done),
            "images checked": sum(name == "check" for _, name in done),
            "images tagged": sum(tags[name] != before.tags[name] for name in self._names()),
        }

    def expected(self) -> dict[str, int]:
        """What has to be done, and no more."""
        return {
            "runs": self.images + 1,
            "compiled, the base": 1,
            "compiled, anything": 1,
            "images made": self.images + 1,
            "images checked": self.images + 1,
            "images tagged": self.images + 1,
        }

    def _names(self) -> list[str]:
        return ["ground:latest", *(f"tool{number}:latest" for number in range(self.images))]
