"""`minid explain` about what people did: edits of a recipe's images, images without a recipe."""

from __future__ import annotations

import pytest

from tests.support.line import new_line
from tests.support.require import require

pytestmark = pytest.mark.integration


def test_explain_tells_of_edits_and_of_images_from_elsewhere() -> None:
    require("bwrap", "gcc", "make", "runc")
    with new_line() as line:
        line.build("ground")
        assert line.query("explain", "ground")["edits"] == []
        assert line.run("set", "ground", "--label", "a=b", "--message", "for ann").status == 0
        for name in ("ground", "ground:latest"):
            found = line.query("explain", name)
            assert (found["recipe"], found["current"]) == ("ground", True)
            (edit,) = found["edits"]
            assert (edit["kind"], edit["message"], edit["kept"]) == ("set", "for ann", False)
            assert edit["tags"] == ["ground:1.0.0", "ground:latest"]
        assert "set by " in line.run("explain", "ground").out
        assert line.run("undo", "ground").status == 0
        assert [edit["kind"] for edit in line.query("explain", "ground")["edits"]] == ["undo"]

        root = line.folder / "root"
        root.mkdir()
        (root / "a").write_text("a")
        assert line.run("import", str(root), "far:1").status == 0
        found = line.query("explain", "far:1")
        assert (found["recipe"], found["origin"]["kind"]) == ("", "import")
        assert [edit["tags"] for edit in found["edits"]] == [["far:1"]]
        assert line.run("explain", "far:1").out.startswith("far:1: no recipe made it: import from ")
        assert line.run("explain", "nowhere").status == 2
