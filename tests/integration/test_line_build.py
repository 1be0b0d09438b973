"""The whole line as a process: base, library, program; what changes, what the commands say."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from minid.store.records import Records, StageRow
from tests.support.line import HELLO_FILES, Line, new_line
from tests.support.require import require

pytestmark = pytest.mark.integration
STAGES = ["compile", "pack", "compose", "image", "lint", "check", "publish"]


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "runc")


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """A folder that was built; tests of this fixture only read."""
    with new_line(export=True) as line:
        line.build()
        yield line


@pytest.fixture
def line() -> Iterator[Line]:
    """A built folder to change."""
    with new_line() as line:
        line.build()
        yield line


def last_stages(line: Line, recipe: str) -> list[StageRow]:
    records = Records(line.state / "records.sqlite", writable=False)
    try:
        return records.stages(records.runs(recipe, 1)[0].id)
    finally:
        records.close()


def worked(line: Line, recipe: str) -> list[str]:
    """The stages that did something in the recipe's last run."""
    return [row.name for row in last_stages(line, recipe) if not row.cached]


def test_first_build(built: Line) -> None:
    assert list(built.tags()) == ["ground:1.0.0", "ground:latest", "hello:1.0.0", "hello:latest"]
    assert worked(built, "hello") == ["fetch", *STAGES]
    assert worked(built, "words") == ["fetch", "compile"]
    manifest = json.loads(built.blob(built.tags()["hello:1.0.0"]))
    below = json.loads(built.blob(built.tags()["ground:1.0.0"]))
    assert manifest["layers"][:2] == below["layers"]
    assert sorted(path.name for path in (built.folder / "images").glob("*.tar*")) == [
        "ground_1.0.0-image.tar.gz",
        "ground_latest-image.tar.gz",
        "hello_1.0.0-image.tar.gz",
        "hello_latest-image.tar.gz",
    ]


def test_second_build_does_nothing(line: Line) -> None:
    before = sorted(path.name for path in (line.store / "blobs" / "sha256").iterdir())
    index = (line.store / "index.json").stat().st_mtime_ns
    outcomes = line.build("hello")
    assert {name: item["status"] for name, item in outcomes.items()} == {
        "ground": "unchanged",
        "words": "unchanged",
        "hello": "unchanged",
    }
    assert before == sorted(path.name for path in (line.store / "blobs" / "sha256").iterdir())
    assert index == (line.store / "index.json").stat().st_mtime_ns
    shown = line.run("build", "hello")
    assert "hello 1.0.0: nothing has changed" in shown.out
    assert shown.err == ""


def test_status(built: Line) -> None:
    states = {row["recipe"]: row["state"] for row in built.query("status")["recipes"]}
    assert states == {"ground": "up to date", "hello": "up to date", "words": "up to date"}


def test_list(built: Line) -> None:
    rows = {row["name"]: row for row in built.query("list")}
    assert {name: row["manifest"] for name, row in rows.items()} == built.tags()
    assert rows["hello:latest"]["version"] == "1.0.0"
    archive = built.folder / "images" / "hello_latest-image.tar.gz"
    assert rows["hello:latest"]["sizes"]["unpacked"] > archive.stat().st_size > 100_000


def test_logs(built: Line) -> None:
    log = built.query("logs", "hello")
    assert log["status"] == "ok"
    assert [line.split(None, 1)[0] for line in log["lines"]] == [
        str(number + 1) for number in range(len(log["lines"]))
    ]
    text = "\n".join(log["lines"])
    for said in ("first build", "== compile", "-lwords", "== check", "hello:latest →"):
        assert said in text
    assert len(built.query("logs", "hello", "-n", "3")["lines"]) == 3


def test_history(built: Line) -> None:
    said = built.query("history", "hello:latest")
    texts = [entry["created_by"] for entry in said["history"]]
    assert texts[0] == 'CMD ["/usr/local/bin/hello"]'
    assert said["history"][0]["comment"] == "hello 1.0.0"
    assert texts[-1] == "minid: ground 1.0.0 compiled from source, 1 files"
    assert len([entry for entry in said["history"] if entry["digest"]]) == 4
    moves = {(row["target"], row["name"]): row for row in said["publications"]}
    assert moves["store", "hello:latest"]["from"] == ""
    assert moves["export", "hello:latest"]["to"] == said["manifest"]


def test_inspect(built: Line) -> None:
    said = built.query("inspect", "hello")
    config = said["configuration"]
    assert said["manifest"] == built.tags()["hello:latest"]
    assert config["config"]["Cmd"] == ["/usr/local/bin/hello"]
    assert "MODE=test" in config["config"]["Env"]
    assert config["comment"] == "hello 1.0.0"
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert said["environment"]["kind"] == "host"
    assert said["manifest_json"]["config"]["digest"] == said["config"]
    authors = {line["created_by"]: line.get("author", "") for line in config["history"]}
    assert authors["minid: rootfs of recipe hello"] == "tests"
    assert authors["minid: rootfs of recipe ground"] == ""


