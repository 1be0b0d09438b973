"""Closures over compiled objects: search order, reasons, rules, and what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minid.formats.dlopen_rules import glibc_minor, parse_nsswitch
from minid.formats.elf import parse_elf
from minid.formats.elf_closure import (
    Closure,
    ClosureOptions,
    check_versions,
    resolve_closure,
    why_chain,
)
from minid.formats.file_view import Walker
from minid.formats.gconv import cut_gconv_modules
from minid.formats.ldconf import compiled_dirs, read_ld_so_conf
from minid.host.view import DirectoryView
from tests.support.elf_files import Root
from tests.unit.test_elf import make_elf

LOADER = "lib64/ld-linux-x86-64.so.2"
MULTIARCH = "usr/lib/x86_64-linux-gnu"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root with a merged /usr and a stand-in for glibc's loader."""
    made = Root(tmp_path)
    made.link("lib", "usr/lib")
    made.link("lib64", "usr/lib64")
    made.library("usr/lib64/ld-linux-x86-64.so.2")
    return made


def close(root: Root, *start: str, **options: object) -> Closure:
    return resolve_closure(
        start,
        DirectoryView(root.path),
        ClosureOptions(present=frozenset(start), **options),  # type: ignore[arg-type]
    )


def paths(closure: Closure) -> list[str]:
    """What is shipped, links with their targets."""
    return [
        item.image_path + (f" -> {item.target}" if item.target else "") for item in closure.items
    ]


def test_a_chain_of_links_comes_along(root: Root) -> None:
    root.library(f"{MULTIARCH}/libz.so.1.2.13", soname="libz.so.1")
    root.link(f"{MULTIARCH}/libz.so.1", "libz.so.1.2.13")
    root.program("bin/a", *root.needs(f"{MULTIARCH}/libz.so.1"))
    closure = close(root, "bin/a")
    assert paths(closure) == [
        LOADER,
        f"{MULTIARCH}/libz.so.1 -> libz.so.1.2.13",
        f"{MULTIARCH}/libz.so.1.2.13",
    ]
    chain = why_chain(closure.reasons, f"{MULTIARCH}/libz.so.1")
    assert [(reason.how, reason.via) for reason in chain] == [
        ("link", f"{MULTIARCH}/libz.so.1.2.13"),
        ("needed", "bin/a"),
        ("installed", ""),
    ]
    assert closure.missing == closure.warnings == ()


def test_absolute_links_are_made_relative_to_real_folders(root: Root) -> None:
    root.library("usr/lib/deep/libq.so.1.0", soname="libq.so.1")
    root.link("usr/lib/libq.so.1", "/lib/deep/libq.so.1.0")
    root.program("bin/a", *root.needs("usr/lib/deep/libq.so.1.0"))
    assert "usr/lib/libq.so.1 -> deep/libq.so.1.0" in paths(close(root, "bin/a"))


def test_cycles_end(root: Root) -> None:
    root.library("usr/lib/libb.so")
    root.library("usr/lib/liba.so", *root.needs("usr/lib/libb.so"))
    root.library("usr/lib/libb.so", *root.needs("usr/lib/liba.so"))
    root.program("bin/x", *root.needs("usr/lib/liba.so"))
    assert paths(close(root, "bin/x")) == [LOADER, "usr/lib/liba.so", "usr/lib/libb.so"]


def test_rpath_is_handed_down_and_runpath_is_not(root: Root) -> None:
    root.library("opt/p/libdeep.so")
    root.library("opt/p/libmid.so", *root.needs("opt/p/libdeep.so"))
    needs = root.needs("opt/p/libmid.so")
    root.program("bin/old", *needs, "-Wl,--disable-new-dtags,-rpath,/opt/p")
    root.program("bin/new", *needs, "-Wl,--enable-new-dtags,-rpath,/opt/p")
    assert close(root, "bin/old").missing == ()
    missing = close(root, "bin/new").missing
    assert [(each.image_path, each.needs) for each in missing] == [
        ("opt/p/libmid.so", "libdeep.so")
    ]
    assert "'/usr/lib' (default)" in missing[0].searched
    assert "/opt/p/libmid.so: needs 'libdeep.so', which is not in" in str(missing[0])


