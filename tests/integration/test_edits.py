"""Edits of built images with real parts: the line, Docker Engine, and the service beside them."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from minid.host.docker_engine import engine_answers
from tests.support.daemon import daemon_of
from tests.support.line import Line, new_line, wait_for
from tests.support.require import demand_or_skip, require

pytestmark = pytest.mark.integration
NAME = f"minid-edit-{uuid.uuid4().hex[:10]}"
TAG = f"{NAME}:1.0.0"


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """`hello` under a name that no engine has."""
    require("bwrap", "gcc", "make", "runc")
    with new_line(export=True) as line:
        line.recipe("hello").rename(line.recipe(NAME))
        line.build(NAME)
        yield line


@pytest.fixture
def line(built: Line) -> Iterator[Line]:
    """The same, as the recipe wants it when the test begins."""
    built.build("--force", NAME)
    yield built
    built.write_config(export=True)


def config_of(line: Line, name: str = TAG) -> dict[str, Any]:
    return dict(line.query("inspect", name)["configuration"])


def facts(line: Line, *words: str) -> dict[str, Any]:
    done = line.run("set", TAG, *words, "--json")
    assert done.status == 0, done.out + done.err
    (found,) = done.json()
    return dict(found)


def test_an_edit_moves_every_tag_and_adds_no_layer(line: Line) -> None:
    before, tags = config_of(line), line.tags()
    found = facts(line, "--cmd", '["/bin/tool"]', "--comment", "other", "-m", "to try")
    after = config_of(line)
    assert after["rootfs"] == before["rootfs"]
    assert len(after["history"]) == len(before["history"])
    assert after["config"]["Cmd"] == ["/bin/tool"]
    moved = {name for name in tags if line.tags()[name] != tags[name]}
    assert moved == {TAG, f"{NAME}:latest"} == set(found["tags"])
    archive = line.folder / "images" / f"{NAME}_1.0.0-image.tar.gz"
    listed = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True)
    assert found["config"].removeprefix("sha256:") in listed.stdout
    (row,) = [row for row in line.query("edits", TAG) if row["in_effect"]]
    assert row in line.query("edits")
    assert (row["kind"], row["message"], row["from"]) == ("set", "to try", tags[TAG])
    assert {item["field"] for item in row["fields"]} == {"Cmd", "comment"}


def test_a_build_with_nothing_new_leaves_the_edit(line: Line) -> None:
    edited = facts(line, "--env", "A=b")["to"]
    assert line.build(NAME)[NAME]["status"] == "unchanged"
    assert line.tags()[TAG] == edited
    assert line.query("status")["recipes"][0]["recipe"]


def test_undo_takes_one_back_and_leaves_the_others(line: Line) -> None:
    plain = line.tags()[TAG]
    first = facts(line, "--env", "A=1")["edit"]
    facts(line, "--user", "65534")
    back = line.query("undo", TAG, str(first))
    assert [item["field"] for item in back["fields"]] == ["Env.A"]
    assert config_of(line)["config"]["User"] == "65534"
    again = line.query("undo", TAG, str(back["edit"]))
    assert [(f["field"], f["after"]) for f in again["fields"]] == [("Env.A", "1")]
    line.query("undo", TAG)
    line.query("undo", TAG)
    assert line.tags()[TAG] == plain
    assert line.run("undo", TAG).status == 2


def test_a_further_name_goes_with_its_edit(line: Line) -> None:
    other = f"{NAME}-other:1"
    number = facts(line, "--tag", other, "--env", "A=1")["edit"]
    assert line.tags()[other] == line.tags()[TAG]
    undone = line.query("undo", TAG, str(number))
    assert undone["removed"] == [f"store {other}", f"export {other}"]
    assert other not in line.tags()
    line.query("undo", TAG, str(undone["edit"]))
    assert line.tags()[other] == line.tags()[TAG]
    line.query("undo", TAG)
    assert line.build(NAME)[NAME]["status"] == "unchanged"


def test_a_rebuild_makes_kept_edits_again_and_names_the_others(line: Line) -> None:
    other = f"{NAME}-other:2"
    facts(line, "--keep", "--label", "team=web", "--tag", other, "-m", "ours")
    facts(line, "--env", "A=1")
    line.edit(NAME, "welcome", "hello again")
    made = line.build(NAME)[NAME]
    config = config_of(line)
    assert config["config"]["Labels"]["team"] == "web"
    assert "A=1" not in config["config"]["Env"]
    assert any(
        "dropped" in note and "A=1" in note for note in line.run("logs", NAME).out.splitlines()
    )
    assert made["manifest"] == line.tags()[TAG] == line.tags()[other]
    rows = [row for row in line.query("edits", TAG) if row["in_effect"]]
    assert [(row["kind"], row["message"], row["kept"]) for row in rows] == [("set", "ours", True)]
    assert "team" not in config_of_plain(line, rows[0]["from"])["config"]["Labels"]
    # Nothing is left to be done, and nothing is done.
    assert line.query("explain", NAME)["current"]
    known = line.query("edits")
    assert line.build(NAME)[NAME]["status"] == "unchanged"
    assert line.query("edits") == known
    # And once more, on an image that was made with it.
    line.edit(NAME, "hello again", "welcome")
    line.build(NAME)
    assert config_of(line)["config"]["Labels"]["team"] == "web"
    line.query("undo", TAG)
    assert "team" not in config_of(line)["config"]["Labels"]
    assert other not in line.tags()
    assert not (line.folder / "images" / f"{NAME}-other_2-image.tar.gz").exists()


def config_of_plain(line: Line, manifest: str) -> dict[str, Any]:
    config = json.loads(line.blob(manifest))["config"]["digest"]
    return dict(json.loads(line.blob(config)))


def test_an_edit_during_a_run_is_not_lost(line: Line) -> None:
    text = line.recipe(NAME).read_text()
    slow = f'\n[[check]]\nexec = ["/bin/tool", "sleep", "4 {NAME}"]\n'
    line.recipe(NAME).write_text(text.replace("welcome", "hello late") + slow)
    with line.start("build", NAME) as child:
        wait_for(is_checking, 60)
        facts(line, "--keep", "--label", "late=yes")
        facts(line, "--env", "A=1")
        assert child.wait(60) == 0
    config = config_of(line)["config"]
    assert config["Labels"]["late"] == "yes"
    assert "A=1" not in config["Env"]
    log = line.run("logs", NAME).out
    assert "once more" in log
    assert any("dropped" in said and "A=1" in said for said in log.splitlines())
    line.query("undo", TAG)
    line.recipe(NAME).write_text(text)


def is_checking() -> bool:
    """Whether the program of the slow check runs, in whatever sandbox."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[:3] == [b"/bin/tool", b"sleep", f"4 {NAME}".encode()]:
                return True
    return False


