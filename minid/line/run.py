"""One run of one recipe: its log, its stages, and what each stage found or made.

A stage asks the records for its key first. What it makes is flushed before it is recorded, so a
result that can be read is whole, whatever instant minid was killed at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from minid.errors import BuildError
from minid.formats.digest import Digest
from minid.formats.tree import parse_tree
from minid.host.logfile import LogFile
from minid.line.workshop import Workshop
from minid.model import Environment, Tree
from minid.store.reach import blobs_of
from minid.store.records import StageRow

if TYPE_CHECKING:
    from minid.recipe import Recipe

Output = dict[str, object]

# What took longer is put on disk at once; what is quicker may be lost with a killed minid.
_SETTLE_S = 0.2
_LONG = {"environment", "fetch", "compile", "pack", "check"}


@dataclass(frozen=True, slots=True)
class Run:
    """A run in progress. `forced` runs every stage again, whatever the records have; `seconds`
    collects how long each stage took, for the outcome; `squeezed` is of `layers.squeeze_files`."""

    id: int
    recipe: Recipe
    shop: Workshop
    log: LogFile
    forced: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    squeezed: dict[tuple[Digest, int], bytes] = field(default_factory=dict)

    @contextmanager
    def timed(
        self, stage: str, key: str = "", tools: Mapping[str, str] | None = None
    ) -> Iterator[None]:
        """Show and record that a stage works. Nothing is recorded of one that fails but its run.

        BuildError once the build is cancelled: no stage begins then, so that no tag moves.
        """
        self.raise_if_cancelled(stage)
        if stage in _LONG:
            self.shop.records.settle()  # an open transaction would keep others from writing
        self.shop.reporter.stage_started(self.recipe.name, stage)
        self.log.say(f"== {stage}")
        begin = time.monotonic()
        yield
        seconds = time.monotonic() - begin
        self._finish(stage, key, seconds, tools or {}, cached=False)

    def raise_if_cancelled(self, stage: str) -> None:
        """BuildError where the operator has asked the build to end."""
        if self.shop.cancel.is_set():
            raise BuildError(f"{self.recipe.name}: {stage}: cancelled")

    def cached(self, stage: str, key: str) -> None:
        """Show and record that the store had a stage's result."""
        self._finish(stage, key, 0.0, {}, cached=True)

    def _finish(
        self, stage: str, key: str, seconds: float, tools: Mapping[str, str], *, cached: bool
    ) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        row = StageRow(stage, key, cached, round(seconds, 3), tools)
        self.shop.records.add_stage(self.id, row)
        if seconds > _SETTLE_S:
            self.shop.records.settle()
        self.shop.reporter.stage_finished(self.recipe.name, stage, seconds, cached=cached)

    def stage(
        self,
        stage: str,
        key: str,
        make: Callable[[], Output],
        tools: Mapping[str, str] | None = None,
    ) -> Output:
        """The stage's output: from the records, or from `make`, which is then recorded.

        The output's `blobs` lists the digests it stands on; a result that lost one is made again.
        """
        found = self.find(key)
        if found is not None:
            self.cached(stage, key)
            return found
        with self.timed(stage, key, tools):
            output = make()
            self.shop.blobs.flush()
            self.shop.records.add_result(key, stage, self.recipe.name, output, self.shop.clock())
        return output

    def find(self, key: str) -> Output | None:
        """The recorded output of this key, whole, unless the run is forced."""
        if self.forced:
            return None
        found = self.shop.records.result(key)
        if found is None or not self._is_whole(found):
            return None
        # Held by now; but it may have been on its way out before.
        return self.shop.records.result(key)

    def _is_whole(self, output: Mapping[str, object]) -> bool:
        return "blobs" in output and self.shop.blobs.claim(*blobs_of(output))


@contextmanager
def open_run(
    shop: Workshop,
    recipe: Recipe,
    reason: str,
    changes: tuple[str, ...],
    *,
    forced: bool = False,
    shown: tuple[str, ...] = (),
) -> Iterator[Run]:
    """A run with its row and its log file. A failure inside is recorded and passed on.

    The log's head tells the `changes`, as `shown` where that is given. An assignment has its row
    already, and whoever gave it records the failure.
    """
    version, assignment = recipe.source.version, shop.assignment
    if assignment is not None:
        run_id = assignment.run
    else:
        run_id = shop.records.start_run(recipe.name, version, reason, changes, shop.clock())
    path = shop.config.paths.logs / f"{run_id:06d}-{recipe.name}.log"
    log = LogFile(path, lambda line: shop.reporter.log_line(recipe.name, line))
    shop.records.set_log(run_id, str(path))
    run = Run(run_id, recipe, shop, log, forced)
    try:
        log.say(f"== run {run_id}: {recipe.name} {version}, because: {reason}")
        for line in shown or changes:
            log.say(f"   changed: {line}")
        yield run
    except BaseException as error:
        from minid.errors import MinidError

        code = error.exit_code if isinstance(error, MinidError) else 1
        text = str(error) or type(error).__name__
        if assignment is None:
            # The record first: on a full disk it may be the one that still finds room.
            shop.records.fail_run(run_id, text, code, shop.clock())
        with suppress(OSError):
            log.say(f"== failed: {text}")
        raise
    finally:
        log.close()


def hold_environment(run: Run, environment: Environment | None) -> Environment | None:
    """The environment, which nobody removes from now on; None where that has happened."""
    if environment is None or environment.kind == "host":
        return environment
    place = Path(environment.root).parent
    from minid.host.environment import environment_token

    run.shop.blobs.claim(environment_token(place.name))
    return environment if place.is_dir() else None


def digests(*values: Digest) -> list[str]:
    """Digests as the `blobs` of an output."""
    return [str(value) for value in values]


def load_json(data: bytes) -> Mapping[str, object]:
    """A JSON object of the store."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def load_tree(run: Run, digest: Digest) -> Tree:
    """A tree of the store."""
    return parse_tree(run.shop.blobs.read(digest))