def test_why(built: Line) -> None:
    chain = built.query("why", "hello", "/usr/local/lib/libwords.so.1")["chain"]
    assert [(link["path"], link["how"]) for link in chain] == [
        ("usr/local/lib/libwords.so.1", "needed"),
        ("usr/local/bin/hello", "installed"),
    ]
    assert "[rootfs]" in built.query("why", "hello", "/etc/motd")["origin"]
    absent = built.run("why", "hello", "/usr/local/include/words.h")
    assert absent.status == 2
    assert "/usr/local/include/words.h" in absent.err


def test_fetch(built: Line) -> None:
    said = built.query("fetch", "hello")
    assert {name: item["origin"] for name, item in said.items()} == dict.fromkeys(
        ("ground", "words", "hello"), "store"
    )


def test_explain_up_to_date(built: Line) -> None:
    said = built.query("explain", "hello")
    assert said["current"]
    assert (said["changes"], said["redoes"], said["below"]) == ([], [], [])
    assert said["last_run"]["reason"] == "first build"


def test_comments_and_white_space_build_nothing(line: Line) -> None:
    for name in ("ground", "words", "hello"):
        text = line.recipe(name).read_text()
        line.recipe(name).write_text(
            "# a comment\n\n" + text.replace(" = ", "   =   ").replace("\n[", "\n\n# more\n[")
        )
    assert line.query("explain", "hello")["current"]
    assert {item["status"] for item in line.build().values()} == {"unchanged"}


EDITS = [
    ("hello", 'summary = "hello for', 'summary = "hi for', ["summary"], "image"),
    ("hello", 'comment = "hello', 'comment = "a hello', ["image.comment"], "image"),
    ("hello", 'MODE = "test"', 'MODE = "real"', ["image.env"], "image"),
    ("hello", 'contains = "hello {', 'contains = "{', ["check"], "image"),
    ("hello", "welcome", "go away", ["rootfs.files"], "compose"),
    ("hello", 'with = "green"', 'with = "blue"', ["rootfs.edits"], "compose"),
    (
        "hello",
        "\n[rootfs]\n",
        "\n[contents]\nstrip = false\n[rootfs]\n",
        ["contents.strip"],
        "pack",
    ),
    ("hello", '"make", "make', '"make hello.o all", "make', ["build.steps"], "compile"),
    ("words", '"make", "make', '"make -s", "make', ["needs.words"], "compile"),
    ("ground", 'mode = "1777"', 'mode = "0755"', ["base"], "compose"),
]


def test_explain_names_what_changed_and_what_it_redoes(line: Line) -> None:
    line.edit("hello", '"make", "make', '"touch hello.o", "make", "make')
    line.build()
    for name, before, after, inputs, first in EDITS:
        line.edit(name, before, after)
        said = line.query("explain", "hello")
        assert not said["current"], after
        assert [change["input"] for change in said["changes"]] == inputs
        assert said["redoes"] == STAGES[STAGES.index(first) :], after
        shown = line.run("explain", "hello").out
        assert f"would redo {first}" in shown
        assert inputs[0] in shown
        outcome = line.build("hello")["hello"]
        assert outcome["status"] == "built"
        assert outcome["changes"] == inputs
        did = [stage for stage in worked(line, "hello") if stage != "fetch"]
        assert did[0] == first, after
        assert set(did) <= set(said["redoes"])
        after_it = line.query("explain", "hello")
        assert after_it["current"], after
        assert after_it["last_run"]["changes"] == inputs


def test_new_release(line: Line) -> None:
    old = line.tags()["hello:1.0.0"]
    sha256 = line.add_source("hello", "1.1.0", HELLO_FILES)
    text = line.recipe("hello").read_text().splitlines(keepends=True)
    text = [f'sha256 = "{sha256}"\n' if item.startswith("sha256") else item for item in text]
    line.recipe("hello").write_text("".join(text).replace("1.0.0", "1.1.0"))
    inputs = [change["input"] for change in line.query("explain", "hello")["changes"]]
    assert inputs == ["source.archive", "source.version"]
    outcomes = line.build("hello")
    assert outcomes["ground"]["status"] == outcomes["words"]["status"] == "unchanged"
    tags = line.tags()
    assert tags["hello:1.0.0"] == old
    assert tags["hello:latest"] == tags["hello:1.1.0"] == outcomes["hello"]["manifest"] != old
    moves = line.query("history", "hello:latest")["publications"]
    assert [row["from"] for row in moves if row["name"] == "hello:latest"] == [old, ""]


def test_edit_taken_back_moves_the_tag_back_and_compiles_nothing(line: Line) -> None:
    first = line.tags()["hello:latest"]
    line.edit("hello", "welcome", "go away")
    assert line.build("hello")["hello"]["manifest"] != first
    line.edit("hello", "go away", "welcome")
    assert line.build("hello")["hello"]["manifest"] == first
    assert worked(line, "hello") == ["lint", "publish"]
    assert line.tags()["hello:latest"] == first
