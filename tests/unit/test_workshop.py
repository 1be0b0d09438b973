"""Opening a working folder for writing: one at a time, and nothing of a killed minid stays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minid.config import Config, Paths
from minid.errors import HostError, StoreError
from minid.formats.digest import Digest
from minid.line.workshop import Assignment, open_delegate, open_guest, open_workshop
from minid.report import Silence
from minid.store.edits import EditRow, Edits
from minid.store.lease import living_leases
from minid.store.records import Records


class Notes(Silence):
    """Remembers notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.noted = threading.Event()

    def note(self, recipe: str, text: str) -> None:
        self.texts.append(f"{recipe}: {text}")
        self.noted.set()


def config(folder: Path) -> Config:
    return Config(file=None, paths=Paths(recipes=folder / "recipes", state=folder / "var"))


def test_what_is_missing_is_made(tmp_path: Path) -> None:
    with open_workshop(config(tmp_path), {}) as shop:
        assert shop.blobs.read(shop.blobs.add(b"x")) == b"x"
        assert shop.records.runs() == []
        assert shop.machine
        assert not shop.cancel.is_set()
    assert (tmp_path / "var/records.sqlite").is_file()
    assert (tmp_path / "var/store/blobs/sha256").is_dir()


KILLED = """
import os, signal, sys
from pathlib import Path
from minid.config import Config, Paths
from minid.errors import HostError
from minid.formats.digest import Digest
from minid.line.workshop import Assignment, open_delegate, open_guest, open_workshop
folder = Path(sys.argv[1])
paths = Paths(recipes=folder / "recipes", state=folder / "var")
with open_workshop(Config(file=None, paths=paths), {}) as shop:
    run = shop.records.start_run("web", "1.2", "asked", (), 1.0)
    shop.records.set_log(run, "log")
    job = paths.jobs / "web-x" / "src"
    job.mkdir(parents=True)
    (job / "file").touch()
    (job / "closed").mkdir(mode=0)
    (paths.jobs / "stray").touch()
    (paths.jobs / "link").symlink_to("/etc")
    with shop.blobs.receive() as sink:
        sink.write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_of_a_killed_minid_stays(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -9
    assert len(list((tmp_path / "var/jobs").iterdir())) == 3
    with open_workshop(config(tmp_path), {}, clock=lambda: 7.0) as shop:
        (row,) = shop.records.runs()
        assert (row.status, row.finished) == ("interrupted", 7.0)
        assert list(shop.config.paths.jobs.iterdir()) == []
        assert list(shop.blobs.temporary.iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_a_lost_image_does_not_keep_its_mending_out(tmp_path: Path) -> None:
    """A run was cut off, and the manifest that a tag leads to is gone."""
    with open_workshop(config(tmp_path), {}) as shop:
        run = shop.records.start_run("web", "1.2", "asked", (), 1.0)
        image = {"manifest": f"sha256:{'1' * 64}", "recipe": "web", "version": "1.2"}
        shop.records.publish(run, image, ["web:latest"], 1.0)
    with open_workshop(config(tmp_path), {}) as shop:
        assert [row.status for row in shop.records.runs()] == ["interrupted"]


def test_a_second_one_waits_and_says_for_whom(tmp_path: Path) -> None:
    notes = Notes()
    done = threading.Event()

    def second() -> None:
        with open_workshop(config(tmp_path), {}, reporter=notes):
            done.set()

    thread = threading.Thread(target=second)
    with open_workshop(config(tmp_path), {}):
        thread.start()
        assert notes.noted.wait(30)
        assert not done.is_set()
    thread.join(30)
    assert done.is_set()
    (text,) = notes.texts
    assert text.startswith("minid: waiting for another minid (process ")


def test_nobody_waits_for_a_service(tmp_path: Path) -> None:
    with (
        open_workshop(config(tmp_path), {}, role="daemon"),
        pytest.raises(StoreError, match=f"got a daemon \\(process {os.getpid()}\\)"),
        open_workshop(config(tmp_path), {}),
    ):
        pass


def test_an_error_inside_closes_the_records_and_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_workshop(config(tmp_path), {}) as shop:
        shop.records.start_run("web", "1.2", "asked", (), 1.0)
        raise RuntimeError
    # What waited is on disk, and the next one does not wait.
    assert Records(tmp_path / "var/records.sqlite", writable=False).runs()[0].status == "running"
    notes = Notes()
    with open_workshop(config(tmp_path), {}, reporter=notes):
        assert notes.texts == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be in a folder of another's")
def test_root_is_refused_in_the_folder_of_another_user(tmp_path: Path) -> None:
    state = tmp_path / "var"
    state.mkdir()
    os.chown(state, 12345, 12345)
    with (
        pytest.raises(HostError, match="expected to be run as #12345"),
        open_workshop(config(tmp_path), {}),
    ):
        pass
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(("role", "mode"), [("daemon", 0o640), ("", 0o600)])
def test_who_may_ask_the_service_may_read_the_records(tmp_path: Path, role: str, mode: int) -> None:
    before = os.umask(0o077)
    try:
        with open_workshop(config(tmp_path), {}, role=role):
            found = (tmp_path / "var/records.sqlite").stat().st_mode
    finally:
        os.umask(before)
    assert found & 0o777 == mode


def test_a_guest_writes_beside_the_holder_of_the_lock(tmp_path: Path) -> None:
    with open_workshop(config(tmp_path), {}) as shop:
        run = shop.records.start_run("web", "1.2", "asked", (), 1.0)
        shop.records.settle()
        with open_guest(config(tmp_path), {}) as guest:
            digest = guest.blobs.add(b"of a guest")
            assert guest.records.runs()[0].status == "running"
            edit = EditRow("load", "", "", str(digest), "ann", 2.0)
            assert Edits(guest.records.database).add(edit)
        assert shop.blobs.read(digest) == b"of a guest"
        assert shop.records.run(run)
        assert not list(tmp_path.glob("var/store/tmp/guest-*"))


def test_who_takes_the_lock_leaves_a_living_guest_alone(tmp_path: Path) -> None:
    with open_guest(config(tmp_path), {}) as guest, guest.blobs.receive() as sink:
        sink.write(b"slow")
        job = guest.jobs_folder / "view"
        job.mkdir(parents=True)
        with open_workshop(config(tmp_path), {}):
            assert job.is_dir()
        assert guest.blobs.read(sink.commit()) == b"slow"


def test_what_a_killed_guest_left_is_cleared(tmp_path: Path) -> None:
    part = tmp_path / "var/store/tmp/guest-1-0"
    job = tmp_path / "var/jobs/guest-1-0"
    for folder in (part, job, tmp_path / "var/leases"):
        folder.mkdir(parents=True)
    (tmp_path / "var/leases/guest-1-0").touch()
    (part / "unverified-x").touch()
    with open_workshop(config(tmp_path), {}):
        assert not part.exists()
        assert not job.exists()
    assert not list(tmp_path.glob("var/leases/*"))


def test_every_writer_holds_what_it_adds_and_claims(tmp_path: Path) -> None:
    with open_workshop(config(tmp_path), {}, role="daemon") as shop:
        old = shop.blobs.add(b"old")
    delegate = Assignment(7, "asked")
    with (
        open_workshop(config(tmp_path), {}, role="daemon") as shop,
        open_delegate(
            config(tmp_path),
            {},
            delegate,
            reporter=Silence(),
            clock=lambda: 1.0,
            cancel=threading.Event(),
        ) as run,
        open_guest(config(tmp_path), {}) as guest,
    ):
        new = shop.blobs.add(b"new")
        assert run.blobs.claim(old)
        assert not guest.blobs.claim(Digest.of(b"nowhere"))
        held = living_leases(shop.config.paths.leases)
        (daemon,) = (name for name in held if name.startswith("daemon-"))
        assert held[daemon] == {new}
        assert held["run-7"] == {old}
        assert held[guest.guest] == {Digest.of(b"nowhere")}
    assert living_leases(config(tmp_path).paths.leases) == {}


def test_the_layout_catches_up_with_a_guest_that_was_killed(tmp_path: Path) -> None:
    """Between the records and index.json."""
    with open_guest(config(tmp_path), {}) as guest:
        manifest = guest.blobs.add(b"{}")
        edit = EditRow("load", "", "", str(manifest), "ann", 1.0)
        number = Edits(guest.records.database).add(edit)
        image = {"manifest": str(manifest), "recipe": "", "version": ""}
        guest.records.publish(0, image, ["web:latest"], 1.0, edit=number)
    (tmp_path / "var/leases/guest-1-0").touch()  # what a killed one leaves
    index = tmp_path / "var/store/index.json"
    assert not index.exists()
    with open_workshop(config(tmp_path), {}):
        assert str(manifest) in index.read_text()
    assert not list(tmp_path.glob("var/leases/*"))
