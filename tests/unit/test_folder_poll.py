"""The recipes folder as a snapshot, and file systems that tell nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minid.daemon.folder_poll import silent_mount, take_snapshot, walk_folders

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
40 22 0:40 / /srv rw shared:9 - nfs4 server:/export rw,vers=4.2
41 40 8:2 / /srv/local rw - xfs /dev/sdb1 rw
42 22 0:42 / /mnt/my\\040share rw - cifs //server/share rw
43 22 0:43 / /mnt/drive rw - fuse.sshfs host: rw
44 22 0:44 / /over rw - nfs server:/a rw
45 22 0:45 / /over rw - tmpfs tmpfs rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/recipes", ""),
        ("/srv", "nfs4"),
        ("/srv/recipes", "nfs4"),
        ("/srvices", ""),
        ("/srv/local/recipes", ""),
        ("/mnt/my share/recipes", "cifs"),
        ("/mnt/drive", "fuse.sshfs"),
        ("/over/recipes", ""),
    ],
)
def test_silent_file_systems(path: str, kind: str) -> None:
    assert silent_mount(path, MOUNTS) == kind


def test_a_snapshot_tells_states_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.patch").write_text("1")
    (tmp_path / "a.toml").write_text("1")
    (tmp_path / "b.toml").write_text("1")
    (tmp_path / ".b.toml.swp").write_text("1")
    before = take_snapshot(tmp_path)
    assert set(before) == {"a", "b"}
    assert take_snapshot(tmp_path) == before
    (tmp_path / ".b.toml.swp").write_text("22")
    assert take_snapshot(tmp_path) == before
    (tmp_path / "a" / "x.patch").write_text("22")
    after = take_snapshot(tmp_path)
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]
    status = (tmp_path / "b.toml").stat()
    (tmp_path / "new").write_text("2")
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "new").rename(tmp_path / "b.toml")  # same size and time, another file
    assert take_snapshot(tmp_path)["b"] != before["b"]


def test_no_folder_is_an_empty_snapshot(tmp_path: Path) -> None:
    assert take_snapshot(tmp_path / "none") == {}


def test_links_are_followed_in_the_folder_itself_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "recipes"
    (outside / "deep").mkdir(parents=True)
    (folder / "b" / "c").mkdir(parents=True)
    (folder / ".git" / "refs").mkdir(parents=True)
    (folder / "a").symlink_to(outside)
    (folder / "b" / "way-out").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to("nothing")
    found = set(walk_folders(folder))
    assert {"a", "a/deep", "b", "b/c"} <= found
    assert not any("way-out" in path or ".git" in path for path in found)
    assert len(found) < 50  # a loop ends
    assert set(walk_folders(folder, "b")) == {"b/c"}