def test_an_edit_that_the_recipe_says_itself_is_none_any_more(line: Line) -> None:
    text = line.recipe(NAME).read_text()
    edited = facts(line, "--env", "MODE=other")["to"]
    line.edit(NAME, 'MODE = "test"', 'MODE = "other"')
    line.build(NAME)
    assert line.tags()[TAG] == edited
    rows = line.query("edits", TAG)
    assert rows[0]["kind"] == "recipe"
    assert not any(row["in_effect"] for row in rows)
    assert line.run("undo", TAG).status == 2
    line.recipe(NAME).write_text(text)
    line.build(NAME)


def test_an_image_stands_on_what_the_recipe_of_its_base_gives(line: Line) -> None:
    done = line.run("set", "ground:1.0.0", "--label", "edited=yes", "--env", "GROUND=edited")
    assert done.status == 0, done.err
    edited = line.tags()["ground:1.0.0"]
    line.edit(NAME, "welcome", "hello on ground")
    assert line.build(NAME)[NAME]["status"] == "built"
    config = config_of(line)["config"]
    assert "edited" not in config["Labels"]
    assert not any(item.startswith("GROUND=edited") for item in config["Env"])
    assert line.tags()["ground:1.0.0"] == edited
    line.edit(NAME, "hello on ground", "welcome")
    line.query("undo", "ground:1.0.0")


def test_a_changed_image_table_is_in_the_same_ledger(line: Line) -> None:
    line.edit(NAME, 'MODE = "test"', 'MODE = "other"')
    line.build(NAME)
    row = line.query("edits", TAG)[0]
    assert (row["kind"], row["who"]) == ("recipe", "recipe")
    assert row["fields"] == [{"field": "Env.MODE", "before": "test", "after": "other"}]
    line.edit(NAME, 'MODE = "other"', 'MODE = "test"')
    line.build(NAME)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--cmd", "[]"), 23, "neither"),
        (("--cmd", "tool"), 23, "/bin/sh"),
        (("--comment", "\udcff"), 2, "controls"),
        (("--env", "A=1", "-m", "\udcff"), 2, "controls"),
        (("--user", "nobody-here"), 23, "nobody-here"),
        (("--cmd", '["a"'), 2, "JSON array"),
        (("--tag", "ground:1.0.0"), 2, "recipe ground"),
        ((), 2, "something to set"),
    ],
)
def test_what_cannot_be_is_refused(
    line: Line, words: tuple[str, ...], status: int, said: str
) -> None:
    before, rows = line.tags(), len(line.query("edits"))
    done = line.run("set", TAG, *words)
    assert (done.status, said in done.err) == (status, True), done.err
    assert line.tags() == before
    assert len(line.query("edits")) == rows


def test_what_an_image_says_already_is_no_edit(line: Line) -> None:
    facts(line, "--label", "a=b", "--layer")
    found = facts(line, "--label", "a=b")
    assert (found["edit"], found["from"]) == (None, found["to"])


