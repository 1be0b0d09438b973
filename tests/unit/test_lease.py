"""Leases: held by the living, cleared after the dead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from minid.formats.digest import Digest
from minid.store.lease import clear_leases, living_leases, open_lease

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
