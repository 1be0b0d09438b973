"""SIGKILL at every stage and at the calls that write: the next build finishes, nothing is torn."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from minid.store.records import Records, RunRow
from tests.support.line import HELLO_FILES, Line, new_line, wait_for
from tests.support.require import require

pytestmark = pytest.mark.integration

STAGES = ["fetch", "compile", "pack", "compose", "image", "lint", "check", "publish"]
# strace counts each thread's calls on its own. A run makes about 8 link, 16 fsync and 150 pwrite64
# in the recipe's thread, and 29 pwrite64 in the first.
CALLS = [
    *(("link", number) for number in (1, 4, 7)),
    *(("fsync", number) for number in (1, 6, 10, 15)),
    *(("fdatasync", number) for number in (3, 12, 27)),
    *(("pwrite64", number) for number in (1, 15, 60, 120)),
]


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "runc")


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    """One folder for all: each test changes the recipe, and leaves it built."""
    with new_line(export=True) as line:
        line.build()
        yield line


_numbers = count(1)


def change(line: Line, step: str = "") -> None:
    """Give `hello` a new release and a new file, so that every stage has work."""
    number = next(_numbers)
    ballast = os.urandom(1 << 20).hex()
    sha256 = line.add_source("hello", "1.0.0", {**HELLO_FILES, "ballast": ballast})
    text = line.recipe("hello").read_text()
    lines = []
    for item in text.splitlines():
        if item.startswith("sha256 ="):
            item = f'sha256 = "{sha256}"'
        elif item.startswith("steps ="):
            first = f'"{step}", ' if step else ""
            item = f'steps = [{first}"make", "make DESTDIR=$DESTDIR install"]'
        elif item.startswith("files ="):
            item = f'files = [{{ path = "/etc/motd", content = "welcome {number}" }}]'
        lines.append(item)
    line.recipe("hello").write_text("\n".join(lines) + "\n")


def change_comment(line: Line) -> None:
    """Give `hello` another comment: no check then, whose runtime renames files of its own."""
    text = line.recipe("hello").read_text()
    comment = f'comment = "hello {next(_numbers)}"'
    line.recipe("hello").write_text(re.sub("comment = .*", comment, text))


def last_run(line: Line) -> RunRow:
    records = Records(line.state / "records.sqlite", writable=False)
    try:
        return records.runs("hello", 1)[0]
    finally:
        records.close()


def run_of(line: Line, number: int) -> RunRow:
    records = Records(line.state / "records.sqlite", writable=False)
    try:
        found = records.run(number)
        assert found is not None
        return found
    finally:
        records.close()


def traces(line: Line) -> list[str]:
    """The processes that work in the folder, or see a mount of it, by what gives them away."""
    name = line.folder.parent.name.encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for part in ("cmdline", "environ", "mountinfo"):
            try:
                if name in (process / part).read_bytes():
                    found.append(f"{process.name} {part} {(process / 'cmdline').read_bytes()!r}")
                    break
            except OSError:  # it ended
                break
    return found


def check_store(line: Line) -> None:
    """Each blob has the bytes of its name, and each tag all that it stands for."""
    for path in (line.store / "blobs" / "sha256").iterdir():
        with path.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == path.name
    for tag, digest in line.tags().items():
        check_image(line, tag, digest)


def check_image(line: Line, tag: str, digest: str) -> None:
    manifest = json.loads(line.blob(digest))
    config = json.loads(line.blob(manifest["config"]["digest"]))
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]), tag
    for layer in manifest["layers"]:
        assert len(line.blob(layer["digest"])) == layer["size"], tag


def check_killed(line: Line, before: dict[str, str]) -> None:
    """What must hold at once after a kill: readers see whole images, and all processes ended."""
    wait_for(lambda: not traces(line), 5)
    check_store(line)
    for tag, digest in before.items():
        check_image(line, tag, digest)
    for path in (line.folder / "images").glob("*.provenance.json"):
        check_told(path.with_name(path.name.replace(".provenance.json", ".tar.gz")), path)
    assert line.query("list")


def check_next_build(line: Line, before: dict[str, str]) -> None:
    """The next build finishes, and clears what was left."""
    assert line.build("hello")["hello"]["status"] == "built"
    check_store(line)
    for tag, digest in before.items():
        check_image(line, tag, digest)
    tags = line.tags()
    assert tags["hello:latest"] == tags["hello:1.0.0"] != before["hello:latest"]
    assert tags["ground:latest"] == before["ground:latest"]
    row = last_run(line)
    assert (row.status, row.manifest) == ("ok", tags["hello:latest"])
    check_clean(line)
    assert line.build("hello")["hello"]["status"] == "unchanged"


def check_clean(line: Line) -> None:
    """Nothing is left of any run, killed or not, but what it made."""
    jobs = line.state / "jobs"
    assert not jobs.exists() or list(jobs.iterdir()) == []
    assert list((line.store / "tmp").iterdir()) == []
    assert sorted(path.name for path in line.store.iterdir()) == [
        "blobs",
        "index.json",
        "oci-layout",
        "tmp",
    ]
    images = line.folder / "images"
    stems = {tag.replace(":", "_") + "-image" for tag in line.tags()}
    suffixes = (".tar.gz", ".spdx.json", ".provenance.json")
    names = {stem + suffix for stem in stems for suffix in suffixes}
    assert {path.name for path in images.iterdir()} == names
    for stem in stems:
        check_told(images / f"{stem}.tar.gz", images / f"{stem}.provenance.json")
    records = Records(line.state / "records.sqlite", writable=False)
    try:
        assert not records.has_running()
    finally:
        records.close()
    assert traces(line) == []


def check_told(archive: Path, provenance: Path) -> None:
    """What lies beside an archive is about it."""
    _, file = json.loads(provenance.read_bytes())["subject"]
    assert file["digest"]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()


def kill_at(line: Line, words: str) -> bool:
    """Start a build and kill it, and nothing else, once its log has these words at a line's end;
    whether it was in time."""
    logs = line.state / "logs"
    old = set(logs.glob("*-hello.log"))
    with line.start("build", "hello") as child:
        while child.poll() is None:
            if any(f"{words}\n" in log.read_text() for log in set(logs.glob("*-hello.log")) - old):
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.0005)
        child.communicate(timeout=30)
    return child.returncode == -signal.SIGKILL and last_run(line).status == "running"


@pytest.mark.parametrize("stage", STAGES)
def test_kill_in_stage(line: Line, stage: str) -> None:
    words = "  sleeping" if stage == "compile" else f"== {stage}"
    for _ in range(5):  # a stage can be over before the kill arrives
        before = line.tags()
        change(line, "echo sleeping; sleep 120" if stage == "compile" else "")
        if kill_at(line, words):
            break
    else:
        pytest.fail(f"{stage} was over five times before it could be killed")
    killed = last_run(line)
    assert f"== {stage}\n" in Path(killed.log).read_text()
    check_killed(line, before)
    if stage != "publish":
        assert line.tags() == before
    if stage == "compile":
        change(line)
    check_next_build(line, before)
    row = run_of(line, killed.id)
    assert (row.status, row.error) == ("interrupted", "minid ended before the run did")
    assert row.finished is not None


def kill_at_call(line: Line, call: str, number: int) -> None:
    require("strace")
    inject = f"inject={call}:signal=KILL:when={number}"
    tracer = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
    done = line.run("build", "hello", before=tracer)
    assert done.status == -signal.SIGKILL, done.err


@pytest.mark.parametrize(("call", "number"), CALLS)
def test_kill_at_call(line: Line, call: str, number: int) -> None:
    before = line.tags()
    change(line)
    kill_at_call(line, call, number)
    check_killed(line, before)
    check_next_build(line, before)


@pytest.mark.parametrize("number", [1, 2, 3], ids=["index", "export", "second-export"])
def test_kill_where_a_file_is_replaced(line: Line, number: int) -> None:
    before = line.tags()
    change_comment(line)
    kill_at_call(line, "rename", number)
    check_killed(line, before)
    check_next_build(line, before)


def test_layout_catches_up_with_the_records(line: Line) -> None:
    """Killed with the tags moved and the index not yet: a build of whatever brings it along."""
    before = line.tags()
    change_comment(line)
    kill_at_call(line, "rename", 1)
    listed = {row["name"]: row["manifest"] for row in line.query("list")}
    assert line.tags() == before != listed
    assert line.build("ground")["ground"]["status"] == "unchanged"
    assert line.tags() == listed
    check_store(line)
    line.build("hello")


def test_kill_of_a_first_build() -> None:
    with new_line() as line:
        assert kill_at(line, "== compile")
        wait_for(lambda: not traces(line), 5)
        outcomes = line.build()
        assert outcomes["hello"]["status"] == "built"
        check_store(line)
        assert list((line.state / "jobs").iterdir()) == []
        assert set(line.tags()) == {
            f"{name}:{tag}" for name in ("ground", "hello") for tag in ("1.0.0", "latest")
        }
