"""The runs that wait: the rows in the store, and in memory for who asks often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from minid.line.planning import Standing
from minid.recipe import Recipe
from minid.recipe_graph import references
from minid.store.queue import Queue
from minid.store.records import Records, RunRow

# `finished`, `error`, `exit_code`, `log` and `manifest` of a run that waits.
_NOT_YET: tuple[None, str, int, str, str] = (None, "", 0, "", "")


class WaitingList:
    """One run a recipe at most. Nobody else may change the queue. Times in seconds since the epoch.

    Every method that writes raises StoreError, and has done nothing then.
    """

    def __init__(self, records: Records, queue: Queue) -> None:
        self._records = records
        self._queue = queue
        self._rows: dict[str, RunRow] = {}

    def load(self) -> None:
        """Take what the store has."""
        self._rows = {row.recipe: row for row in self._queue.queued()}

    def __iter__(self) -> Iterator[RunRow]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, recipe: str) -> RunRow | None:
        """The recipe's run that waits."""
        return self._rows.get(recipe)

    def find(self, run: int) -> RunRow | None:
        """The run of that id, if it waits."""
        return next((row for row in self if row.id == run), None)

    def ordered(self) -> list[RunRow]:
        """The highest priority first, then the oldest."""
        return sorted(self, key=lambda row: (-row.priority, row.id))

    def stands_on(self, recipes: Mapping[str, Recipe]) -> dict[str, tuple[str, ...]]:
        """What the waiting recipes directly stand on, and what that does in turn."""
        found: dict[str, tuple[str, ...]] = {}
        names = list(self._rows)
        for name in names:
            if name not in found and name in recipes:
                found[name] = references(recipes[name])
                names.extend(found[name])
        return found

    def add(
        self,
        standing: Standing,
        key: str,
        reason: str,
        now: float,
        *,
        changes: tuple[str, ...] = (),
        priority: int = 0,
        forced: bool = False,
    ) -> int:
        """Have a run of the recipe wait, or change the one that does; its id."""
        recipe, source = standing.recipe.name, standing.recipe.source
        words = (recipe, source.version, reason, changes, now)
        run = self._queue.enqueue(*words, key=key, priority=priority, forced=forced)
        if recipe in self._rows:
            self._keep(run)
        else:  # all of it is known: ten thousand at once need not be read again
            self._rows[recipe] = RunRow(
                *(run, recipe, source.version, "queued", reason, changes, now, *_NOT_YET),
                queued=now,
                priority=priority,
                forced=forced,
                key=key,
            )
        return run

    def repeat(self, row: RunRow, key: str, now: float, not_before: float = 0.0) -> None:
        """Have a run that came to no end of its own wait again, unless a newer one does."""
        if row.recipe in self._rows:
            return
        run = self._queue.enqueue(
            *(row.recipe, row.version, row.reason, row.changes, now),
            key=key,
            priority=row.priority,
            not_before=not_before,
            attempt=row.attempt + 1,
            forced=row.forced,
        )
        self._keep(run)

    def begin(self, row: RunRow, now: float) -> RunRow:
        """The row of a run that waits no longer, because it runs."""
        self._queue.begin(row.id, now)
        del self._rows[row.recipe]
        return replace(row, status="running", started=now)

    def drop(self, row: RunRow, status: str, error: str, now: float) -> RunRow:
        """The row of a run that waits no longer, because it ended as `status`."""
        self._queue.drop(row.id, status, error, now)
        del self._rows[row.recipe]
        return replace(row, status=status, error=error, finished=now)

    def advance(self, row: RunRow) -> None:
        """Put a run before all others, and end its back-off."""
        priority = max(other.priority for other in self) + 1
        self._queue.advance(row.id, priority)
        self._rows[row.recipe] = replace(row, priority=priority, not_before=0.0)

    def _keep(self, run: int) -> None:
        row = self._records.run(run)
        assert row is not None
        self._rows[row.recipe] = row
