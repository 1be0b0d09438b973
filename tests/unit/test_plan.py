"""Keys: what changes which stage, and what changes none."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from minid.errors import RecipeError
from minid.formats.digest import Digest
from minid.recipe import (
    Alternative,
    Build,
    Check,
    Contents,
    Directory,
    Distro,
    Edit,
    File,
    Group,
    ImageTable,
    Keep,
    Lint,
    Recipe,
    Rootfs,
    Silence,
    Source,
    Track,
    User,
)
from minid.recipe_reader import parse_recipe
from minid.steps.plan import OwnFiles, Plan, changed_inputs, load_own_files, make_plan

ARCHIVE, OTHER = Digest.of(b"archive"), Digest.of(b"other")
RECIPE = Recipe(
    name="web",
    file=Path("web.toml"),
    folder=Path("web"),
    kind="image",
    source=Source("1.2", "https://upstream.test/web-1.2.tar.gz", ARCHIVE),
    build=Build(steps=("make",)),
    rootfs=Rootfs(files=(File("/etc/web.conf", source="web.conf"),)),
)
FILES = OwnFiles((("fix.patch", b"fix"),), {"web.conf": b"conf"})
BASE = Plan("bc", "bp", "base compose", "base image")
STAGES = ("compile", "pack", "compose", "image")


def plan_of(recipe: Recipe = RECIPE, **changes: Any) -> Plan:
    words: dict[str, Any] = {
        "archive": ARCHIVE,
        "environment": Digest.of(b"environment"),
        "needs": {"zlib": "a" * 64, "pcre2": "b" * 64},
        "base": BASE,
        "files": FILES,
        "architecture": "x86_64",
    }
    return make_plan(recipe, **{**words, **changes})


def first_changed(before: Plan, now: Plan) -> str:
    """The first stage whose key differs; every later one must differ too."""
    differing = [stage for stage in STAGES if getattr(before, stage) != getattr(now, stage)]
    assert differing == list(STAGES[len(STAGES) - len(differing) :])
    return differing[0] if differing else ""


# Field → another value, and the first stage that has to run again.
SOURCE: dict[str, tuple[object, str]] = {
    "version": ("1.3", "compile"),
    "released": (1700000000, "compile"),
    "url": ("https://elsewhere.test/web.tar.gz", ""),
    # What was fetched counts, not what would do as well: see `archive` below.
    "sha256": (OTHER, ""),
    "distro": (Distro("web", "1.2-1", OTHER), ""),
    "alternatives": ((Alternative("https://upstream.test/web.tar.xz", OTHER),), ""),
    # Patches count by their bytes, in OwnFiles.
    "patches": (("fix.patch",), ""),
    "moved_from": (("1.1", "https://upstream.test/web-1.1.tar.gz"), ""),
}
BUILD: dict[str, tuple[object, str]] = {
    # An environment counts by its digest, a needed library by its key.
    "environment": ("host", ""),
    "packages": (("cmake",), ""),
    "needs": (("zlib",), ""),
    "steps": (("make", "make install"), "compile"),
    "variables": ((("CFLAGS", "-O2"),), "compile"),
}
CONTENTS: dict[str, tuple[object, str]] = {
    "drop": (("/usr/share/x/**",), "pack"),
    "keep": (("/usr/include/**",), "pack"),
    "dlopen": (("/usr/lib/x.so",), "pack"),
    "strip": (False, "pack"),
}
ROOTFS: dict[str, tuple[object, str]] = {
    "base": ("scratch", "compose"),
    "users": ((User("web"),), "compose"),
    "groups": ((Group("web"),), "compose"),
    "directories": ((Directory("/srv"),), "compose"),
    "links": ((("/a", "b"),), "compose"),
    "files": ((File("/etc/x", content="x"),), "compose"),
    "edits": ((Edit("/etc/x", append="x"),), "compose"),
    "remove": (("/etc/x",), "compose"),
    "commands": (("true",), "compose"),
}
IMAGE: dict[str, tuple[object, str]] = {
    "cmd": ((), "image"),
    "entrypoint": (("/bin/web",), "image"),
    "env": ((("A", "b"),), "image"),
    "user": ("web", "image"),
    "workdir": ("/srv", "image"),
    "expose": (("80/tcp",), "image"),
    "volumes": (("/srv",), "image"),
    "stop_signal": ("SIGQUIT", "image"),
    "labels": ((("a", "b"),), "image"),
    "comment": ("c", "image"),
    "author": ("a", "image"),
    "tags": (("next",), "image"),
    "budget_bytes": (1 << 20, "image"),
    "squash": (True, "compose"),
}
RECIPE_FIELDS: dict[str, tuple[object, str]] = {
    "name": ("other", "compile"),
    "file": (Path("elsewhere/web.toml"), ""),
    "folder": (Path("elsewhere/web"), ""),
    "summary": ("A server", "image"),
    "license": ("MIT", "image"),
    "homepage": ("https://upstream.test", "image"),
    "track": (Track("index", (("url", "https://upstream.test"),)), ""),
    "checks": ((Check("tcp", port=80),), "image"),
    "keep": (Keep(images=3), ""),
    "lint": (Lint((Silence("setuid", "as it should be"),)), ""),
}
TABLES: dict[str, tuple[type, dict[str, tuple[object, str]]]] = {
    "source": (Source, SOURCE),
    "build": (Build, BUILD),
    "contents": (Contents, CONTENTS),
    "rootfs": (Rootfs, ROOTFS),
    "image": (ImageTable, IMAGE),
}


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, (_, rows) in TABLES.items() for name in rows]
)
def test_a_field_changes_its_stage_and_all_after_it(table: str, name: str) -> None:
    value, stage = TABLES[table][1][name]
    changed = replace(RECIPE, **{table: replace(getattr(RECIPE, table), **{name: value})})
    assert changed != RECIPE
    assert first_changed(plan_of(), plan_of(changed)) == stage


@pytest.mark.parametrize("name", RECIPE_FIELDS)
def test_a_field_of_the_recipe_itself(name: str) -> None:
    value, stage = RECIPE_FIELDS[name]
    changes: dict[str, Any] = {name: value}
    changed = replace(RECIPE, **changes)
    assert first_changed(plan_of(), plan_of(changed)) == stage


def test_no_field_is_forgotten_here() -> None:
    for kind, rows in TABLES.values():
        assert {item.name for item in fields(kind)} == set(rows)
    assert {item.name for item in fields(Recipe)} == {*TABLES, *RECIPE_FIELDS, "kind"}


@pytest.mark.parametrize(
    ("name", "value", "stage"),
    [
        ("archive", OTHER, "compile"),
        ("environment", OTHER, "compile"),
        ("architecture", "aarch64", "compile"),
        ("needs", {"zlib": "c" * 64, "pcre2": "b" * 64}, "compile"),
        ("needs", {"pcre2": "b" * 64, "zlib": "a" * 64}, "compile"),
        ("files", replace(FILES, patches=(("fix.patch", b"mended"),)), "compile"),
        ("files", replace(FILES, patches=(("b", b"fix"), ("a", b"fix"))), "compile"),
        ("files", replace(FILES, files={"web.conf": b"other"}), "compose"),
        ("base", replace(BASE, compose="other"), "compose"),
        ("base", None, "compose"),
        ("base", replace(BASE, image="other"), "image"),
        ("base", replace(BASE, compile="other", pack="other"), ""),
    ],
)
def test_what_a_recipe_stands_on(name: str, value: object, stage: str) -> None:
    assert first_changed(plan_of(), plan_of(RECIPE, **{name: value})) == stage


def test_the_name_service_configuration_is_packed_for() -> None:
    files = (File("/etc/nsswitch.conf", content="passwd: files systemd\n"),)
    changed = replace(RECIPE, rootfs=replace(RECIPE.rootfs, files=files))
    assert first_changed(plan_of(), plan_of(changed)) == "pack"


def test_a_library_has_one_key() -> None:
    plan = plan_of(replace(RECIPE, kind="library"))
    assert (plan.compile, plan.pack, plan.compose, plan.image) == (plan_of().compile, "", "", "")
    assert not any(name.startswith(("rootfs", "image", "check")) for name in plan.inputs)


TOML = """\
summary = "A server"
[source]
version = "1.2"
url = "https://upstream.test/web-{version}.tar.gz"
sha256 = "%s"
[build]
steps = ["make", "make install"]
[image]
cmd = ["web"]
""" % ("a" * 64)


def read(text: str) -> Recipe:
    return parse_recipe(text.encode(), Path("web.toml"))


def test_comments_spaces_and_order_change_nothing() -> None:
    head, tail = TOML.split("[build]")
    build, image = tail.split("[image]")
    written = f"# said\n{head}\n[image]{image}   # so\n\n[build]{build.replace(', ', ',  ')}"
    before, now = plan_of(read(TOML)), plan_of(read(written))
    assert now == before
    assert changed_inputs(before.inputs, now.inputs) == ()


def test_changed_inputs_are_named() -> None:
    before = plan_of().inputs
    changed = replace(
        RECIPE,
        contents=Contents(strip=False),
        image=replace(RECIPE.image, user="web"),
        checks=(Check("tcp", port=80),),
    )
    now = plan_of(changed, files=replace(FILES, files={"web.conf": b"x"}), environment=OTHER).inputs
    assert changed_inputs(before, now) == (
        "check",
        "contents.strip",
        "environment",
        "image.user",
        "rootfs.files:web.conf",
    )


def test_an_own_file_stays_in_the_own_folder(tmp_path: Path) -> None:
    own = tmp_path / "web"
    own.mkdir()
    (own / "web.conf").write_bytes(b"conf")
    recipe = replace(RECIPE, folder=own)
    assert load_own_files(recipe).files == {"web.conf": b"conf"}
    (own / "web.conf").unlink()
    with pytest.raises(RecipeError, match=r"'web\.conf'"):
        load_own_files(recipe)
    (tmp_path / "secret").write_bytes(b"secret")
    (own / "web.conf").symlink_to("../secret")
    with pytest.raises(RecipeError, match="got nothing"):
        load_own_files(recipe)