def test_a_runpath_of_its_own_ends_inheritance(root: Root) -> None:
    root.library("opt/p/libdeep.so")
    root.library(
        "opt/p/libmid.so", *root.needs("opt/p/libdeep.so"), "-Wl,--enable-new-dtags,-rpath,/no"
    )
    root.program("bin/a", *root.needs("opt/p/libmid.so"), "-Wl,--disable-new-dtags,-rpath,/opt/p")
    assert [each.needs for each in close(root, "bin/a").missing] == ["libdeep.so"]


def test_tokens(root: Root) -> None:
    root.library("opt/lib/x86_64-linux-gnu/libl.so")
    root.library("opt/x86_64/libp.so")
    root.library("opt/own/libo.so")
    root.program(
        "opt/bin/a",
        *root.needs("opt/lib/x86_64-linux-gnu/libl.so", "opt/x86_64/libp.so", "opt/own/libo.so"),
        "-Wl,-rpath,/opt/$LIB:/opt/${PLATFORM}:${ORIGIN}/../own:$ORIGINAL:relative::",
    )
    closure = close(root, "opt/bin/a")
    assert closure.missing == ()
    assert len(closure.items) == 4


def test_the_same_soname_in_two_folders(root: Root) -> None:
    root.library("opt/1/libs.so")
    root.library("opt/2/libs.so")
    root.program("bin/a", *root.needs("opt/1/libs.so"), "-Wl,-rpath,/opt/1")
    root.program("bin/b", *root.needs("opt/2/libs.so"), "-Wl,-rpath,/opt/2")
    assert paths(close(root, "bin/a", "bin/b")) == [LOADER, "opt/1/libs.so", "opt/2/libs.so"]


def test_other_machines_and_damaged_files_are_passed_over(root: Root) -> None:
    root.library("usr/lib/libm8.so")
    root.write(f"{MULTIARCH}/libm8.so", make_elf(32, "<", machine=3))
    root.write("opt/libm8.so", b"\x7fELF broken")
    root.program("bin/a", *root.needs("usr/lib/libm8.so"), "-Wl,-rpath,/opt")
    closure = close(root, "bin/a")
    assert (closure.missing, paths(closure)) == ((), [LOADER, "usr/lib/libm8.so"])


def test_needed_with_a_slash(root: Root) -> None:
    root.library("opt/liba.so", soname="/opt/liba.so")
    root.library("opt/libb.so", soname="../opt/libb.so")
    root.program("bin/a", *root.needs("opt/liba.so", "opt/libb.so"))
    closure = close(root, "bin/a")
    assert paths(closure) == ["lib64/ld-linux-x86-64.so.2", "opt/liba.so"]
    assert [each.needs for each in closure.missing] == ["../opt/libb.so"]
    assert "working directory" in closure.missing[0].searched


def test_hostile_names_stay_inside_and_are_escaped(root: Root, tmp_path: Path) -> None:
    for name in ("../../../../etc/passwd", "\x1b[31mred.so", "/../../etc/passwd", "a" * 5000):
        root.library("opt/libx.so", soname=name)
        root.program("bin/a", *root.needs("opt/libx.so"))
        missing = close(root, "bin/a").missing
        assert [each.needs for each in missing] == [name]
        assert str(missing[0]).isprintable()


