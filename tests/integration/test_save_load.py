"""Images go out to real engines and come back, and archives of others come in, sound or not."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import random
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minid.host.docker_engine import engine_answers
from tests.support.line import Line, new_line
from tests.support.require import demand_or_skip, require

pytestmark = pytest.mark.integration
NAME = f"minid-save-{uuid.uuid4().hex[:10]}"
TAG = f"{NAME}:1.0.0"
FILE = f"{NAME}_1.0.0-image.tar.gz"


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """`hello` under a name that no engine has, saved to FILE."""
    require("bwrap", "gcc", "make", "runc")
    with new_line() as line:
        line.recipe("hello").rename(line.recipe(NAME))
        line.build(NAME)
        assert line.run("save", TAG).status == 0
        yield line


@pytest.fixture
def other(built: Line, tmp_path: Path) -> Line:
    """A store without images."""
    folder = tmp_path / "other"
    (folder / "recipes").mkdir(parents=True)
    line = Line(folder)
    line.write_config()
    return line


def run(*words: str | Path, text: str | None = None) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def docker() -> Iterator[Callable[..., str]]:
    require("docker")
    if not engine_answers():
        demand_or_skip("docker", "no Docker Engine answers")
    yield lambda *words: run("docker", *words)
    subprocess.run(["docker", "rmi", "-f", TAG], capture_output=True)


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Callable[..., str]]:
    require("podman")
    # podman refuses a runroot of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        options = [f"--root={tmp_path}/root", f"--runroot={short}/run", f"--tmpdir={tmp_path}/tmp"]
        options += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]
        yield lambda *words: run("podman", *options, *words)


def facts(line: Line, name: str = TAG) -> dict[str, Any]:
    return dict(line.query("inspect", name))


def test_docker_gives_back_what_it_was_given(
    built: Line, other: Line, docker: Callable[..., str]
) -> None:
    before = facts(built)
    docker("load", "-i", str(built.folder / FILE))
    image = json.loads(docker("inspect", TAG))[0]
    assert image["Id"] == before["config"]
    assert image["Config"]["Cmd"] == before["configuration"]["config"]["Cmd"]
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", TAG)
    docker("save", "-o", str(other.folder / "d.tar"), TAG)
    docker("rmi", TAG)
    docker("load", "-i", str(built.folder / FILE))
    again = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", TAG)
    assert again == history
    assert other.run("load", "d.tar").status == 0
    after = facts(other)
    assert after["config"] == before["config"]
    assert after["configuration"] == before["configuration"]
    assert after["manifest"] == before["manifest"]  # its layers were gzipped anew
    # In the store that made it, it is the image that is there.
    done = built.run("load", str(other.folder / "d.tar"), "--json")
    assert done.json()["images"][0]["manifest"] == before["manifest"]


def test_podman_gives_back_what_it_was_given(
    built: Line, other: Line, podman: Callable[..., str]
) -> None:
    before = facts(built)
    podman("load", "-q", "-i", str(built.folder / FILE))
    (shown,) = json.loads(podman("inspect", TAG))
    assert "sha256:" + shown["Id"] == before["config"]
    assert shown["Config"]["Cmd"] == before["configuration"]["config"]["Cmd"]
    history = podman("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", TAG)
    podman("rmi", TAG)
    podman("load", "-q", "-i", str(built.folder / FILE))
    assert json.loads(podman("inspect", TAG))[0]["Id"] == shown["Id"]
    again = podman("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", TAG)
    assert again == history
    for kind in ("docker-archive", "oci-archive"):
        podman("save", "-q", "--format", kind, "-o", str(other.folder / f"{kind}.tar"), TAG)
        assert other.run("load", f"{kind}.tar").status == 0
        assert TAG in other.tags()  # podman calls it localhost/…
        done = other.run("load", f"{kind}.tar", "--tag", f"{kind}:1", "--json")
        assert done.status == 0, done.err
        assert done.json()["images"][0]["config"] == before["config"]
        files = [entry.image_path for entry in tree(other, f"{kind}:1")]
        assert files == [entry.image_path for entry in tree(built, TAG)]


def tree(line: Line, name: str) -> Any:
    from minid.formats.tree import parse_tree
    from minid.store.records import Records

    records = Records(line.state / "records.sqlite", writable=False)
    detail = records.image(line.tags()[name]) or {}
    records.close()
    return parse_tree(line.blob(str(detail["tree"]))).entries


def test_skopeo_reads_it_and_its_archives_come_in(built: Line, other: Line) -> None:
    require("skopeo")
    before = facts(built)
    source = f"oci:{built.store}:{TAG}"
    for kind in (f"oci-archive:{other.folder}/a.tar:{TAG}", f"oci:{other.folder}/layout:x"):
        run("skopeo", "copy", "-q", source, kind)
    assert other.run("load", "a.tar").status == 0
    assert other.tags()[TAG] == before["manifest"]
    done = other.run("load", "layout", "--tag", "named:1", "--json")
    assert done.json()["images"][0]["manifest"] == before["manifest"]
    # gunzipped, because skopeo 1.9 takes a docker-archive no other way
    plain = other.folder / "plain.tar"
    plain.write_bytes(gzip.decompress((built.folder / FILE).read_bytes()))
    found = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{plain}:{TAG}"))
    assert found.items() <= before["configuration"].items()  # skopeo knows no comment


@pytest.mark.parametrize("program", ["xz", "bzip2", "zstd"])
def test_other_compressions(built: Line, other: Line, program: str) -> None:
    require(program)
    plain = gzip.decompress((built.folder / FILE).read_bytes())
    packed = subprocess.run([program, "-c"], input=plain, capture_output=True, check=True).stdout
    (other.folder / "image.tar").write_bytes(packed)
    assert other.run("load", "image.tar").status == 0
    assert other.tags()[TAG] == built.tags()[TAG]


def test_several_images_share_their_layers(built: Line, other: Line) -> None:
    done = built.run("save", TAG, "ground:1.0.0", "-o", "both.tar", "--json")
    assert done.status == 0, done.err
    with tarfile.open(built.folder / "both.tar") as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    assert other.run("load", str(built.folder / "both.tar")).status == 0
    assert set(other.tags()) == {TAG, "ground:1.0.0"}
    assert built.run("save", TAG, "ground:1.0.0", "-o", "each", "--plain").status == 0
    assert built.run("save", TAG, "--plain", "-o", "x.tar.gz").status == 2
    assert sorted(path.name for path in (built.folder / "each").iterdir()) == sorted(
        ["ground_1.0.0-image.tar", FILE.removesuffix(".gz")]
    )


def test_half_an_archive_in_a_pipe_is_none(built: Line) -> None:
    with built.start("save", TAG, "-o", "-") as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        said = child.stderr.read()
    assert (child.returncode, "closed pipe" in said) == (30, True), said


def test_a_root_file_system_becomes_an_image(built: Line, other: Line) -> None:
    root = other.folder / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/a").write_bytes(b"a" * 10)
    os.link(root / "bin/a", root / "bin/b")
    (root / "link").symlink_to("/etc/shadow")
    done = other.run("import", "root", "mine:1", "--cmd", '["/bin/a"]', "--json")
    assert done.status == 0, done.err
    assert [(e.image_path, e.kind, e.target) for e in tree(other, "mine:1")] == [
        ("bin", "directory", ""),
        ("bin/a", "file", ""),
        ("bin/b", "hardlink", "bin/a"),
        ("link", "symlink", "/etc/shadow"),
    ]
    run("tar", "-C", root, "-czf", other.folder / "root.tgz", ".")
    again = other.run("import", "root.tgz", "mine:2", "--cmd", '["/bin/a"]', "--json")
    assert again.status == 0, again.err
    first, second = (facts(other, f"mine:{number}")["layers"][0]["diff_id"] for number in (1, 2))
    assert first == second
    os.mkfifo(root / "fifo")
    done = other.run("import", "root", "mine:3", "--json")
    assert (done.status, done.json()["left_out"]) == (0, 1), done.err
    assert other.run("load", "root.tgz").status == 0
    assert "root:latest" in other.tags()


def test_a_containers_files(built: Line, other: Line, docker: Callable[..., str]) -> None:
    docker("load", "-i", str(built.folder / FILE))
    docker("create", "--name", NAME, TAG)
    try:
        assert other.run("save", "--container", NAME).status == 0
    finally:
        docker("rm", NAME)
    file = f"{NAME}_1.0.0-container.tar.gz"
    done = other.run("load", file, "--tag", "copy:1", "--json")
    assert done.json()["kind"] == "root file system"
    paths = {entry.image_path for entry in tree(other, "copy:1")}
    assert {"usr/local/bin/hello", "etc/motd"} <= paths
    assert other.run("save", "--container", "no-such-container").status == 2


def test_a_tag_of_another_image_stays(built: Line, other: Line) -> None:
    (other.folder / "root").mkdir()
    assert other.run("import", "root", TAG, "--cmd", '["x"]').status == 0
    tags = other.tags()
    done = other.run("load", str(built.folder / FILE))
    assert (done.status, "--replace" in done.err) == (2, True)
    assert other.tags() == tags
    assert other.run("load", str(built.folder / FILE), "--replace", "-m", "newer").status == 0
    assert other.tags()[TAG] == built.tags()[TAG]
    assert other.query("edits")[0]["message"] == "newer"


def rewritten(data: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """An archive whose members `change` has changed, or taken away."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as source,
        tarfile.open(fileobj=out, mode="w") as target,
    ):
        for member in source:
            file = source.extractfile(member)
            body = change(member.name, file.read()) if file else b""
            if body is not None:
                member.size = len(body) if member.isfile() else 0
                target.addfile(member, io.BytesIO(body))
    return out.getvalue()


