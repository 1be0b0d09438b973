"""Leases: held by the living, cleared after the dead."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from minid.formats.digest import Digest
from minid.store.lease import clear_leases, closed_gate, living_leases, open_lease

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


def test_a_lease_names_what_it_holds_while_it_lasts(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    with open_lease(folder, "one") as lease:
        lease.hold([ONE])
        lease.hold([TWO])
        assert living_leases(folder) == {"one": {ONE, TWO}}
        clear_leases(folder)
        assert (folder / "one").is_file()
    assert living_leases(folder) == {}
    assert not (folder / "one").exists()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    program = (
        "import sys; from pathlib import Path; from minid.store.lease import open_lease\n"
        f"with open_lease(Path({str(folder)!r}), 'gone'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert set(living_leases(folder)) == {"gone"}
    child.kill()
    child.wait()
    assert living_leases(folder) == {}
    assert (folder / "gone").is_file()
    clear_leases(folder)
    assert not list(folder.iterdir())


def test_threads_of_one_holder_lose_nothing(tmp_path: Path) -> None:
    """A gate that one thread lets go must still be shut for another that is writing."""
    folder = tmp_path / "leases"
    wanted = [Digest.of(b"%d" % number) for number in range(400)]
    missed: list[Digest] = []
    with open_lease(folder, "one") as lease:

        def take(part: list[Digest]) -> None:
            for digest in part:
                lease.hold([digest])
                with closed_gate(folder):
                    if digest not in living_leases(folder)["one"]:
                        missed.append(digest)

        threads = [threading.Thread(target=take, args=(wanted[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert living_leases(folder)["one"] == frozenset(wanted)
    assert missed == []


def test_what_is_held_twice_is_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    with open_lease(folder, "one") as lease:
        lease.hold([ONE, TWO])
        lease.hold([TWO, ONE])
        assert len((folder / "one").read_bytes().split()) == 2
