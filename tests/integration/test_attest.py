"""Bills and provenance of images that a line built, printed and beside archives."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bom_oracles import check_cyclonedx, check_spdx
from tests.support.line import WORDS_FILES, Line, new_line
from tests.support.require import require
from tests.support.statement_oracle import check_provenance, materials_of

pytestmark = pytest.mark.integration

# The library as an archive of objects: nothing in the program names it.
STATIC_WORDS = WORDS_FILES | {
    "Makefile": "all:\n\tgcc -c -o words.o words.c\n\tar rcD libwords.a words.o\n"
    "install:\n\tmkdir -p $(DESTDIR)/usr/local/lib $(DESTDIR)/usr/local/include\n"
    "\tcp libwords.a $(DESTDIR)/usr/local/lib\n\tcp words.h $(DESTDIR)/usr/local/include\n"
}


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    """`hello` with the library linked statically, on a static program, exported."""
    require("bwrap", "gcc", "make", "runc", "dpkg")
    with new_line(export=True) as line:
        line.add_recipe("words", STATIC_WORDS)
        line.edit("words", 'summary = "words', 'license = "MIT"\nsummary = "words')
        line.build()
        yield line


def beside(line: Line, name: str, suffix: str) -> Path:
    return line.folder / "images" / f"{name}-image{suffix}"


def provenance(line: Line, image: str) -> dict[str, Any]:
    done = line.run("provenance", image)
    assert done.status == 0, done.err
    return check_provenance(done.out.encode())


def test_provenance_names_every_material_by_its_digest(built: Line) -> None:
    document = provenance(built, "hello")
    (subject,) = document["subject"]
    tags = built.tags()
    assert subject["digest"] == {"sha256": tags["hello:1.0.0"].removeprefix("sha256:")}
    found = materials_of(document)
    for name in ("hello-1.0.0.tar.gz", "words-1.0.0.tar.gz"):
        data = (built.folder / "archives" / name).read_bytes()
        assert found[name]["digest"] == {"sha256": hashlib.sha256(data).hexdigest()}
        assert found[name]["uri"].endswith(f"/{name}")
    assert found["ground:1.0.0"]["digest"] == {
        "sha256": tags["ground:1.0.0"].removeprefix("sha256:")
    }
    packages = found["environment host"]["annotations"]["packages"]
    assert any(item.startswith("gcc-") for item in packages)
    recipe = document["predicate"]["buildDefinition"]["externalParameters"]["recipe"]
    assert recipe["build.steps"] == ["make", "make DESTDIR=$DESTDIR install"]
    assert (recipe["name"], recipe["version"]) == ("hello", "1.0.0")
    log, _ = document["predicate"]["runDetails"]["byproducts"]
    data = (built.state / "logs" / log["name"]).read_bytes()[: log["annotations"]["bytes"]]
    assert log["digest"] == {"sha256": hashlib.sha256(data).hexdigest()}
    assert built.run("provenance", "hello").out == built.run("provenance", "hello:latest").out


def test_beside_each_archive_lie_its_bill_and_provenance(built: Line) -> None:
    for name in ("hello_1.0.0", "hello_latest", "ground_1.0.0", "ground_latest"):
        archive = beside(built, name, ".tar.gz")
        check_spdx(beside(built, name, ".spdx.json").read_bytes())
        document = check_provenance(beside(built, name, ".provenance.json").read_bytes())
        _, file = document["subject"]
        assert file["name"] == archive.name
        assert file["digest"] == {"sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    bill = beside(built, "hello_latest", ".spdx.json")
    assert bill.read_text() == built.run("sbom", "hello").out
    before = bill.stat().st_mtime_ns
    assert {item["status"] for item in built.build().values()} == {"unchanged"}
    assert bill.stat().st_mtime_ns == before
    bill.unlink()
    built.build("hello")
    assert bill.read_text() == built.run("sbom", "hello").out


def test_what_is_linked_in_is_named(built: Line) -> None:
    bill = check_spdx(built.run("sbom", "hello").out.encode())
    names = {item["SPDXID"]: item["name"] for item in bill["packages"]}
    links = {
        (names[row["spdxElementId"]], row["relationshipType"], names[row["relatedSpdxElement"]])
        for row in bill["relationships"]
        if row["spdxElementId"] in names and row["relatedSpdxElement"] in names
    }
    assert ("hello", "STATIC_LINK", "words") in links
    assert ("ground", "STATIC_LINK", "libc6-dev") in links  # /bin/tool carries it inside
    assert ("libc6-dev", "BUILD_DEPENDENCY_OF", "hello") in links
    words = next(item for item in bill["packages"] if item["name"] == "words")
    assert (words["versionInfo"], words["licenseDeclared"]) == ("1.0.0", "MIT")
    assert words["downloadLocation"].endswith("/words-1.0.0.tar.gz")
    other = check_cyclonedx(built.run("sbom", "hello", "--format", "cyclonedx").out.encode())
    scopes = {item["name"]: item.get("scope") for item in nested(other["components"])}
    tools = {name for name, scope in scopes.items() if scope == "excluded"}
    assert any(name.startswith("libgcc-") for name in tools)
    assert not {"words", "libc6-dev", "libc6", "hello"} & tools


def nested(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in components:
        yield item
        yield from nested(item.get("components", []))


def test_labels_say_source_and_revision(built: Line) -> None:
    labels = built.query("inspect", "hello", "--field", "config.Labels")
    archive = (built.folder / "archives" / "hello-1.0.0.tar.gz").read_bytes()
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}source"].endswith("/hello-1.0.0.tar.gz")
    assert labels[f"{prefix}revision"] == f"sha256:{hashlib.sha256(archive).hexdigest()}"
    assert labels[f"{prefix}version"] == "1.0.0"


def test_save_puts_them_beside_and_never_leaves_old_ones(built: Line) -> None:
    out = built.folder / "out"
    assert built.run("save", "hello:latest", "--attest", "-o", str(out)).status == 0
    names = {path.name for path in out.iterdir()}
    stem = "hello_latest-image"
    assert names == {f"{stem}.tar.gz", f"{stem}.spdx.json", f"{stem}.provenance.json"}
    document = check_provenance((out / f"{stem}.provenance.json").read_bytes())
    digest = hashlib.sha256((out / f"{stem}.tar.gz").read_bytes()).hexdigest()
    assert document["subject"][1]["digest"] == {"sha256": digest}
    assert built.run("save", "hello:latest", "-o", str(out)).status == 0
    assert [path.name for path in out.iterdir()] == [f"{stem}.tar.gz"]
    done = built.run("save", "hello", "ground", "--attest", "-o", str(out / "both.tar.gz"))
    assert done.status == 2, done.err


def test_edits_and_images_from_elsewhere_say_so(built: Line, tmp_path: Path) -> None:
    before = provenance(built, "hello:latest")["subject"][0]["digest"]["sha256"]
    assert built.run("set", "hello:latest", "--label", "a=b").status == 0
    document = provenance(built, "hello:latest")
    (edit,) = document["predicate"]["buildDefinition"]["externalParameters"]["edits"]
    assert edit["of"] == f"sha256:{before}"
    assert "a" in json.dumps(edit["change"])
    told = check_provenance(beside(built, "hello_latest", ".provenance.json").read_bytes())
    assert told["subject"][0] == document["subject"][0]
    assert built.run("undo", "hello:latest").status == 0
    assert provenance(built, "hello:latest")["subject"][0]["digest"]["sha256"] == before

    (tmp_path / "a").write_text("a")
    archive = built.folder / "root.tar"
    subprocess.run(["tar", "-cf", archive, "-C", tmp_path, "."], check=True)
    assert built.run("load", str(archive), "--tag", "came:1").status == 0
    definition = provenance(built, "came:1")["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"kind": "load", "from": "root.tar"}
    assert "recipe" not in definition["buildType"]