def flip(part: str) -> Callable[[str, bytes], bytes | None]:
    def change(name: str, body: bytes) -> bytes | None:
        if part in name and body:
            middle = len(body) // 2
            return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        return body

    return change


def test_what_is_damaged_leaves_the_store_as_it_was(built: Line, other: Line) -> None:
    data = (built.folder / FILE).read_bytes()
    made = facts(built)
    layers = [layer["digest"].removeprefix("sha256:") for layer in made["layers"]]
    parts = [made["manifest"].removeprefix("sha256:"), made["config"].removeprefix("sha256:")]
    damaged = {f"flipped {part[:8]}": rewritten(data, flip(part)) for part in [*parts, *layers]}
    damaged["no layer"] = rewritten(data, lambda name, body: None if layers[0] in name else body)
    damaged["no config"] = rewritten(data, lambda name, body: None if parts[1] in name else body)
    damaged["not JSON"] = rewritten(data, lambda n, body: b"{" if n == "manifest.json" else body)
    damaged["outside"] = rewritten(
        data,
        lambda name, body: (
            json.dumps([{"Config": "../../x", "RepoTags": [], "Layers": []}]).encode()
            if name == "manifest.json"
            else body
        ),
    )
    whole = gzip.decompress(data)
    source = random.Random(7)
    damaged |= {f"cut {end}": whole[:end] for end in source.sample(range(1, len(whole) - 1024), 5)}
    damaged["zeros"] = bytes(5000)
    damaged["text"] = b"hello\n" * 1000
    for what, content in damaged.items():
        (other.folder / "bad.tar").write_bytes(content)
        done = other.run("load", "bad.tar")
        assert done.status == 14, f"{what}: {done.out}{done.err}"
        assert "Traceback" not in done.err
        assert not list((other.store / "blobs/sha256").iterdir()), what
        assert not list((other.store / "tmp").iterdir()), what
    assert other.query("list") == []


def test_a_load_that_is_killed_leaves_images_whole_or_none(built: Line, other: Line) -> None:
    file = str(built.folder / FILE)
    assert other.run("load", "missing").status == 2  # there is a store now
    for delay in (0.1, 0.2, 0.3, 0.4):
        with other.start("load", file) as child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=delay)
            child.kill()
            child.communicate()
        assert {row["manifest"] for row in other.query("list")} <= {built.tags()[TAG]}
        assert other.run("gc").status == 0
        assert other.run("verify", "--contents").status == 0
    assert other.run("load", file).status == 0
    assert other.tags() == {TAG: built.tags()[TAG]}