def test_an_empty_name_is_missing(root: Root) -> None:
    root.library("usr/lib/libe.so")
    root.program("bin/a", *root.needs("usr/lib/libe.so"))
    file = root.path / "bin/a"
    data = file.read_bytes()
    elf = parse_elf(data)
    assert elf is not None
    offset = next(part.offset for part in elf.segments if part.kind == 2)
    position = offset + 16 * [tag for tag, _ in elf.dynamic].index(1) + 8
    file.write_bytes(data[:position] + bytes(8) + data[position + 8 :])
    assert [each.needs for each in close(root, "bin/a").missing] == [""]


def test_a_thousand_runpaths(root: Root) -> None:
    root.library("opt/n999/libend.so")
    runpath = ":".join(f"/opt/n{number}" for number in range(1000))
    root.program("bin/a", *root.needs("opt/n999/libend.so"), f"-Wl,-rpath,{runpath}")
    assert close(root, "bin/a").missing == ()
    root.program("bin/b", *root.needs("opt/n999/libend.so"), f"-Wl,-rpath,{runpath[:-1]}8")
    assert "(runpath) and 9" in str(close(root, "bin/b").missing[0])


def test_ld_so_conf_with_includes_gives_a_link_for_the_image(root: Root) -> None:
    root.write("etc/ld.so.conf", "# local\ninclude /etc/ld.so.conf.d/*.conf\n/last\n")
    root.write("etc/ld.so.conf.d/b.conf", "/opt/b /opt/c, /opt/d\nhwcap 1 nosegneg\n")
    root.write("etc/ld.so.conf.d/a.conf", "include ../ld.so.conf\n/opt/a=libc6\n")
    root.write("etc/ld.so.conf.d/ignored", "/no\n")
    dirs = read_ld_so_conf(Walker(DirectoryView(root.path)))
    assert dirs == ("/opt/a", "/opt/b", "/opt/c", "/opt/d", "/last")
    root.library("opt/c/libconf.so.1")
    root.program("bin/a", *root.needs("opt/c/libconf.so.1"))
    assert paths(close(root, "bin/a")) == [
        LOADER,
        "opt/c/libconf.so.1",
        f"{MULTIARCH}/libconf.so.1 -> ../../../opt/c/libconf.so.1",
    ]
    assert [each.needs for each in close(root, "bin/a", conf=False).missing] == ["libconf.so.1"]


def test_a_symlinked_folder_in_a_runpath_gets_a_link(root: Root) -> None:
    root.library("usr/lib/plug/libplug.so")
    root.program("bin/a", *root.needs("usr/lib/plug/libplug.so"), "-Wl,-rpath,/lib/plug")
    assert paths(close(root, "bin/a")) == [
        "lib/plug/libplug.so -> ../../usr/lib/plug/libplug.so",
        LOADER,
        "usr/lib/plug/libplug.so",
    ]


def test_a_missing_interpreter(root: Root) -> None:
    root.program("bin/a", interpreter="/opt/no/ld.so")
    missing = close(root, "bin/a").missing
    assert [(each.image_path, each.needs) for each in missing] == [("bin/a", "/opt/no/ld.so")]


def test_a_library_may_lean_on_the_program_that_loads_it(root: Root) -> None:
    root.library("opt/p/libcore.so")
    root.library("opt/p/plugin.so", *root.needs("opt/p/libcore.so"))
    root.program("bin/a", *root.needs("opt/p/libcore.so"), "-Wl,-rpath,/opt/p")
    assert [each.needs for each in close(root, "opt/p/plugin.so").missing] == ["libcore.so"]
    closure = close(root, "bin/a", "opt/p/plugin.so", "opt/p/libcore.so")
    assert closure.missing == ()
    assert "only in a program" in closure.warnings[0]


def test_default_folders_come_from_the_loaders_own_bytes(root: Root) -> None:
    root.library("usr/odd/lib64/libodd.so")
    loader = root.path / "usr/lib64/ld-linux-x86-64.so.2"
    loader.write_bytes(loader.read_bytes() + b"\0/proc/self/\0/odd/lib64/\0/usr/odd/lib64/\0")
    root.program("bin/a", *root.needs("usr/odd/lib64/libodd.so"))
    assert "usr/odd/lib64/libodd.so" in paths(close(root, "bin/a"))
    assert compiled_dirs(b"\0/lib:/usr/local/lib:/usr/lib\0", "musl") == (
        "/lib",
        "/usr/local/lib",
        "/usr/lib",
    )


