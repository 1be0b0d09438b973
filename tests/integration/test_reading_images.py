"""Looking into images with real parts: why, files, diff, inspect --field, sbom."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minid.host.docker_engine import engine_answers
from tests.support.bom_oracles import check_cyclonedx, check_spdx, components_of
from tests.support.line import HELLO_FILES, HELLO_TABLES, Line, new_line
from tests.support.require import demand_or_skip, require

pytestmark = pytest.mark.integration
NAME = f"minid-read-{uuid.uuid4().hex[:10]}"
TABLES = HELLO_TABLES.replace(
    "files = [",
    'users = [{ name = "web" }]\n'
    'links = { "/usr/bin/hi" = "/usr/local/bin/hello" }\n'
    'directories = [{ path = "/srv/web", owner = "web" }]\nfiles = [',
)


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """An image of a program of its own, on a base, with a library recipe and the C library."""
    require("bwrap", "gcc", "make", "runc", "dpkg")
    with new_line() as line:
        line.add_recipe(NAME, HELLO_FILES, TABLES, build='needs = ["words"]\n')
        line.edit("words", 'summary = "words for tests"', 'summary = "w"\nlicense = "MIT"')
        line.build(NAME)
        yield line


def why(line: Line, path: str, image: str = NAME) -> dict[str, Any]:
    return dict(line.query("why", image, path))


def test_why_knows_every_origin(built: Line) -> None:
    assert why(built, "/bin/tool")["from"]["recipe"] == "ground"
    assert why(built, "/bin/tool")["in_base"]["kind"] == "payload"
    assert why(built, "/tmp")["in_base"]["keys"] == ["rootfs.directories[0]"]
    kinds = {
        "/usr/local/bin/hello": ("payload", []),
        "/usr/local/lib/libwords.so.1": ("need", []),
        "/etc/passwd": ("rootfs", ["rootfs.users"]),
        "/srv/web": ("rootfs", ["rootfs.directories[0]"]),
        "/etc/motd": ("rootfs", ["rootfs.files[0]"]),
        "/usr/local/etc/hello.conf": ("payload", ["rootfs.edits[0]"]),
        "/usr/local": ("payload", []),
    }
    for path, expected in kinds.items():
        found = why(built, path)["from"]
        assert (found["kind"], found["keys"]) == expected, path


def test_why_names_the_package_of_a_library(built: Line) -> None:
    libc = next(
        item["path"] for item in built.query("files", NAME) if item["path"].endswith("/libc.so.6")
    )
    package = why(built, libc)["from"]["package"]
    owner = subprocess.run(
        ["dpkg-query", "-f", "${Version} ${source:Package}", "-W", package["name"]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert owner.stdout == f"{package['version']} {package['source']}"


def test_why_follows_links_and_says_so(built: Line) -> None:
    found = why(built, "usr/./bin/../bin//hi")
    assert (found["path"], found["kind"]) == ("/usr/bin/hi", "symlink")
    assert found["from"]["keys"] == ['rootfs.links."/usr/bin/hi"']
    assert [step["path"] for step in found["leads_to"]] == ["/usr/local/bin/hello"]
    said = built.run("why", NAME, "/usr/bin/hi").out.splitlines()
    assert said[0].startswith("/usr/bin/hi (link to /usr/local/bin/hello): ")
    missing = built.run("why", NAME, "/opt/hello.conf")
    assert missing.status == 2
    assert "/usr/local/etc/hello.conf" in missing.err


def test_files_count_what_is_there(built: Line) -> None:
    listed = built.query("files", NAME)
    whole = sum(item["size"] for item in listed if item["kind"] == "file")
    assert (listed[0]["path"], listed[0]["size"]) == ("/", whole)
    # Layers have what those above them replace, too.
    assert 0 < whole <= built.query("inspect", NAME)["sizes"]["unpacked"]
    top = built.query("files", NAME, "--top", "2")
    assert [item["size"] for item in top] == sorted((i["size"] for i in listed[1:] if i["kind"]
        == "file"), reverse=True)[:2]  # fmt: skip
    below = built.query("files", NAME, "/usr/local/etc/")
    assert [item["path"] for item in below] == ["/usr/local/etc", "/usr/local/etc/hello.conf"]
    assert "recipe words" in built.run("files", NAME, "/usr/local/lib").out
    assert built.run("files", NAME, "/nope").status == 2


def test_inspect_prints_a_field(built: Line) -> None:
    assert built.run("inspect", NAME, "--field", "config.Cmd[0]").out == "/usr/local/bin/hello\n"
    assert built.query("inspect", NAME, "--field", "config.Labels.org.minid.recipe") == NAME
    assert built.query("inspect", NAME, "--field", "source.name") == NAME
    wrong = built.run("inspect", NAME, "--field", "config.Nope")
    assert wrong.status == 2
    assert "Cmd, Env" in wrong.err
    for path, said in (("", "got nothing"), ("recipe.x", "after recipe, which has no fields")):
        wrong = built.run("inspect", NAME, "--field", path)
        assert wrong.status == 2 and said in wrong.err


def test_diff_of_versions_and_edits(built: Line) -> None:
    before = built.tags()[f"{NAME}:latest"]
    assert built.run("diff", NAME, before, "--exit-code").out == ""
    built.edit(NAME, "welcome", "goodbye")
    built.build(NAME)
    found = built.query("diff", before, f"{NAME}:latest")
    (change,) = found["files"]
    assert (change["path"], change["change"], change["what"]) == ("/etc/motd", "M", ["bytes"])
    assert (found["config"], found["packages"], found["libraries"]) == ([], [], [])
    assert built.run("diff", before, NAME).status == 0
    assert built.run("diff", "--exit-code", "--stat", before, NAME).status == 1
    edited = built.query("diff", "ground", NAME)
    assert {"name": "words", "before": "", "after": "1.0.0"} in edited["packages"]
    assert any(item["field"] == "Env.MODE" for item in edited["config"])


@pytest.mark.parametrize("form", ["spdx", "cyclonedx"])
def test_the_bill_of_materials_is_valid_and_names_all(built: Line, form: str) -> None:
    said = built.run("sbom", NAME, "--format", form).out
    assert built.run("sbom", NAME, "--format", form).out == said
    if form == "spdx":
        document = check_spdx(said.encode())
        names = {package["name"]: package["versionInfo"] for package in document["packages"]}
        licenses = {p["name"]: p["licenseDeclared"] for p in document["packages"]}
        assert licenses["words"] == "MIT"
        files = {item["fileName"] for item in document["files"]}
        assert {"./usr/local/bin/hello", "./bin/tool", "./etc/motd"} <= files
        kinds = {item["relationshipType"] for item in document["relationships"]}
        assert {"GENERATED_FROM", "DESCENDANT_OF", "DYNAMIC_LINK", "DEPENDS_ON"} <= kinds
    else:
        names = components_of(check_cyclonedx(said.encode())["components"])
    assert {names[name] for name in (NAME, "words", "ground")} == {"1.0.0"}
    assert names["glibc"]
    written = built.folder / f"{form}.json"
    assert built.run("sbom", NAME, "--format", form, "-o", str(written)).status == 0
    assert written.read_text() == said
    # A device stays one, and standard output has the document alone.
    device = Path("/dev/stdout").readlink()
    assert built.run("sbom", NAME, "--format", form, "-o", "/dev/stdout").out == said
    assert Path("/dev/stdout").readlink() == device


def test_an_image_that_came_from_elsewhere(built: Line, tmp_path: Path) -> None:
    archive = built.folder / "root.tar"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a").write_text("a")
    subprocess.run(["tar", "-cf", archive, "-C", tmp_path, "."], check=True)
    assert built.run("load", str(archive), "--tag", "came:1").status == 0
    assert why(built, "/etc/a", "came:1")["origin"] == "as it came"
    assert built.query("files", "came:1", "/etc/a")[0]["from"] == "arrived"
    check_spdx(built.run("sbom", "came:1").out.encode())
    check_cyclonedx(built.run("sbom", "came:1", "--format", "cyclonedx").out.encode())
    assert built.query("inspect", "came:1", "--field", "recipe") == ""
    assert built.query("diff", "came:1", "came:1")["differs"] is False


def test_a_container_against_its_image(built: Line) -> None:
    if not engine_answers():
        demand_or_skip("docker", "Docker Engine does not answer")
    built.write_config(docker="on")
    try:
        built.build(NAME)
        create = ["docker", "create", "--name", NAME, f"{NAME}:latest"]
        subprocess.run(create, check=True, capture_output=True)
        assert built.query("diff", NAME, f"container:{NAME}")["differs"] is False
        extra = built.folder / "extra"
        extra.write_text("extra")
        subprocess.run(
            ["docker", "cp", extra, f"{NAME}:/etc/motd"], check=True, capture_output=True
        )
        found = built.query("diff", NAME, f"container:{NAME}")
        assert [(item["path"], item["change"]) for item in found["files"]] == [("/etc/motd", "M")]
        assert found["packages"] is None
        absent = built.run("diff", NAME, f"container:{NAME}-absent", "--json")
        assert absent.status == 2
        assert json.loads(absent.out)["error"]["kind"] == "UsageError"
    finally:
        built.write_config()
        subprocess.run(["docker", "rm", "-f", NAME], check=False, capture_output=True)
        for name in (NAME, "ground"):
            tags = [f"{name}:{tag}" for tag in ("latest", "1.0.0")]
            subprocess.run(["docker", "rmi", *tags], check=False, capture_output=True)