def test_edits_at_once_are_made_one_on_the_other_or_refused(line: Line) -> None:
    with ExitStack() as stack:
        children = [
            stack.enter_context(line.start("set", TAG, "--env", f"AT_ONCE{number}=1"))
            for number in range(6)
        ]
        said = [child.communicate(timeout=120)[1] for child in children]
    made = {f"AT_ONCE{n}=1" for n, child in enumerate(children) if child.returncode == 0}
    assert made == {word for word in config_of(line)["config"]["Env"] if "AT_ONCE" in word}
    refused = [text for text, child in zip(said, children, strict=True) if child.returncode]
    assert made
    assert all("another meanwhile" in text or "would name" in text for text in refused), refused


def test_a_dry_run_tells_a_further_name(line: Line) -> None:
    before = line.tags()
    done = line.run("set", TAG, "--tag", f"{NAME}:blue", "--dry-run")
    assert f"tagged   store {NAME}:blue" in done.out
    assert line.tags() == before


def test_a_pattern_asks_first(line: Line) -> None:
    done = line.run("set", f"{NAME}:*", "--label", "a=b")
    assert done.status == 2
    assert TAG in done.err
    assert "--yes" in done.err
    assert line.run("set", f"{NAME}:*", "--label", "a=b", "--yes").status == 0
    assert config_of(line)["config"]["Labels"]["a"] == "b"
    assert line.run("set", "no-such:*", "--label", "a=b", "--yes").status == 2
    assert line.run("set", "no-such", "--label", "a=b").status == 2


def test_docker_shows_the_edit(line: Line) -> None:
    require("docker")
    if not engine_answers():
        demand_or_skip("docker", "no Docker Engine answers")
    line.write_config(docker="on")
    try:
        line.build(NAME)
        before = docker("history", "-q", TAG)
        found = facts(line, "--cmd", '["/bin/tool","id"]', "--comment", "shown by docker")
        assert "docker " + TAG in found["moved"]
        image = json.loads(docker("inspect", TAG))[0]
        assert image["Config"]["Cmd"] == ["/bin/tool", "id"]
        shown = docker("history", "--no-trunc", TAG)
        assert 'CMD ["/bin/tool", "id"]' in shown.splitlines()[1]
        assert "shown by docker" in shown
        assert len(docker("history", "-q", TAG).split()) == len(before.split())
        facts(line, "--stop-signal", "QUIT", "--layer")
        assert len(docker("history", "-q", TAG).split()) == len(before.split()) + 1
        line.query("undo", TAG)
        assert json.loads(docker("inspect", TAG))[0]["Id"] == image["Id"]
        foreign = f"{NAME}-foreign:1"
        docker("build", "-q", "-t", foreign, "-f-", ".", text=f"FROM scratch\nLABEL a={foreign}\n")
        tags = line.tags()
        done = line.run("set", TAG, "--env", "A=1", "--tag", foreign)
        assert (done.status, "another image" in done.err) == (25, True)
        silent = line.with_environ(DOCKER_HOST=f"unix://{line.folder}/no.sock")
        done = silent.run("set", TAG, "--env", "A=1")
        assert (done.status, "engine" in done.err) == (25, True)
        assert line.tags() == tags
    finally:
        remove_from_docker()


def test_docker_follows_edits_of_an_image_that_no_recipe_made(line: Line) -> None:
    require("docker")
    if not engine_answers():
        demand_or_skip("docker", "no Docker Engine answers")
    line.write_config(docker="on")
    (line.folder / "root").mkdir(exist_ok=True)
    (line.folder / "root" / "motd").write_text("hello\n")
    name = f"{NAME}-imported:1"
    try:
        line.query("import", str(line.folder / "root"), name)
        for text in ("first", "second"):
            line.query("set", name, "--cmd", '["/motd"]', "--comment", text)
            image = json.loads(docker("inspect", name))[0]
            assert (image["Comment"], image["Config"]["Cmd"]) == (text, ["/motd"])
        line.query("undo", name)
        assert json.loads(docker("inspect", name))[0]["Comment"] == "first"
    finally:
        remove_from_docker()


def remove_from_docker() -> None:
    for name in docker("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if name.startswith(NAME):
            docker("rmi", "-f", name)


def docker(*words: str, text: str = "") -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_service_leaves_an_edit_alone_until_the_recipe_changes(line: Line) -> None:
    with daemon_of(line):
        edited = facts(line, "--env", "A=1")["to"]
        assert line.build(NAME)[NAME]["status"] == "unchanged"
        assert line.tags()[TAG] == edited
        line.edit(NAME, "welcome", "hello there")
        wait_for(lambda: line.tags()[TAG] != edited, 60)
        assert "A=1" not in config_of(line)["config"]["Env"]
    line.edit(NAME, "hello there", "welcome")