def test_musl(root: Root) -> None:
    root.library("usr/lib/ld-musl-x86_64.so.1", soname="libc.so")
    root.library("usr/lib/libc.so")
    root.library("opt/m/libdeep.so")
    root.library("opt/m/libmid.so", *root.needs("opt/m/libdeep.so"))
    root.program(
        "bin/m",
        *root.needs("usr/lib/libc.so", "opt/m/libmid.so"),
        "-Wl,--enable-new-dtags,-rpath,/opt/m",
        interpreter="/lib/ld-musl-x86_64.so.1",
    )
    closure = close(root, "bin/m")
    assert closure.missing == ()  # musl hands RUNPATH down, too
    assert paths(closure) == ["lib/ld-musl-x86_64.so.1", "opt/m/libdeep.so", "opt/m/libmid.so"]


def test_musl_and_glibc_mixed(root: Root) -> None:
    root.library("usr/lib/ld-musl-x86_64.so.1", soname="libc.so")
    root.library(f"{MULTIARCH}/libc.so.6")
    root.library("usr/lib/libg.so", *root.needs(f"{MULTIARCH}/libc.so.6"))
    root.program("bin/m", *root.needs("usr/lib/libg.so"), interpreter="/lib/ld-musl-x86_64.so.1")
    closure = close(root, "bin/m")
    assert closure.warnings == (
        "/usr/lib/libg.so: is built for glibc and gets musl, which lacks some symbols",
    )
    root.library("opt/libc.musl-x86_64.so.1")
    root.program("bin/g", *root.needs("opt/libc.musl-x86_64.so.1"))
    assert "one environment" in close(root, "bin/g").missing[0].hint


def test_two_copies_of_glibc_warn(root: Root) -> None:
    root.library(f"{MULTIARCH}/libc.so.6")
    root.library("opt/libc.so.6")
    root.program("bin/a", *root.needs(f"{MULTIARCH}/libc.so.6"))
    root.program("bin/b", *root.needs("opt/libc.so.6"), "-Wl,-rpath,/opt")
    assert "two copies" in close(root, "bin/a", "bin/b").warnings[0]


def test_musl_path_file(root: Root) -> None:
    root.library("usr/lib/ld-musl-x86_64.so.1", soname="libc.so")
    root.write("etc/ld-musl-x86_64.path", "/srv/a\n/srv/b:/usr/lib\n")
    root.library("srv/b/libpath.so")
    root.program("bin/m", *root.needs("srv/b/libpath.so"), interpreter="/lib/ld-musl-x86_64.so.1")
    assert "usr/lib/libpath.so -> ../../srv/b/libpath.so" in paths(close(root, "bin/m"))


def test_mixed_versions_are_told(root: Root) -> None:
    new = root.write("new.map", "GLIBC_2.2 { global: f; };\nGLIBC_2.38 { global: g; } GLIBC_2.2;\n")
    old = root.write("old.map", "GLIBC_2.2 { global: f; };\nGLIBC_2.36 { global: h; } GLIBC_2.2;\n")
    source = "int f(void){return 1;} int g(void){return 2;} int h(void){return 3;}"
    root.library("new/libc.so.6", f"-Wl,--version-script={new}", source=source)
    root.program(
        "bin/a",
        *root.needs("new/libc.so.6"),
        source="extern int f(),g(); void _start(void){f();g();}",
    )
    root.library(f"{MULTIARCH}/libc.so.6", f"-Wl,--version-script={old}", source=source)
    problems = check_versions(close(root, "bin/a"))
    assert [each.needs for each in problems] == ["GLIBC_2.38 of libc.so.6"]
    assert "it defines up to GLIBC_2.36" in str(problems[0])


