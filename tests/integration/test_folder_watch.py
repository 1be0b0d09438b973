"""Watching a real folder: editors, checkouts, floods, limits, folders that go and come."""

from __future__ import annotations

import mmap
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from minid.config import Config, EnvironmentSpec, Paths
from minid.daemon.catalogue import Catalogue
from minid.daemon.folder_watch import FolderWatch
from tests.support.require import require

pytestmark = pytest.mark.integration

DEADLINE_S = 20.0
# As long as a batch can be held back, and some: what was not told by then will not be.
QUIET_S = 1.2


class Ear:
    """Collects what a watch tells."""

    def __init__(self) -> None:
        self.news: list[frozenset[str] | None] = []
        self._heard = threading.Condition()

    def __call__(self, names: frozenset[str] | None) -> None:
        with self._heard:
            self.news.append(names)
            self._heard.notify_all()

    def names(self) -> set[str]:
        return set().union(*(names for names in self.news if names is not None))

    def expect(self, *names: str) -> None:
        """Wait until all of these have been told; and nothing else was, nor is for a while."""
        self.wait_for(lambda: self.names() >= set(names))
        time.sleep(QUIET_S)
        assert self.names() == set(names)
        assert None not in self.news
        self.news.clear()

    def expect_silence(self) -> None:
        time.sleep(QUIET_S)
        assert self.news == []

    def expect_everything(self) -> None:
        self.wait_for(lambda: None in self.news)
        time.sleep(QUIET_S)
        self.news.clear()

    def wait_for(self, found: Callable[[], bool]) -> None:
        with self._heard:
            assert self._heard.wait_for(found, DEADLINE_S), self.news


@contextmanager
def watching(folder: Path, **options: float) -> Iterator[tuple[FolderWatch, Ear]]:
    ear = Ear()
    with FolderWatch(folder, ear, **options) as watch:  # type: ignore[arg-type]
        yield watch, ear
    assert watch.state.mode == "stopped"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "recipes"
    path.mkdir()
    return path


