"""Packing a payload: what stays, what comes along, what is stripped and linked."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from minid.errors import ClosureError, RecipeError
from minid.formats.elf import parse_elf
from minid.formats.elf_closure import why_chain
from minid.formats.elf_parts import has_symbol_table
from minid.formats.elf_strip import Strip
from minid.formats.tree_links import link_duplicates
from minid.host.view import DirectoryView
from minid.model import Entry, Payload, StripRequest, Tree
from minid.recipe import Contents
from minid.steps.pack import audit_rootfs, pack_payload
from tests.support.elf_files import Root, file_entry, read_nothing
from tests.support.require import require

LOADER = "lib64/ld-linux-x86-64.so.2"
MULTIARCH = "usr/lib/x86_64-linux-gnu"
CODE = "static int hidden(int x){return x*3;} int f(int x){return hidden(x);}"


def keep_all(request: StripRequest) -> Mapping[str, bytes]:
    return {}


@pytest.fixture
def environment(tmp_path: Path) -> Root:
    made = Root(tmp_path / "environment")
    made.link("lib", "usr/lib")
    made.link("lib64", "usr/lib64")
    made.library("usr/lib64/ld-linux-x86-64.so.2", source=CODE)
    return made


@pytest.fixture
def install(tmp_path: Path) -> Root:
    return Root(tmp_path / "install")


def pack(
    install: Tree,
    environment: Root,
    contents: Contents | None = None,
    *,
    needs: tuple[Tree, ...] = (),
    strip: Strip = keep_all,
) -> Payload:
    return pack_payload(
        install,
        needs,
        DirectoryView(environment.path),
        contents or Contents(),
        read=read_nothing,
        strip=strip,
        nsswitch="",
        clamp_mtime=500,
    )


def names(payload: Payload) -> list[str]:
    return [entry.image_path for entry in payload.tree.entries]


def test_a_payload_is_whole_sorted_and_explained(environment: Root, install: Root) -> None:
    environment.library(f"{MULTIARCH}/libz.so.1.2", soname="libz.so.1")
    environment.link(f"{MULTIARCH}/libz.so.1", "libz.so.1.2")
    install.program("opt/bin/a", *environment.needs(f"{MULTIARCH}/libz.so.1"))
    install.write("opt/include/a.h", "x" * 100)
    payload = pack(install.tree(), environment)
    assert names(payload) == [
        "lib64",
        LOADER,
        "opt",
        "opt/bin",
        "opt/bin/a",
        "usr",
        "usr/lib",
        MULTIARCH,
        f"{MULTIARCH}/libz.so.1",
        f"{MULTIARCH}/libz.so.1.2",
    ]
    by_path = {entry.image_path: entry for entry in payload.tree.entries}
    assert (by_path[LOADER].kind, by_path[LOADER].mode) == ("file", 0o755)
    assert by_path[f"{MULTIARCH}/libz.so.1.2"].mode == 0o644
    assert by_path["usr"].mode == 0o755
    assert {entry.mtime for entry in payload.tree.entries} == {500}
    reasons = {reason.image_path: reason for reason in payload.reasons}
    assert sorted(reasons) == sorted(
        path for path, entry in by_path.items() if entry.kind != "directory"
    )
    assert why_chain(reasons, f"{MULTIARCH}/libz.so.1")[-1].image_path == "opt/bin/a"
    assert sum(drop.size_bytes for drop in payload.drops) == 100
    assert audit_rootfs(payload.tree, read_nothing) == ()


def test_the_same_twice(environment: Root, install: Root) -> None:
    environment.library(f"{MULTIARCH}/libz.so.1")
    install.program("opt/bin/a", *environment.needs(f"{MULTIARCH}/libz.so.1"))
    first = pack(install.tree(), environment)
    (environment.path / MULTIARCH / "libz.so.1").chmod(0o755)
    assert pack(install.tree(), environment) == first


def test_what_is_missing_is_an_error_with_a_way_out(environment: Root, install: Root) -> None:
    environment.library("elsewhere/libgone.so.1")
    install.program("opt/bin/a", *environment.needs("elsewhere/libgone.so.1"))
    with pytest.raises(ClosureError, match=r"^/opt/bin/a: needs 'libgone.so.1'") as caught:
        pack(install.tree(), environment)
    assert "build.packages" in caught.value.hint


def test_needs_come_before_the_environment(
    environment: Root, install: Root, tmp_path: Path
) -> None:
    environment.library("usr/lib/libssl.so.3")
    need = Root(tmp_path / "need")
    need.library("usr/lib/libssl.so.3", source=CODE)
    need.library("usr/lib/libunused.so")
    install.program("opt/bin/a", *environment.needs("usr/lib/libssl.so.3"))
    payload = pack(install.tree(), environment, needs=(need.tree(),))
    by_path = {entry.image_path: entry for entry in payload.tree.entries}
    content = by_path["usr/lib/libssl.so.3"].content
    assert content is not None
    assert content.data == (need.path / "usr/lib/libssl.so.3").read_bytes()
    assert "usr/lib/libunused.so" not in by_path


def run_strip(folder: Path, seen: list[tuple[str, list[str]]]) -> Strip:
    def strip(request: StripRequest) -> Mapping[str, bytes]:
        seen.append((request.option, sorted(request.files)))
        out = {}
        for path, data in request.files.items():
            file = folder / "strip"
            file.write_bytes(data)
            subprocess.run(["strip", request.option, str(file)], check=True)
            out[path] = file.read_bytes()
        return out

    return strip


def test_strips_by_kind_and_never_the_loader(
    environment: Root, install: Root, tmp_path: Path
) -> None:
    require("strip")
    environment.library("usr/lib/libenv.so", source=CODE)
    install.library("opt/lib/libown.so", source=CODE)
    install.program(
        "opt/bin/a",
        *environment.needs("usr/lib/libenv.so"),
        *install.needs("opt/lib/libown.so"),
        "-Wl,-rpath,/opt/lib",
    )
    tree = install.tree()
    seen: list[tuple[str, list[str]]] = []
    payload = pack(tree, environment, strip=run_strip(tmp_path, seen))
    assert seen == [
        ("--strip-all", ["opt/bin/a"]),
        ("--strip-unneeded", ["opt/lib/libown.so", "usr/lib/libenv.so"]),
    ]
    stripped = {}
    for entry in payload.tree.entries:
        if entry.content is not None and entry.content.data is not None:
            elf = parse_elf(entry.content.data)
            assert elf is not None
            stripped[entry.image_path] = not has_symbol_table(elf, entry.content.data)
    assert stripped == {
        LOADER: False,
        "opt/bin/a": True,
        "opt/lib/libown.so": True,
        "usr/lib/libenv.so": True,
    }
    assert payload.stripped_bytes > 0
    seen.clear()
    unstripped = pack(tree, environment, Contents(strip=False), strip=run_strip(tmp_path, seen))
    assert (seen, unstripped.stripped_bytes) == ([], 0)


def test_a_strip_that_damages_is_not_believed(environment: Root, install: Root) -> None:
    install.program("opt/bin/a")

    def damage(request: StripRequest) -> Mapping[str, bytes]:
        return {path: data[:200] for path, data in request.files.items()}

    payload = pack(install.tree(), environment, strip=damage)
    assert payload.stripped_bytes == 0
    assert payload.warnings == ("/opt/bin/a: is kept as it was, as stripping damaged it",)


def test_equal_files_become_links(environment: Root) -> None:
    big, small = b"b" * 4096, b"s" * 4095
    install = Tree(
        (
            file_entry("a/one", big),
            file_entry("a/two", big),
            file_entry("a/x", big, 0o755),
            file_entry("b/s1", small),
            file_entry("b/s2", small),
            file_entry("c/three", big),
            Entry("c/hard", "hardlink", 0o644, 400, target="c/three"),
        )
    )
    payload = pack(install, environment)
    links = {e.image_path: e.target for e in payload.tree.entries if e.kind == "hardlink"}
    assert links == {"a/two": "a/one", "c/three": "a/one", "c/hard": "a/one"}
    assert payload.linked_bytes == 8192


def test_files_that_differ_in_time_are_not_linked() -> None:
    one = file_entry("a", b"x" * 5000)
    entries, saved = link_duplicates([one, replace(one, image_path="b", mtime=7)])
    assert (saved, [entry.kind for entry in entries]) == (0, ["file", "file"])


def test_merged_links_of_the_install_tree_are_left_out(environment: Root, install: Root) -> None:
    install.link("lib", "usr/lib")
    install.write("usr/lib/x", "x")
    payload = pack(install.tree(), environment)
    assert names(payload) == ["usr", "usr/lib", "usr/lib/x"]
    assert payload.warnings[0].startswith("/lib: a symlink to 'usr/lib' is left out")


def test_a_link_in_the_way_of_a_library_is_an_error(environment: Root, install: Root) -> None:
    environment.library("usr/lib/libz.so.1")
    install.program("opt/bin/a", *environment.needs("usr/lib/libz.so.1"))
    install.link("usr/lib", "/nowhere")
    with pytest.raises(ClosureError, match=r"/usr/lib/libz\.so\.1: expected a folder at /usr/lib"):
        pack(install.tree(), environment)


def test_scripts_without_their_interpreter_warn(environment: Root, install: Root) -> None:
    install.write("opt/a.pl", "#!/usr/bin/perl -w\n", 0o755)
    install.write("opt/b.sh", "#! /bin/sh\n", 0o755)
    install.write("opt/c.pl", "#!/usr/bin/perl\n", 0o644)
    payload = pack(install.tree(), environment)
    assert payload.warnings == (
        "/opt/a.pl: a script for '/usr/bin/perl', which is not in the payload",
    )


def test_gconv_modules_get_a_configuration_of_their_own(environment: Root, install: Root) -> None:
    environment.library(f"{MULTIARCH}/gconv/UTF-16.so")
    environment.write(f"{MULTIARCH}/gconv/gconv-modules", "module INTERNAL X// X 1\n")
    environment.write(
        f"{MULTIARCH}/gconv/gconv-modules.d/extra.conf", "module INTERNAL UTF-16// UTF-16 1\n"
    )
    install.program("opt/bin/a")
    payload = pack(install.tree(), environment, Contents(dlopen=(f"/{MULTIARCH}/gconv/UTF-16.so",)))
    entry = next(e for e in payload.tree.entries if e.image_path.endswith("gconv-modules"))
    assert entry.content is not None
    assert entry.content.data == b"module\tINTERNAL\tUTF-16//\tUTF-16\t1\n"


def test_a_bad_pattern_is_the_recipes_fault(environment: Root, install: Root) -> None:
    with pytest.raises(RecipeError, match="contents: expected a pattern"):
        pack(install.tree(), environment, Contents(drop=("/",)))


def test_the_audit_sees_what_an_image_lacks(environment: Root, install: Root) -> None:
    environment.library("usr/lib/libz.so.1")
    install.program("opt/bin/a", *environment.needs("usr/lib/libz.so.1"))
    whole = pack(install.tree(), environment).tree
    for lost, needs in ((LOADER, "/lib64/ld-linux-x86-64.so.2"), ("usr/lib/libz.so.1", "libz")):
        broken = Tree(tuple(entry for entry in whole.entries if entry.image_path != lost))
        found = audit_rootfs(broken, read_nothing)
        assert len(found) == 1
        assert needs in found[0]