def libc(root: Root, version: str, extra: str = "") -> None:
    script = root.write("libc.map", f"GLIBC_{version} {{ global: *; }};\n")
    names = "getpwnam getaddrinfo pthread_cancel iconv_open dlopen " + extra
    source = "".join(f"int {name}(void){{return 1;}}" for name in names.split())
    root.library(f"{MULTIARCH}/libc.so.6", f"-Wl,--version-script={script}", source=source)


def calling(root: Root, name: str) -> None:
    root.program(
        "bin/a",
        *root.needs(f"{MULTIARCH}/libc.so.6"),
        source=f"extern int {name}(); void _start(void){{{name}();}}",
    )


@pytest.mark.parametrize(("version", "shipped"), [("2.28", True), ("2.36", False)])
def test_name_service_modules_of_an_old_glibc(root: Root, version: str, shipped: bool) -> None:
    libc(root, version)
    root.library(f"{MULTIARCH}/libresolv.so.2")
    root.library(f"{MULTIARCH}/libnss_dns.so.2", *root.needs(f"{MULTIARCH}/libresolv.so.2"))
    root.library(f"{MULTIARCH}/libnss_files.so.2")
    calling(root, "getaddrinfo")
    closure = close(root, "bin/a")
    names = {item.image_path.rpartition("/")[2] for item in closure.items}
    modules = {"libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"}
    assert names & modules == (modules if shipped else set())
    if shipped:
        reason = closure.reasons[f"{MULTIARCH}/libnss_dns.so.2"]
        assert (reason.how, reason.via) == ("symbol-rule", "bin/a")
        assert "getaddrinfo reads hosts" in reason.detail


def test_name_service_follows_the_shipped_nsswitch(root: Root) -> None:
    libc(root, "2.36")
    root.library(f"{MULTIARCH}/libnss_systemd.so.2")
    calling(root, "getpwnam")
    closure = close(root, "bin/a", nsswitch="passwd: files [NOTFOUND=continue] systemd ldap\n")
    assert f"{MULTIARCH}/libnss_systemd.so.2" in paths(closure)
    assert any("libnss_ldap.so.2" in text for text in closure.warnings)
    assert parse_nsswitch("hosts: files [!UNAVAIL=return] dns # x\n\nbad\n") == {
        "hosts": ("files", "dns")
    }


def test_early_thread_ends_need_libgcc(root: Root) -> None:
    libc(root, "2.36")
    root.library(f"{MULTIARCH}/libgcc_s.so.1")
    calling(root, "pthread_cancel")
    closure = close(root, "bin/a")
    assert closure.reasons[f"{MULTIARCH}/libgcc_s.so.1"].how == "symbol-rule"
    calling(root, "getpwnam")
    assert f"{MULTIARCH}/libgcc_s.so.1" not in close(root, "bin/a").reasons


def test_iconv_warns(root: Root) -> None:
    libc(root, "2.36")
    calling(root, "iconv_open")
    assert any("gconv" in text for text in close(root, "bin/a").warnings)


def test_strings_beside_dlopen_warn_only(root: Root) -> None:
    libc(root, "2.36")
    root.library(f"{MULTIARCH}/libextra.so.3")
    root.program(
        "bin/a",
        *root.needs(f"{MULTIARCH}/libc.so.6"),
        source='extern int dlopen(); void _start(void){dlopen("libextra.so.3");}',
    )
    closure = close(root, "bin/a")
    assert [text for text in closure.warnings if "libextra.so.3" in text]
    assert f"{MULTIARCH}/libextra.so.3" not in closure.reasons
    listed = close(root, "bin/a", listed=("libextra.so.3",))
    assert not [text for text in listed.warnings if "libextra.so.3" in text]


