"""Runs and their stages: what the records say, also of a run that fails or lost a blob."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from minid.config import Config, Paths
from minid.errors import BuildError
from minid.formats.digest import Digest
from minid.line.run import Output, Run, digests, load_json, open_run
from minid.line.workshop import Workshop, open_workshop
from minid.recipe import Build, Recipe, Source
from minid.report import Silence

RECIPE = Recipe(
    name="web",
    file=Path("web.toml"),
    folder=Path("web"),
    kind="image",
    source=Source("1.2", "https://upstream.test/web.tar.gz", Digest.of(b"")),
    build=Build(),
)


class Listener(Silence):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def stage_started(self, recipe: str, stage: str) -> None:
        self.heard.append(("started", recipe, stage))

    def stage_finished(self, recipe: str, stage: str, seconds: float, *, cached: bool) -> None:
        self.heard.append(("finished", recipe, stage, cached))

    def log_line(self, recipe: str, line: str) -> None:
        self.heard.append(("line", recipe, line))


def config(folder: Path) -> Config:
    return Config(file=None, paths=Paths(recipes=folder / "recipes", state=folder / "var"))


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def shop(tmp_path: Path, listener: Listener) -> Iterator[Workshop]:
    ticks = count(1000)
    with open_workshop(
        config(tmp_path), {}, reporter=listener, clock=lambda: float(next(ticks))
    ) as opened:
        yield opened


def make_blob(run: Run, text: bytes) -> Output:
    return {"text": text.decode(), "blobs": digests(run.shop.blobs.add(text))}


def fail() -> Output:
    raise BuildError("web.toml: build.steps[0]: expected status 0, got 2")


def never() -> Output:
    raise AssertionError("the store has it")


def test_a_stage_is_made_once(shop: Workshop, listener: Listener) -> None:
    key = "a" * 64
    with open_run(shop, RECIPE, "first build", ()) as run:
        made = run.stage("pack", key, lambda: make_blob(run, b"1"), {"gcc": "12"})
    with open_run(shop, RECIPE, "asked", ()) as again:
        assert again.stage("pack", key, never) == made
    rows = [shop.records.stages(item.id)[0] for item in (run, again)]
    assert [(row.name, row.key, row.cached) for row in rows] == [
        ("pack", key, False),
        ("pack", key, True),
    ]
    assert [row.tools for row in rows] == [{"gcc": "12"}, {}]
    told = [item for item in listener.heard if item[0] != "line"]
    assert told == [
        ("started", "web", "pack"),
        ("finished", "web", "pack", False),
        ("finished", "web", "pack", True),
    ]
    assert run.seconds.keys() == again.seconds.keys() == {"pack"}


def test_another_key_is_made_anew(shop: Workshop) -> None:
    with open_run(shop, RECIPE, "asked", ()) as run:
        run.stage("pack", "a" * 64, lambda: make_blob(run, b"1"))
        assert run.stage("pack", "b" * 64, lambda: make_blob(run, b"2"))["text"] == "2"


def test_a_result_that_lost_a_blob_is_made_again(shop: Workshop) -> None:
    key = "a" * 64
    with open_run(shop, RECIPE, "asked", ()) as run:
        made = run.stage("pack", key, lambda: make_blob(run, b"1"))
        shop.blobs.path(Digest.of(b"1")).unlink()
        assert run.find(key) is None
        assert run.stage("pack", key, lambda: make_blob(run, b"1")) == made
        assert run.find(key) == made


def test_a_forced_run_makes_everything(shop: Workshop) -> None:
    key = "a" * 64
    with open_run(shop, RECIPE, "asked", ()) as run:
        run.stage("pack", key, lambda: make_blob(run, b"1"))
    with open_run(shop, RECIPE, "forced", (), forced=True) as run:
        assert run.stage("pack", key, lambda: make_blob(run, b"2"))["text"] == "2"
    with open_run(shop, RECIPE, "asked", ()) as run:
        assert run.stage("pack", key, never)["text"] == "2"


def test_a_failure_is_recorded_with_its_exit_code_and_no_result(shop: Workshop) -> None:
    with pytest.raises(BuildError), open_run(shop, RECIPE, "asked", ("image.cmd",)) as run:
        run.stage("compile", "a" * 64, fail)
    (row,) = shop.records.runs("web")
    assert (row.status, row.exit_code, row.changes) == ("failed", 20, ("image.cmd",))
    assert "expected status 0, got 2" in row.error
    assert row.finished is not None
    assert shop.records.stages(row.id) == []
    assert shop.records.result("a" * 64) is None
    assert shop.records.inputs("web") == {}


@pytest.mark.parametrize("error", [RuntimeError("oops"), KeyboardInterrupt(), OSError(28, "full")])
def test_whatever_ends_a_run_is_recorded(shop: Workshop, error: BaseException) -> None:
    with pytest.raises(type(error)), open_run(shop, RECIPE, "asked", ()):
        raise error
    (row,) = shop.records.runs("web")
    assert (row.status, row.exit_code) == ("failed", 1)
    assert row.error


def test_the_log_says_why_and_which_stages(shop: Workshop, listener: Listener) -> None:
    with pytest.raises(BuildError), open_run(shop, RECIPE, "changed", ("image.cmd",)) as run:
        run.stage("pack", "b" * 64, lambda: make_blob(run, b"1"))
        run.log.write(b"half a line")
        run.stage("compile", "a" * 64, fail)
    (row,) = shop.records.runs("web")
    lines = [line[8:] for line in Path(row.log).read_text().splitlines()]
    assert lines == [
        f"== run {row.id}: web 1.2, because: changed",
        "   changed: image.cmd",
        "== pack",
        "half a line",
        "== compile",
        "== failed: web.toml: build.steps[0]: expected status 0, got 2",
    ]
    assert [item[2] for item in listener.heard if item[0] == "line"] == lines
    assert Path(row.log).name == f"{row.id:06d}-web.log"


def test_json_of_the_store_is_an_object() -> None:
    assert load_json(b'{"a": 1}') == {"a": 1}
    for data in (b"[]", b"7", b"null", b"", b"{"):
        with pytest.raises(ValueError, match=r"."):
            load_json(data)


def test_no_stage_begins_once_the_build_is_cancelled(shop: Workshop, listener: Listener) -> None:
    shop.cancel.set()
    made: list[str] = []

    def make() -> Output:
        made.append("made")
        return {"blobs": []}

    with (
        pytest.raises(BuildError, match="web: publish: cancelled"),
        open_run(shop, RECIPE, "asked", ()) as run,
    ):
        run.stage("publish", "key", make)
    assert made == []
    assert not [words for words in listener.heard if words[0] == "started"]
    assert shop.records.result("key") is None
