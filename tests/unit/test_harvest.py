"""Reading outputs that a build may have made hostile."""

from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from minid.errors import BuildError
from minid.host import harvest as module
from minid.host.harvest import HarvestCaps, harvest
from minid.model import Entry, Tree
from tests.support.require import require

CLAMP = 1_700_000_000


def take(folder: Path, **options: object) -> tuple[Tree, bytes]:
    out = io.BytesIO()
    tree = harvest(folder, out.write, clamp_mtime=CLAMP, **options)  # type: ignore[arg-type]
    return tree, out.getvalue()


def by_path(tree: Tree) -> dict[str, Entry]:
    return {entry.image_path: entry for entry in tree.entries}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/tool").write_bytes(b"#!/bin/sh\n" * 1000)
    (folder / "usr/bin/tool").chmod(0o755)
    (folder / "usr/bin/empty").touch(mode=0o644)
    (folder / "usr/bin-old").mkdir()
    (folder / "usr/bin-old/x").write_bytes(b"x")
    (folder / "link").symlink_to("usr/bin/tool")
    (folder / "dangling").symlink_to("/etc/shadow")
    (folder / "é").write_bytes(b"\xc3\xa9")
    return folder


def test_tree_is_sorted_and_whole(output: Path) -> None:
    tree, _ = take(output)
    paths = [entry.image_path for entry in tree.entries]
    assert paths == sorted(paths, key=str.encode)
    assert paths == [
        "dangling",
        "link",
        "usr",
        "usr/bin",
        "usr/bin-old",
        "usr/bin-old/x",
        "usr/bin/empty",
        "usr/bin/tool",
        "é",
    ]
    assert {(entry.uid, entry.gid, entry.xattrs) for entry in tree.entries} == {(0, 0, ())}


def test_content_lies_where_the_tree_says(output: Path) -> None:
    tree, archive = take(output)
    files = [entry for entry in tree.entries if entry.kind == "file"]
    assert len(files) == 4
    for entry in files:
        content = entry.content
        assert content is not None
        assert content.blob is None
        assert content.data is None
        data = archive[content.offset : content.offset + content.size]
        assert data == (output / entry.image_path).read_bytes()
        assert content.digest.hex == hashlib.sha256(data).hexdigest()


def test_tar_holds_the_tree(output: Path) -> None:
    tree, archive = take(output)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {info.name: info for info in tar}
    assert list(members) == [entry.image_path for entry in tree.entries]
    assert members["dangling"].linkname == "/etc/shadow"
    assert by_path(tree)["dangling"].target == "/etc/shadow"
    assert members["usr/bin/tool"].mode == 0o755


def test_equal_folders_give_equal_bytes(output: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    paths = sorted(output.rglob("*"))
    random.Random(3).shuffle(paths)
    for path in paths:  # another order of creation, other inodes, other times
        copy = other / path.relative_to(output)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            copy.symlink_to(path.readlink())
        elif path.is_dir():
            copy.mkdir(exist_ok=True)
        else:
            copy.write_bytes(path.read_bytes())
            copy.chmod(path.stat().st_mode)
    assert take(other) == take(output)


def test_times_are_clamped(output: Path) -> None:
    os.utime(output / "é", ns=(0, 999_999_999_999))
    os.utime(output / "usr/bin/tool", (0, -5))
    entries = by_path(take(output)[0])
    assert entries["é"].mtime == 999
    assert entries["usr/bin/tool"].mtime == 0
    assert entries["usr"].mtime == CLAMP
    assert entries["link"].mtime == CLAMP


def test_hard_links(output: Path) -> None:
    os.link(output / "usr/bin/tool", output / "a")
    os.link(output / "usr/bin/tool", output / "usr/z")
    tree, archive = take(output)
    entries = by_path(tree)
    assert entries["a"].kind == "file"
    for name in ("usr/bin/tool", "usr/z"):
        assert (entries[name].kind, entries[name].target) == ("hardlink", "a")
        assert entries[name].content is None
    assert archive.count(b"#!/bin/sh\n" * 1000) == 1


def test_setuid_only_where_listed(output: Path) -> None:
    (output / "usr/bin/tool").chmod(0o6755)
    (output / "é").chmod(0o4755)
    (output / "usr/bin").chmod(0o3777)
    os.link(output / "usr/bin/tool", output / "a")
    entries = by_path(take(output, allow_setuid=("/usr/bin/tool",))[0])
    assert entries["usr/bin/tool"].mode == 0o6755
    assert entries["a"].mode == 0o6755, "all names of one file have one mode"
    assert entries["é"].mode == 0o755
    assert entries["usr/bin"].mode == 0o1777
    assert by_path(take(output)[0])["usr/bin/tool"].mode == 0o755


@pytest.mark.parametrize("kind", ["FIFO", "socket", "character device"])
def test_special_files(kind: str, output: Path) -> None:
    path = output / "usr/special"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = os.open(path.parent, os.O_RDONLY)
            server.bind(f"/proc/self/fd/{here}/special")
            os.close(here)
    else:
        if os.geteuid():
            pytest.skip("only root makes devices")
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(BuildError, match=f"'usr/special': expected .*, got a {kind}"):
        take(output)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"a\nb", "control characters"),
        (b"a\x1b[2J", "control characters"),
        (b"a\x7f", "control characters"),
        ("a\u0085".encode(), "control characters"),
        (b"a\xff", "UTF-8"),
        (b"a\xed\xa0\x80", "UTF-8"),
    ],
)
def test_names(name: bytes, told: str, output: Path) -> None:
    (Path(os.fsdecode(bytes(output) + b"/" + name))).touch()
    with pytest.raises(BuildError, match=told) as caught:
        take(output)
    assert caught.value.message.isprintable()