def expect_mode(watch: FolderWatch, mode: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while watch.state.mode != mode and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watch.state.mode == mode


def test_a_recipe_is_copied_in(folder: Path) -> None:
    with watching(folder) as (watch, ear):
        assert (watch.state.mode, watch.state.reason) == ("events", "")
        subprocess.run(["cp", "/etc/hostname", str(folder / "nginx.toml")], check=True)
        ear.expect("nginx")
        (folder / "nginx.toml").unlink()
        ear.expect("nginx")


def test_a_recipe_is_renamed_and_moved_in_and_out(folder: Path, tmp_path: Path) -> None:
    (folder / "a.toml").write_text("x")
    (tmp_path / "elsewhere.toml").write_text("x")
    with watching(folder) as (_, ear):
        (folder / "a.toml").rename(folder / "b.toml")
        ear.expect("a", "b")
        (tmp_path / "elsewhere.toml").rename(folder / "c.toml")
        ear.expect("c")
        (folder / "c.toml").rename(tmp_path / "elsewhere.toml")
        ear.expect("c")


def test_vim_saves(folder: Path) -> None:
    """With 'backup' and 'writebackup', as traced: try, move away, write anew, drop the old."""
    file = folder / "nginx.toml"
    file.write_text("x")
    with watching(folder) as (_, ear):
        (folder / ".nginx.toml.swp").write_text("swap")
        (folder / ".nginx.toml.swx").write_text("swap")
        (folder / ".nginx.toml.swx").unlink()
        ear.expect_silence()
        (folder / "4913").touch()
        (folder / "4913").unlink()
        file.rename(folder / "nginx.toml~")
        file.write_text("y")
        file.chmod(0o644)
        (folder / "nginx.toml~").unlink()
        ear.wait_for(lambda: "nginx" in ear.names())
        time.sleep(QUIET_S)
        assert ear.names() <= {"nginx", "4913", "nginx.toml~"}
        assert len(ear.news) == 1  # one save, one piece of news


def test_emacs_edits_and_saves(folder: Path) -> None:
    file = folder / "nginx.toml"
    file.write_text("x")
    with watching(folder) as (_, ear):
        (folder / ".#nginx.toml").symlink_to("me@host.1234:5678")
        (folder / "#nginx.toml#").write_text("auto-save")
        ear.expect_silence()
        file.write_text("y")
        (folder / ".#nginx.toml").unlink()
        (folder / "#nginx.toml#").unlink()
        ear.expect("nginx")


def test_rsync_writes_beside_and_renames(folder: Path) -> None:
    with watching(folder) as (_, ear):
        with (folder / ".nginx.toml.kA3xZ1").open("w") as file:
            file.write("half")
            file.flush()
            ear.expect_silence()
        (folder / ".nginx.toml.kA3xZ1").rename(folder / "nginx.toml")
        ear.expect("nginx")


def test_a_half_written_file_is_told_when_closed(folder: Path) -> None:
    with watching(folder) as (_, ear):
        with (folder / "nginx.toml").open("w") as file:
            file.write("half")
            file.flush()
            ear.expect_silence()
        ear.expect("nginx")


def test_a_file_that_is_never_closed_is_told_when_left_alone(folder: Path) -> None:
    with watching(folder, settle_s=0.3) as (_, ear), (folder / "nginx.toml").open("w") as file:
        file.write("all")
        file.flush()
        ear.expect("nginx")


def test_a_file_written_through_a_map_is_told(folder: Path) -> None:
    file = folder / "nginx.toml"
    file.write_text("before")
    with watching(folder) as (_, ear):
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
            memory[:6] = b"after!"
        ear.expect("nginx")


def test_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("x")
    with watching(folder, settle_s=30) as (_, ear):
        (folder / "hard.toml").hardlink_to(tmp_path / "one")
        ear.expect("hard")
        (folder / "soft.toml").symlink_to("hard.toml")
        ear.expect("soft")


def test_patches(folder: Path, tmp_path: Path) -> None:
    (folder / "nginx" / "deep").mkdir(parents=True)
    with watching(folder) as (_, ear):
        (folder / "nginx" / "a.patch").write_text("x")
        ear.expect("nginx")
        (folder / "nginx" / "deep" / "b.patch").write_text("x")
        ear.expect("nginx")
        (folder / "nginx" / "deep" / ".b.patch.swp").write_text("x")
        (folder / "nginx" / "deep" / "b.patch~").write_text("x")
        ear.expect_silence()
        (folder / "curl" / "new").mkdir(parents=True)
        (folder / "curl" / "new" / "c.patch").write_text("x")
        ear.expect("curl")
        (folder / "curl" / "new" / "c.patch").write_text("y")
        ear.expect("curl")
        (folder / "curl").rename(folder / "wget")
        ear.expect("curl", "wget")
        (folder / "wget" / "new" / "c.patch").write_text("z")
        ear.expect("wget")
        (tmp_path / "shared").mkdir()
        (folder / "linked").symlink_to(tmp_path / "shared")
        ear.expect("linked")
        (tmp_path / "shared" / "d.patch").write_text("x")
        ear.expect("linked")
        subprocess.run(["rm", "-r", str(folder / "wget")], check=True)
        ear.expect("wget")


def test_a_checkout_of_fifty(folder: Path) -> None:
    require("git")

    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.test"]
        subprocess.run(
            ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True
        )

    names = {f"r{number}" for number in range(50)}
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "none")
    git("tag", "none")
    for name in names:
        (folder / f"{name}.toml").write_text("x")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    git("tag", "all")
    git("checkout", "-q", "none")
    with watching(folder) as (_, ear):
        git("checkout", "-q", "all")
        ear.expect(*names)
        git("checkout", "-q", "none")
        ear.expect(*names)


def test_a_storm_is_told_in_few_batches(folder: Path) -> None:
    names = {f"r{number}" for number in range(25)}
    with watching(folder) as (_, ear):
        for number in range(250):
            (folder / f"r{number % 25}.toml").write_text(str(number))
            (folder / f".r{number % 25}.toml.swp").write_text(str(number))
            time.sleep(0.004)
        last = len(ear.news)
        ear.wait_for(lambda: ear.names() >= names and len(ear.news) > 0)
        time.sleep(QUIET_S)
        assert ear.names() == names
        assert len(ear.news) <= 20, last


