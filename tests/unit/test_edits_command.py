"""`minid edits` of images that no recipe made."""

from __future__ import annotations

from dataclasses import replace

from minid.cli.edits_command import of_image
from minid.store.edits import EditRow

LOADED, EDITED, OTHER = "sha256:aa", "sha256:bb", "sha256:cc"


def test_an_undo_hides_nothing_that_was_before_it() -> None:
    rows = [
        EditRow("load", "", "", LOADED, "ann", 1.0),
        EditRow("load", "", "", OTHER, "ann", 2.0),
        EditRow("set", "", LOADED, EDITED, "ann", 3.0),
        EditRow("undo", "", EDITED, LOADED, "ann", 4.0),
    ]
    rows = [replace(row, id=number) for number, row in enumerate(rows, 1)]
    assert [row.id for row in of_image(rows, LOADED)] == [1, 3, 4]
    assert [row.id for row in of_image(rows, EDITED)] == [1, 3]
    assert [row.id for row in of_image(rows, OTHER)] == [2]
