"""The ledger of what was done to images outside a run: edits of metadata, roll backs, imports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from minid.store.database import Database

EditKind = Literal["set", "undo", "recipe", "rollback", "load", "import", "pull"]

_COLUMNS = "id, kind, recipe, from_manifest, to_manifest, who, time, message, kept, detail"


@dataclass(frozen=True, slots=True)
class EditRow:
    """One change of an image, from which manifest digest (empty for an image that came from
    elsewhere) to which. `time` in seconds since the epoch.

    `kept` edits are made again on what a rebuild gives. `detail` is JSON that `workbench` alone
    reads. `id` is 0 for a row that is not recorded yet.
    """

    kind: EditKind
    recipe: str
    from_manifest: str
    to_manifest: str
    who: str
    time: float
    message: str = ""
    kept: bool = False
    detail: Mapping[str, object] = field(default_factory=dict)
    id: int = 0


class Edits:
    """The ledger. What a method has returned from is on disk, but inside `together`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def together(self) -> Iterator[None]:
        """Put all that is written inside, also by `Records`, on disk in one turn; where the end is
        an error, nothing of it."""
        with self._database.batch(), self._database.transaction():
            yield

    def add(self, row: EditRow) -> int:
        """Record an edit and return its number."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO edits (kind, recipe, from_manifest, to_manifest, who, time, message,"
                " kept, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.kind,
                    row.recipe,
                    row.from_manifest,
                    row.to_manifest,
                    row.who,
                    row.time,
                    row.message,
                    int(row.kept),
                    json.dumps(dict(row.detail)),
                ),
            )
            return int(cursor.lastrowid or 0)

    def add_again(self, rows: Iterable[EditRow]) -> None:
        """Record edits that are made one on the other: the `chain` of each names those before."""
        chain: list[int] = []
        for row in rows:
            if row.kind != "set":
                self.add(row)
                continue
            chain.append(self.add(replace(row, detail={**row.detail, "chain": list(chain)})))

    def edit(self, number: int) -> EditRow | None:
        """The edit of that number."""
        if not 0 < number < 1 << 63:
            return None
        rows = self._select("WHERE id = ?", (number,))
        return rows[0] if rows else None

    def of_recipe(self, recipe: str) -> list[EditRow]:
        """Every edit of a recipe's images, oldest first."""
        return self._select("WHERE recipe = ? ORDER BY id", (recipe,))

    def made(self, manifest: str) -> EditRow | None:
        """The last edit that gave the image of this manifest digest."""
        rows = self._select("WHERE to_manifest = ? ORDER BY id DESC LIMIT 1", (manifest,))
        return rows[0] if rows else None

    def chained(self, manifest: str) -> EditRow | None:
        """As `made`, of the edits that know on which others they stand."""
        rows = self._select(
            "WHERE to_manifest = ? AND kind IN ('set', 'undo', 'rollback', 'recipe')"
            " ORDER BY id DESC LIMIT 1",
            (manifest,),
        )
        return rows[0] if rows else None

    def pulls(self, manifest: str) -> list[EditRow]:
        """The pulls of the image of this manifest digest, oldest first."""
        return self._select("WHERE to_manifest = ? AND kind = 'pull' ORDER BY id", (manifest,))

    def undone(self, manifest: str) -> EditRow | None:
        """The last edit of kind `undo` that was done to the image of this manifest digest."""
        rows = self._select(
            "WHERE from_manifest = ? AND kind = 'undo' ORDER BY id DESC LIMIT 1", (manifest,)
        )
        return rows[0] if rows else None

    def all(self, limit: int = 1000) -> list[EditRow]:
        """The newest edits, oldest of them first."""
        return self._select("ORDER BY id DESC LIMIT ?", (limit,))[::-1]

    def _select(self, where: str, values: Sequence[object]) -> list[EditRow]:
        rows = self._database.query(f"SELECT {_COLUMNS} FROM edits {where}", values)  # noqa: S608
        return [_edit_row(row) for row in rows]


def _edit_row(row: Sequence[object]) -> EditRow:
    number, kind, recipe, before, after, who, time, message, kept, detail = row
    return EditRow(
        kind=kind,  # type: ignore[arg-type]
        recipe=str(recipe),
        from_manifest=str(before),
        to_manifest=str(after),
        who=str(who),
        time=float(str(time)),
        message=str(message),
        kept=bool(kept),
        detail=json.loads(str(detail)),
        id=int(str(number)),
    )