def test_link_texts(output: Path) -> None:
    (output / "bad").symlink_to("a\nb")
    with pytest.raises(BuildError, match="'bad': link text: expected no control characters"):
        take(output)


def test_output_that_is_a_symlink(output: Path, tmp_path: Path) -> None:
    (tmp_path / "trick").symlink_to("/etc")
    with pytest.raises(BuildError, match="trick: expected a folder, got a file or a link"):
        take(tmp_path / "trick")


def test_links_are_not_followed(output: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    (output / "folder").symlink_to(tmp_path / "outside")
    assert "folder/secret" not in by_path(take(output)[0])


@pytest.mark.parametrize(
    ("caps", "told"),
    [
        (HarvestCaps(entries=8), "at most 8 entries"),
        (HarvestCaps(total_bytes=10_000), "at most 10000 bytes, got more"),
        (HarvestCaps(file_bytes=9_999), "at most 9999 bytes, got 10000"),
        (HarvestCaps(depth=2), "depth of at most 2"),
        (HarvestCaps(path_bytes=8), "at most 8 bytes"),
    ],
)
def test_caps(caps: HarvestCaps, told: str, output: Path) -> None:
    with pytest.raises(BuildError, match=told):
        take(output, caps=caps)


def test_hard_links_count_once(output: Path) -> None:
    os.link(output / "usr/bin/tool", output / "a")
    tree, _ = take(output, caps=HarvestCaps(total_bytes=10_003))
    assert sum(entry.content.size for entry in tree.entries if entry.content) == 10_003


def test_sparse_file_is_over_the_cap_at_once(output: Path) -> None:
    with (output / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BuildError, match="'sparse': expected at most"):
        take(output)


def test_locked_files_are_read_by_their_owner(output: Path) -> None:
    """As an ordinary user the owner must unlock them; as root nothing is in the way."""
    before = take(output)[1]
    (output / "usr/bin/tool").chmod(0o111)
    (output / "usr/bin").chmod(0o000)
    (output / "usr/bin-old").chmod(0o600)
    program = (
        "import io, sys; from pathlib import Path; from minid.host.harvest import harvest;"
        f"t = harvest(Path({str(output)!r}), io.BytesIO().write, clamp_mtime={CLAMP});"
        "print([oct(e.mode) for e in t.entries if e.image_path.startswith('usr/bin')])"
    )
    wanted = "['0o0', '0o600', '0o644', '0o644', '0o111']"
    if os.geteuid():
        entries = by_path(take(output)[0])
        assert (entries["usr/bin/tool"].mode, entries["usr/bin"].mode) == (0o111, 0)
        return
    require("setpriv")
    # Root without the capability that ignores modes is such an owner.
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == wanted, done.stderr
    (output / "usr/bin").chmod(0o755)
    (output / "usr/bin-old").chmod(0o755)
    (output / "usr/bin/tool").chmod(0o755)
    assert take(output)[1] == before


def test_file_that_changes_after_the_scan(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No builder lives then; if one did, it would be seen and not believed."""
    real = module._read_file

    def swap(root_fd: int, one: module._Found, feed: object) -> object:
        target = output / one.path.decode()
        target.unlink()
        target.symlink_to("/etc/passwd")
        return real(root_fd, one, feed)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_read_file", swap)
    with pytest.raises(BuildError, match="expected to open it"):
        take(output)