def test_a_folder_that_goes_and_comes_again(folder: Path) -> None:
    (folder / "a.toml").write_text("x")
    with watching(folder) as (watch, ear):
        subprocess.run(["rm", "-r", str(folder)], check=True)
        ear.expect_everything()
        expect_mode(watch, "polling")
        assert "not there" in watch.state.reason
        folder.mkdir()
        ear.expect_everything()
        expect_mode(watch, "events")
        (folder / "a.toml").write_text("x")
        ear.expect("a")


def test_a_folder_that_was_never_there(tmp_path: Path) -> None:
    with watching(tmp_path / "recipes") as (watch, ear):
        expect_mode(watch, "polling")
        (tmp_path / "recipes").mkdir()
        ear.expect_everything()
        expect_mode(watch, "events")


def test_a_linked_folder_and_a_link_that_moves_on(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
    link = tmp_path / "recipes"
    link.symlink_to("one")
    with watching(link, poll_s=0.2) as (watch, ear):
        (tmp_path / "one" / "a.toml").write_text("x")
        ear.expect("a")
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(link)
        ear.expect_everything()
        expect_mode(watch, "events")
        (tmp_path / "one" / "a.toml").write_text("y")
        ear.expect_silence()
        (tmp_path / "two" / "b.toml").write_text("x")
        ear.expect("b")


CHILD = """
import os, sys, time
from pathlib import Path
from minid.config import Config, EnvironmentSpec, Paths
from minid.daemon.catalogue import Catalogue
from minid.daemon.folder_watch import FolderWatch

heard = lambda names: print("everything" if names is None else sorted(names), flush=True)
with FolderWatch(Path(sys.argv[1]), heard, poll_s=0.2) as watch:
    print(watch.state.mode, watch.state.reason, flush=True)
    for line in sys.stdin:
        print(watch.state.mode, watch.state.reason, flush=True)
"""


@contextmanager
def child(folder: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    argv = [*before, sys.executable, "-c", CHILD, str(folder)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """The next line that holds the word; ends with the child, which a timer ends."""
    assert process.stdout is not None
    timer = threading.Timer(DEADLINE_S, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            if word in line:
                return line
    finally:
        timer.cancel()
    raise AssertionError(f"{word!r} was never told")


def test_a_queue_that_runs_over_is_a_rescan(folder: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 40_000:
        pytest.skip(f"the queue holds {limit} events here")
    with child(folder) as process:
        assert process.stdin is not None
        read_until(process, "events")
        process.send_signal(signal.SIGSTOP)
        for number in range(limit // 2 + 1000):
            (folder / f"r{number}.toml").touch()
        process.send_signal(signal.SIGCONT)
        read_until(process, "everything")
        said = ""
        for _ in range(100):
            print("how", file=process.stdin, flush=True)
            if "queue" in (said := read_until(process, "events")):
                break
            time.sleep(0.1)
        assert "the kernel's queue" in said
        time.sleep(QUIET_S)  # or it is told as a part of everything
        (folder / "after.toml").write_text("x")
        assert "after" in read_until(process, "after")


def test_too_few_watches_are_polling(folder: Path) -> None:
    require("unshare")
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    (folder / "c.toml").write_text("x")
    limited = 'echo 2 > /proc/sys/user/max_inotify_watches && exec "$@"'
    before = ("unshare", "--user", "--map-root-user", "sh", "-c", limited, "sh")
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace with limits of its own here")
    with child(folder, *before) as process:
        assert "watch limit reached" in read_until(process, "polling")
        (folder / "c.toml").write_text("changed")
        assert "c" in read_until(process, "[")
        (folder / "a" / "x.patch").write_text("changed")
        assert "a" in read_until(process, "[")
        (folder / "c.toml").unlink()
        assert "c" in read_until(process, "[")


def test_watches_run_out_later(folder: Path) -> None:
    require("unshare")
    limited = 'echo 2 > /proc/sys/user/max_inotify_watches && exec "$@"'
    before = ("unshare", "--user", "--map-root-user", "sh", "-c", limited, "sh")
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace with limits of its own here")
    with child(folder, *before) as process:
        assert process.stdin is not None
        read_until(process, "events")
        for name in "abc":
            (folder / name).mkdir()
        read_until(process, "everything")
        print("how", file=process.stdin, flush=True)
        assert "limit" in read_until(process, "polling")
        (folder / "c" / "x.patch").write_text("x")
        assert "c" in read_until(process, "[")


def test_polling_waits_until_a_file_stays_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minid.daemon.folder_watch.silent_file_system", lambda _: "nfs4")
    with watching(folder, poll_s=0.1) as (watch, ear):
        assert "nfs4 tells no events" in watch.state.reason
        with (folder / "a.toml").open("w") as file:
            for _ in range(10):
                file.write("more")
                file.flush()
                time.sleep(0.06)
            assert ear.news == []
        ear.expect("a")
        (folder / "a.toml").rename(folder / "b.toml")
        ear.expect("a", "b")


def test_attributes_alone_are_told(folder: Path) -> None:
    """What could not be read may be readable now, and the other way round."""
    (folder / "a.toml").write_text("x")
    (folder / "b").mkdir()
    with watching(folder) as (watch, ear):
        (folder / "a.toml").chmod(0)
        ear.expect("a")
        (folder / "b").chmod(0o700)
        ear.expect("b")
        (folder / "b" / "x.patch").write_text("x")
        ear.expect("b")
        folder.chmod(0o700)
        ear.expect_everything()
        expect_mode(watch, "events")


def test_no_thread_and_no_descriptor_is_left(folder: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = (threading.active_count(), descriptors())
    for _ in range(3):
        with watching(folder) as (_, ear):
            (folder / "a.toml").write_text("x")
            ear.wait_for(lambda heard=ear: bool(heard.news))  # type: ignore[misc]
    assert (threading.active_count(), descriptors()) == before


def make_change(folder: Path, random: Random, number: int) -> None:
    """What happens to one of forty recipes: written, broken, patched, renamed, deleted."""
    name = f"r{random.randrange(40)}"
    file = folder / f"{name}.toml"
    source = f'[source]\nversion = "{number}"\nurl = "https://x.test/x"\nsha256 = "{"0" * 64}"\n'
    text = source + '[build]\nsteps = ["make"]\n'
    match random.randrange(6):
        case 0:
            file.write_text(text[: random.randrange(len(text))])
        case 1:
            file.unlink(missing_ok=True)
        case 2:
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "a.patch").write_text(str(number))
        case 3:
            file.write_text(source + f'patches = ["a.patch"]\n{text[len(source) :]}')
        case 4:
            (folder / f".{name}.new").write_text(text)
            (folder / f".{name}.new").rename(file)
        case _:
            file.write_text(text)


@pytest.mark.parametrize("seed", range(3))
def test_after_a_storm_the_catalogue_is_what_the_folder_is(folder: Path, seed: int) -> None:
    config = Config(
        file=None,
        paths=Paths(recipes=folder, state=folder.parent / "state"),
        environments=(EnvironmentSpec("debian", "host"),),
    )
    catalogue = Catalogue(config)
    random = Random(seed)

    def follow(names: frozenset[str] | None) -> None:
        if names is None:
            catalogue.scan()
        else:
            catalogue.update(names)

    with FolderWatch(folder, follow):
        catalogue.scan()
        for number in range(250):
            make_change(folder, random, number)
            (folder / f".r{number % 40}.toml.swp").write_text(str(number))
            time.sleep(0.006)
        time.sleep(QUIET_S)
    fresh = Catalogue(config)
    fresh.scan()
    assert len(fresh.recipes) > 5
    assert len(fresh.problems) > 0
    assert dict(catalogue.recipes) == dict(fresh.recipes)
    assert dict(catalogue.problems) == dict(fresh.problems)
    assert not catalogue.scan().changed  # no patch was missed