def test_the_recipes_own_list(root: Root) -> None:
    libc(root, "2.36")
    root.library("opt/own/libone.so.1")
    root.library(f"{MULTIARCH}/gconv/UTF-16.so", *root.needs(f"{MULTIARCH}/libc.so.6"))
    root.library(f"{MULTIARCH}/libtwo-a.so")
    root.library(f"{MULTIARCH}/libtwo-b.so")
    root.write("etc/ssl/openssl.cnf", "x")
    root.program("bin/a", *root.needs(f"{MULTIARCH}/libc.so.6"), "-Wl,-rpath,/opt/own")
    listed = ("libone.so.1", "/lib/*/gconv/UTF-*.so", "libtwo*.so", "/etc/ssl/openssl.cnf", "no.so")
    closure = close(root, "bin/a", listed=listed)
    got = set(paths(closure))
    assert {
        "opt/own/libone.so.1",
        f"{MULTIARCH}/gconv/UTF-16.so",
        "lib/x86_64-linux-gnu/gconv/UTF-16.so -> ../../../usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
        f"{MULTIARCH}/libtwo-a.so",
        f"{MULTIARCH}/libtwo-b.so",
        "etc/ssl/openssl.cnf",
    } <= got
    assert closure.reasons["etc/ssl/openssl.cnf"].detail == "/etc/ssl/openssl.cnf"
    assert [str(each) for each in closure.missing] == [
        "contents.dlopen: needs 'no.so', which is not in the environment"
    ]


def test_dlopen_notes(root: Root) -> None:
    from tests.unit.test_elf import _note_source

    root.library(f"{MULTIARCH}/libreq.so.1")
    root.library(f"{MULTIARCH}/libsug.so.1")
    rows = [
        {"soname": ["libno.so.0", "libreq.so.1"], "priority": "required", "feature": "core"},
        {"soname": ["libgone.so.1"], "priority": "required"},
        {"soname": ["librec.so.1"], "priority": "recommended"},
        {"soname": ["libsug.so.1"], "priority": "suggested"},
    ]
    root.program("bin/a", source=_note_source(rows))
    closure = close(root, "bin/a")
    assert paths(closure) == [LOADER, f"{MULTIARCH}/libreq.so.1"]
    assert closure.reasons[f"{MULTIARCH}/libreq.so.1"].detail == "required for core"
    assert [each.needs for each in closure.missing] == ["libgone.so.1"]
    assert [re.findall(r"lib\w+\.so", text)[0] for text in closure.warnings] == [
        "librec.so",
        "libsug.so",
    ]


def test_damaged_start_files_are_reported(root: Root) -> None:
    root.write("bin/bad", make_elf(64, "<")[:-40])
    root.write("bin/short", b"\x7fELF\x02\x01")
    closure = close(root, "bin/short", "bin/bad")
    assert [text.partition(": not taken as ELF")[0] for text in closure.warnings] == [
        "/bin/bad",
        "/bin/short",
    ]
    assert closure.missing == ()


def test_a_planted_loader_is_not_run(root: Root) -> None:
    canary = root.path / "canary"
    root.write("evil", f"#!/bin/sh\ntouch {canary}\n", 0o755)
    root.program("bin/a", interpreter="/evil")
    (root.path / "bin/a").chmod(0o755)
    assert paths(close(root, "bin/a")) == ["evil"]
    assert not canary.exists()


def test_small_facts() -> None:
    assert glibc_minor(("GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_PRIVATE", "GLIBC_2.")) == 36
    text = (
        "alias\tX//\tUTF-16//\nalias Y// Z//\nmodule INTERNAL UTF-16// UTF-16 1\nmodule A B Q 1\n"
    )
    assert cut_gconv_modules([text], ["UTF-16.so"]) == (
        "alias\tX//\tUTF-16//\nmodule\tINTERNAL\tUTF-16//\tUTF-16\t1\n"
    )
