"""What goes wrong ends in one clear message, a status of its own, and the last good image."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from minid import errors
from tests.support.line import HELLO_FILES, WORDS_FILES, Done, Line, new_line, wait_for
from tests.support.require import require

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
    require("bwrap", "gcc", "make", "runc")


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """A folder with good images. Every test breaks it and takes that back."""
    with new_line() as line:
        line.build()
        yield line


@pytest.fixture
def line(built: Line) -> Iterator[Line]:
    folders = [built.folder / name for name in ("recipes", "archives")]
    files = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    index = (built.store / "index.json").read_bytes()
    tags = built.query("list")
    yield built
    for folder in folders:
        for path in folder.iterdir():
            path.unlink()
    for path, data in files.items():
        path.write_bytes(data)
    # The last good image and its tags are untouched, in the layout and in the records.
    assert (built.store / "index.json").read_bytes() == index
    assert built.query("list") == tags
    assert list((built.state / "jobs").iterdir()) == []
    assert list((built.store / "tmp").iterdir()) == []
    assert built.build("hello")["hello"]["manifest"] == built.tags()["hello:latest"]


@dataclass(frozen=True)
class Case:
    """How a recipe is broken, and what must be said about it."""

    name: str
    error: type[errors.MinidError]
    says: str
    spoil: Callable[[Line], None]
    has_log: bool = False


def edit(before: str, after: str) -> Callable[[Line], None]:
    return lambda line: line.edit("hello", before, after)


def new_source(**changes: str) -> Callable[[Line], None]:
    """Another archive under the same name, with its digest in the recipe."""

    def spoil(line: Line) -> None:
        files = HELLO_FILES | {name.replace("_", "."): text for name, text in changes.items()}
        sha256 = line.add_source("hello", "1.0.0", files)
        text = line.recipe("hello").read_text()
        line.recipe("hello").write_text(re.sub('sha256 = ".*"', f'sha256 = "{sha256}"', text))

    return spoil


def damaged_archive(line: Line) -> None:
    import hashlib

    file = line.folder / "archives" / "hello-1.0.0.tar.gz"
    data = file.read_bytes()[:-40]
    file.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    text = line.recipe("hello").read_text()
    line.recipe("hello").write_text(re.sub('sha256 = ".*"', f'sha256 = "{digest}"', text))


def cycle(line: Line) -> None:
    line.edit("words", 'environment = "host"\n', 'environment = "host"\nneeds = ["more"]\n')
    text = line.recipe("words").read_text().replace('"more"', '"words"')
    line.recipe("more").write_text(text)


# Linked against a library that lies in the source tree and is never installed.
LOST_LIBRARY = (
    "S = $(SYSROOT)/usr/local\nall:\n\techo 'int lost(void) { return 1; }' > lost.c\n"
    "\tgcc -shared -fPIC -Wl,-soname,liblost.so.7 -o liblost.so lost.c\n"
    "\tgcc -DVERSION='\"1\"' -I$(S)/include -o hello hello.c -L. -Wl,--no-as-needed -llost "
    "-L$(S)/lib -lwords -Wl,-rpath,/usr/local/lib\n"
    "install:\n\tmkdir -p $(DESTDIR)/usr/local/bin $(DESTDIR)/usr/local/etc\n"
    "\tcp hello $(DESTDIR)/usr/local/bin\n\tcp hello.conf $(DESTDIR)/usr/local/etc\n"
)

CASES = [
    Case(
        "broken_recipe",
        errors.RecipeError,
        'hello.toml: image.coment: expected a known key, got "coment"',
        edit("\ncomment = ", "\ncoment = "),
    ),
    Case("no_toml", errors.RecipeError, "hello.toml:", edit("[source]", "[source")),
    Case(
        "wrong_digest",
        errors.DigestMismatchError,
        "hello-1.0.0.tar.gz",
        edit('sha256 = "', 'sha256 = "' + "0" * 64 + '" # "'),
    ),
    Case(
        "nowhere",
        errors.FetchError,
        "hello-9.9.9.tar.gz",
        lambda line: (
            edit('sha256 = "', 'sha256 = "' + "0" * 64 + '" # "')(line)
            or edit('version = "1.0.0"', 'version = "9.9.9"')(line)
        ),
    ),
    Case("damaged", errors.UnpackError, "hello-1.0.0.tar.gz", damaged_archive),
    Case(
        "failing_compile",
        errors.BuildError,
        "build.steps[0]: expected status 0, got 2",
        new_source(hello_c="int main(void) { return oops; }\n"),
        has_log=True,
    ),
    Case(
        "installs_nothing",
        errors.BuildError,
        "expected files below $DESTDIR, got none",
        edit("make DESTDIR=$DESTDIR install", "true"),
        has_log=True,
    ),
    Case(
        "missing_library",
        errors.ClosureError,
        "liblost.so.7",
        new_source(Makefile=LOST_LIBRARY),
    ),
    Case(
        "edit_without_match", errors.ComposeError, "expected 1 of 'crimson'", edit("red", "crimson")
    ),
    Case("over_budget", errors.ImageError, "image.budget", edit('"20 MB"', '"1 MB"')),
    Case(
        "failing_check",
        errors.CheckError,
        "/usr/local/bin/hello",
        edit('contains = "hello {', 'contains = "goodbye {'),
    ),
    Case(
        "unknown_environment",
        errors.ConfigError,
        "build.environment: expected one of debian, host, got 'moon'",
        edit('"host"', '"moon"'),
    ),
    Case(
        "missing_base",
        errors.RecipeError,
        'rootfs.base: expected the name of an image recipe, a tag of the store or "scratch", '
        'got "grund"',
        edit('base = "ground"', 'base = "grund"'),
    ),
    Case(
        "missing_patch",
        errors.RecipeError,
        "source.patches[0]: expected a regular file",
        edit("[build]\n", 'patches = ["none.patch"]\n[build]\n'),
    ),
    Case("cycle", errors.RecipeError, "more → words → more", cycle),
]


def assert_one_clear_message(done: Done, case: Case) -> None:
    told = [text for text in done.err.splitlines() if text.startswith("minid: ")]
    assert told, done.err
    assert done.err.count(told[0]) == 1, done.err
    assert case.says in "\n".join(told), done.err
    assert "Traceback" not in done.err
    tail = [text for text in done.err.splitlines() if text.startswith("  | ")]
    assert bool(tail) >= case.has_log, done.err
    assert len(tail) <= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(line: Line, case: Case) -> None:
    case.spoil(line)
    done = line.run("build", "hello")
    assert done.status == case.error.exit_code, done.err
    assert_one_clear_message(done, case)
    said = line.run("build", "--json", "hello")
    assert said.status == case.error.exit_code
    value = said.json()
    found = value["error"] if isinstance(value, dict) else value[-1]["error"]
    assert found["kind"] == case.error.__name__
    assert case.says in found["message"]
    # A recipe beside the broken one is none of its business.
    assert line.run("build", "ground").status == 0
    status = line.run("status", "--json")
    assert status.status == 3
    assert {"recipe": "ground", "state": "up to date"}.items() <= status.json()["recipes"][
        0
    ].items()


def test_statuses_are_distinct() -> None:
    kinds = {case.error for case in CASES}
    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def test_last_forty_lines_of_the_log_and_the_whole_of_it(line: Line) -> None:
    line.edit("hello", '"make", "make', '"seq 1 100; echo oh no >&2; exit 7", "make')
    done = line.run("build", "hello")
    tail = [text[4:] for text in done.err.splitlines() if text.startswith("  | ")]
    assert tail == [*(str(number) for number in range(62, 101)), "oh no"]
    assert "build.steps[0]: expected status 0, got 7" in done.err
    log = re.search(r"^  log: (.*)$", done.err, re.MULTILINE)
    assert log is not None
    text = Path(log.group(1)).read_text()
    assert all(re.search(rf"^ *\d+  {number}$", text, re.MULTILINE) for number in range(1, 101))
    assert line.run("logs", "hello").out.splitlines()[-1].endswith("expected status 0, got 7")
    state = line.run("status", "hello")
    assert (state.status, "failed" in state.out) == (3, True)
    explained = line.query("explain", "hello")["last_run"]
    assert explained["status"] == "failed"
    assert "got 7" in explained["error"]


def test_control_characters_of_a_build_do_not_reach_the_terminal(line: Line) -> None:
    line.edit("hello", '"make", "make', r'"printf \"\\\\033]0;owned\\\\007\\\\n\"; exit 7", "make')
    done = line.run("build", "-v", "hello")
    assert "owned" in done.err
    assert "\x1b" not in done.err + line.run("logs", "hello").out


def test_what_stands_on_a_failed_recipe_is_skipped_and_the_rest_is_built(line: Line) -> None:
    line.edit("words", '"make", "make', '"exit 9", "make')
    line.add_recipe("alone", WORDS_FILES)
    done = line.run("build", "--json", "alone", "hello")
    outcomes = {item["recipe"]: item for item in done.json()}
    assert done.status == errors.BuildError.exit_code
    assert outcomes["words"]["status"] == "failed"
    assert outcomes["hello"]["status"] == "skipped"
    assert "words, which failed" in outcomes["hello"]["error"]["message"]
    assert outcomes["ground"]["status"] == "unchanged"
    assert outcomes["alone"]["status"] == "built"
    shown = line.run("build", "alone", "hello").err
    assert shown.index("exit 9") < shown.index("hello: stands on words, which failed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_cancelled(line: Line, number: signal.Signals) -> None:
    line.edit("hello", '"make", "make', '"make; echo sleeping; sleep 600", "make')
    child = line.start("build", "hello", "-v")
    said = []
    assert child.stderr is not None
    for text in child.stderr:
        said.append(text)
        if text.endswith("| sleeping\n"):
            break
    os.kill(child.pid, number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err.count("minid: hello: build.steps[0]: cancelled") == 1
    assert "Traceback" not in err
    runs = json.loads(line.run("explain", "hello", "--json").out)["last_run"]
    assert runs["status"] == "failed"
    assert "cancelled" in runs["error"]


def test_cancelled_while_an_archive_trickles_in(line: Line) -> None:
    line.add_recipe("late", WORDS_FILES)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        child = line.with_environ(MINID_MIRRORS=url).start("build", "late")
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            os.kill(child.pid, signal.SIGINT)

            def is_over() -> bool:
                with suppress(OSError):  # minid hangs up
                    connection.sendall(b"x" * 100)
                return child.poll() is not None

            wait_for(is_over)
        _, err = child.communicate(timeout=30)
    assert (child.returncode, "minid: late: fetch: cancelled" in err) == (130, True)
    assert list((line.store / "tmp").iterdir()) == []


def test_second_build_waits_for_the_first(line: Line) -> None:
    line.edit("hello", '"make", "make', '"echo waiting; sleep 600", "make')
    with line.start("build", "hello", "-v") as first:
        assert first.stderr is not None
        wait_for(lambda: first.stderr is not None and "| waiting" in first.stderr.readline())
        with line.start("build", "ground") as second:
            assert second.stderr is not None
            assert f"process {first.pid}" in second.stderr.readline()
            first.send_signal(signal.SIGTERM)
            first.communicate(timeout=30)
            out, _ = second.communicate(timeout=30)
            assert (second.returncode, "nothing has changed" in out) == (0, True)
