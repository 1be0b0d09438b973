"""Each lint on a tree with exactly its fault, and on one without any."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from minid.formats.lint import (
    RULE_NAMES,
    UNUSED,
    Finding,
    make_strict,
    parse_finding,
    silence,
)
from minid.formats.lint_bytes import parse_facts, read_facts, usable_host_name
from minid.formats.lint_rules import RULES
from minid.formats.lint_subject import Release
from minid.formats.tree import sort_entries
from minid.model import Content, Entry, Tree
from minid.recipe import Silence
from minid.steps.lint import Facts, ImageToLint, lint_image
from minid.store.blobs import Blobs
from minid.store.contents import store_tree
from tests.support.elf_files import Root, read_nothing
from tests.support.tiny_image import GROUP, PASSWD, file, folder, link

PAGE = Path(__file__).parents[2] / "docs/reference/lints.md"
LOADER = "lib64/ld-linux-x86-64.so.2"
HOST = b"builder-77"
KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + b"b3BlbnNzaC1rZXktdjEAAAAA" * 8
NOW = Release("1.1", 1000, "MIT", {"COPYING": "a" * 64})


class Ground:
    """A root file system of gcc's programs and of entries, and a store to lint it from."""

    def __init__(self, path: Path) -> None:
        self.root = Root(path / "root")
        self.blobs = Blobs(path / "store")
        self.blobs.prepare()
        self.extra: list[Entry] = []
        self.asked: dict[str, Facts] = {}
        self.read = 0
        self.root.path.mkdir()
        self.add(folder("etc"), folder("tmp", 0o1777))
        self.add(file("etc/passwd", PASSWD), file("etc/group", GROUP))

    def add(self, *entries: Entry) -> None:
        names = {entry.image_path for entry in entries}
        self.extra = [each for each in self.extra if each.image_path not in names] + list(entries)

    def bare(self, *paths: str) -> None:
        for path in paths:
            subprocess.run(["strip", str(self.root.path / path)], check=True)

    def program(self, *flags: str, strip: bool = True, loader: str = LOADER) -> str:
        """A program with its loader."""
        if loader:
            self.root.library(loader, soname=loader.rpartition("/")[2])
        path = self.root.program("bin/tool", *flags)
        if strip:
            self.bare(path)
        return path

    def tree(self) -> Tree:
        entries = {each.image_path: each for each in (*self.root.tree().entries, *self.extra)}
        return store_tree(sort_entries(entries.values()), self._bytes, self.blobs)[1]

    @staticmethod
    def _bytes(content: Content) -> bytes:
        return content.data if content.data is not None else read_nothing(content)

    def recall(self, key: str, _stage: str, make: object) -> Facts:
        if key not in self.asked:
            self.read += 1
            assert callable(make)
            self.asked[key] = make()
        return self.asked[key]

    def lint(
        self,
        base: Tree | None = None,
        config: Mapping[str, object] | None = None,
        **more: object,
    ) -> list[Finding]:
        image = ImageToLint(self.tree(), base or Tree(), config or {}, NOW)
        image = replace(image, **more)  # type: ignore[arg-type]
        return list(lint_image(image, self.blobs, HOST, self.recall))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def only(findings: list[Finding], rule: str, path: str = "") -> str:
    """The detail of the one finding, which must be of this rule at this path."""
    assert [(each.rule, each.image_path) for each in findings] == [(rule, path)], findings
    assert findings[0].severity == next(each.severity for each in RULES if each.name == rule)
    return findings[0].detail


def test_a_clean_image_has_no_finding(ground: Ground) -> None:
    ground.program()
    ground.add(file("etc/app.conf", b"path = /srv/build/src\nkey = none\n"), folder("srv"))
    ground.add(link("dev-null", "/dev/null"), link("etc/mtab", "../proc/mounts"))
    ground.add(file("bin/run", b"#!/bin/tool -x\n", 0o755), link("sbin", "bin"))
    config = {"User": "web:logs", "Env": ["PATH=/bin"], "Volumes": {"/data": {}}}
    ground.add(link("srv/data", "/data/here"))
    earlier = replace(NOW, version="1.0", unpacked=990)
    assert ground.lint(config=config, before=earlier) == []


def test_an_object_with_its_symbols(ground: Ground) -> None:
    ground.program(strip=False)
    assert "symbol table" in only(ground.lint(), "unstripped", "bin/tool")


def test_a_library_that_is_not_there(ground: Ground) -> None:
    library = ground.root.library("lib/libgone.so.1")
    ground.program(*ground.root.needs(library))
    (ground.root.path / library).unlink()
    assert "'libgone.so.1'" in only(ground.lint(), "missing-library", "bin/tool")


@pytest.mark.parametrize("soname", ["libc.musl-x86_64.so.1", "libc.so"])
def test_a_library_for_musl_in_a_program_of_glibc(ground: Ground, soname: str) -> None:
    libc = ground.root.library(f"elsewhere/{soname}")
    foreign = ground.root.library("lib/libforeign.so.1", *ground.root.needs(libc))
    ground.program(*ground.root.needs(foreign))
    ground.bare(foreign)
    (ground.root.path / libc).unlink()
    assert "is for musl" in only(ground.lint(), "foreign-libc", foreign)


def test_a_library_for_glibc_in_a_program_of_musl(ground: Ground) -> None:
    ground.root.library("lib/ld-musl-x86_64.so.1", soname="libc.musl-x86_64.so.1")
    glibc = ground.root.library("elsewhere/libc.so.6")
    foreign = ground.root.library("usr/lib/libforeign.so.1", *ground.root.needs(glibc))
    needs = ground.root.needs(foreign)
    ground.root.program("bin/tool", *needs, interpreter="/lib/ld-musl-x86_64.so.1")
    ground.bare("bin/tool", foreign)
    (ground.root.path / glibc).unlink()
    assert "is for glibc" in only(ground.lint(), "foreign-libc", foreign)


def test_a_symbol_version_that_the_library_lacks(ground: Ground) -> None:
    scripts = [ground.root.write(f"{n}.map", f"V_{n} {{ global: call; }};") for n in (1, 2)]
    flags = [f"-Wl,--version-script={path}" for path in scripts]
    source = "void call(void){}"
    ground.root.library("new/libv.so.1", flags[1], source=source)
    ground.root.library("lib/libv.so.1", flags[0], source=source)
    start = "void call(void); void _start(void){call();}"
    ground.root.library(LOADER, soname="ld-linux-x86-64.so.2")
    ground.root.program("bin/tool", *ground.root.needs("new/libv.so.1"), source=start)
    ground.bare("bin/tool", "lib/libv.so.1")
    for path in (*scripts, ground.root.path / "new/libv.so.1"):
        path.unlink()
    assert "V_2" in only(ground.lint(), "symbol-version", "bin/tool")


@pytest.mark.parametrize("flag", ["--disable-new-dtags", "--enable-new-dtags"])
def test_libraries_looked_for_where_the_build_was(ground: Ground, flag: str) -> None:
    ground.program(f"-Wl,{flag},-rpath,/usr/lib:/build/sysroot/usr/lib")
    found = ground.lint()
    assert [each.rule for each in found] == ["build-path", "build-rpath"]
    assert only(found[1:], "build-rpath", "bin/tool").count("/build/sysroot/usr/lib") == 1


@pytest.mark.parametrize("target", ["gone", "/usr/gone", "../../gone", "itself", "gone/"])
def test_a_link_to_nothing(ground: Ground, target: str) -> None:
    ground.add(link("itself", target))
    assert repr(target) in only(ground.lint(), "dangling-link", "itself")


def test_a_program_without_its_loader(ground: Ground) -> None:
    ground.program(loader="")
    assert "ld-linux" in only(ground.lint(), "missing-interpreter", "bin/tool")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"#!/usr/bin/perl -w\n", "'/usr/bin/perl'"),
        (b"#! /opt/x\n", "'/opt/x'"),
        (b"#!/bin/env python3\n", "'python3'"),
        (b"#!/bin/env -S A=b python3 -u\n", "'python3'"),
    ],
)
def test_a_script_without_its_interpreter(ground: Ground, line: bytes, wanted: str) -> None:
    ground.add(file("bin/env", b"an env", 0o755), file("bin/script", line, 0o755))
    ground.add(file("share/text", line, 0o644))  # nobody runs it
    assert wanted in only(ground.lint(), "missing-interpreter", "bin/script")


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711])
def test_a_program_with_more_rights(ground: Ground, mode: int) -> None:
    ground.add(file("bin/ping", b"ping", mode), folder("srv", 0o2775))
    assert f"{mode:04o}" in only(ground.lint(), "setuid", "bin/ping")


def test_a_program_with_capabilities(ground: Ground) -> None:
    xattrs = (("security.capability", b"\x01\0\0\x02" + bytes(16)),)
    ground.add(replace(file("bin/ping", b"ping", 0o755), xattrs=xattrs))
    assert "capabilities" in only(ground.lint(), "setuid", "bin/ping")


@pytest.mark.parametrize("entry", [file("srv", b"x", 0o666), folder("srv", 0o777)])
def test_what_everybody_may_change(ground: Ground, entry: Entry) -> None:
    ground.add(entry)
    assert entry.kind in only(ground.lint(), "world-writable", "srv")


def test_a_path_of_the_build(ground: Ground) -> None:
    source = 'const char where[] = "/build/src/tool.c"; void _start(void){}'
    ground.root.library(LOADER, soname="ld-linux-x86-64.so.2")
    ground.bare(ground.root.program("bin/tool", source=source))
    assert "/build/src/tool.c" in only(ground.lint(), "build-path", "bin/tool")


def test_the_name_of_the_machine(ground: Ground) -> None:
    ground.add(file("etc/built", b"by root@builder-77 on Monday"), file("x", b"builder-771"))
    only(ground.lint(), "host-name", "etc/built")


def test_names_of_machines_that_are_looked_for() -> None:
    names = ("vm", "debian", "localhost", "web1", "a/b-123", "builder-77.lan", "mail-relay")
    assert [usable_host_name(name) for name in names] == [
        *(b"", b"", b"", b"", b""),
        b"builder-77",
        b"mail-relay",
    ]


@pytest.mark.parametrize("user", ["nobody", "web:staff", "1000:staff"])
def test_a_user_who_does_not_exist(ground: Ground, user: str) -> None:
    wanted = "staff" if "staff" in user else "nobody"
    assert repr(wanted) in only(ground.lint(config={"User": user}), "unknown-user")


@pytest.mark.parametrize("user", ["", "web", "0", "1000:1000", "web:logs", "root"])
def test_a_user_who_exists(ground: Ground, user: str) -> None:
    assert ground.lint(config={"User": user}) == []


def openssl(ground: Ground) -> None:
    source = 'const char dir[] = "OPENSSLDIR: \\"/usr/lib/ssl\\"";'
    ground.bare(ground.root.library("usr/lib/libcrypto.so.3", source=source))


def test_openssl_without_authorities(ground: Ground) -> None:
    openssl(ground)
    ground.add(folder("usr/lib/ssl"), folder("usr/lib/ssl/certs"))
    ground.add(file("usr/lib/ssl/certs/README", b"none"))
    assert "/usr/lib/ssl/cert.pem" in only(ground.lint(), "no-ca-bundle", "usr/lib/libcrypto.so.3")


def test_openssl_with_authorities(ground: Ground) -> None:
    openssl(ground)
    bundle = file("etc/ssl/ca.crt", b"-----BEGIN CERTIFICATE-----\n")
    ground.add(bundle, link("usr/lib/ssl/cert.pem", "/etc/ssl/ca.crt"))
    assert ground.lint() == []
    ground.add(link("usr/lib/ssl/cert.pem", "certs/0a1b2c3d.0"))
    ground.add(file("usr/lib/ssl/certs/0a1b2c3d.0", b"x"))
    assert ground.lint() == []


def test_openssl_told_by_the_environment(ground: Ground) -> None:
    openssl(ground)
    ground.add(file("etc/ssl/ca.crt", b"-----BEGIN CERTIFICATE-----\n"))
    assert ground.lint(config={"Env": ["SSL_CERT_FILE=/etc/ssl/ca.crt"]}) == []
    only(
        ground.lint(config={"Env": ["SSL_CERT_FILE=/etc/gone"]}),
        "no-ca-bundle",
        "usr/lib/libcrypto.so.3",
    )


def glibc(ground: Ground, release: str) -> None:
    script = ground.root.write("map", f"GLIBC_{release} {{ global: call; }};")
    flag = f"-Wl,--version-script={script}"
    ground.root.library("lib/libc.so.6", flag, source="void call(void){}")
    ground.program(*ground.root.needs("lib/libc.so.6"))
    ground.bare("lib/libc.so.6")
    script.unlink()


def test_a_name_service_without_its_module(ground: Ground) -> None:
    glibc(ground, "2.36")
    ground.add(file("etc/nsswitch.conf", b"passwd: files ldap [!UNAVAIL=return]\nhosts: dns\n"))
    detail = only(ground.lint(), "nss-module", "etc/nsswitch.conf")
    assert "'ldap'" in detail and "libnss_ldap.so.2" in detail
    ground.bare(ground.root.library("lib/libnss_ldap.so.2"))
    assert ground.lint() == []


def test_an_older_glibc_needs_modules_for_all(ground: Ground) -> None:
    glibc(ground, "2.31")
    details = [each.detail for each in ground.lint() if each.rule == "nss-module"]
    assert details and "libnss_files.so.2" in details[0]


@pytest.mark.parametrize("mode", [0o755, 0o1755])
def test_a_folder_for_temporary_files_with_another_mode(ground: Ground, mode: int) -> None:
    ground.add(folder("tmp", mode))
    assert f"{mode:04o}" in only(ground.lint(), "tmp-mode", "tmp")


def test_an_image_without_tmp(ground: Ground) -> None:
    ground.extra = [each for each in ground.extra if each.image_path != "tmp"]
    assert "no /tmp" in only(ground.lint(), "tmp-mode")
    base = Tree((folder("etc"),))
    assert ground.lint(base=base) == []  # it is the base's


@pytest.mark.parametrize(
    ("before", "detail"),
    [
        ({"license": "BSD-2-Clause"}, "'BSD-2-Clause' and is 'MIT'"),
        ({"licenses": {"COPYING": "b" * 64}}, "COPYING has another text"),
        ({"licenses": {"COPYING": "a" * 64, "NOTICE": "c" * 64}}, "NOTICE is gone"),
        ({"licenses": {"LICENSE": "a" * 64, "COPYING": "a" * 64}}, "LICENSE is gone"),
    ],
)
def test_another_licence(ground: Ground, before: dict[str, object], detail: str) -> None:
    earlier = replace(NOW, version="1.0", **before)  # type: ignore[arg-type]
    assert detail in only(ground.lint(before=earlier), "license-changed")


def test_licences_that_nobody_looked_at_are_no_change(ground: Ground) -> None:
    assert ground.lint(before=replace(NOW, version="1.0", licenses={})) == []


@pytest.mark.parametrize(("size", "told"), [(953, False), (952, True), (10, True), (2000, False)])
def test_a_release_that_grew(ground: Ground, size: int, told: bool) -> None:
    found = ground.lint(before=replace(NOW, version="1.0", unpacked=size))
    assert [each.rule for each in found] == ["size-grown"] * told
    assert all("since 1.0" in each.detail for each in found)


@pytest.mark.parametrize(
    "entry",
    [
        file("srv/key.pem", KEY),
        file("srv/a.json", KEY.replace(b"\n", b"\\n")),
        file("srv/old.pem", KEY.replace(b"OPENSSH", b"RSA").replace(b"--\n", b"--\nA: b\n\n")),
        file("root/.ssh/id_ed25519", b"anything"),
        file("srv/.env", b"PASSWORD=x"),
        file("srv/.env.production", b"PASSWORD=x"),
        file("root/.netrc", b"machine x"),
        file("etc/conf", b"key: AKIAIOSFODNN7ABCDEFG\n"),
        file("etc/conf", b"token = ghp_" + b"a1B2" * 9),
        file("root/.npmrc", b"//registry/:_authToken=" + b"a" * 36),
    ],
    ids=lambda entry: entry.image_path,
)
def test_a_file_that_looks_like_a_secret(ground: Ground, entry: Entry) -> None:
    ground.add(entry)
    detail = only(ground.lint(), "secret", entry.image_path)
    assert "AKIA" not in detail and "ghp_" not in detail and "AAAA" not in detail


@pytest.mark.parametrize(
    "entry",
    [
        file("srv/.env.example", b"PASSWORD="),
        file("srv/.env", b""),
        file("srv/key.pub", b"ssh-ed25519 AAAA"),
        file("srv/how.txt", b"begins with -----BEGIN RSA PRIVATE KEY-----\nand then the key"),
        file("srv/aws.txt", b"AKIAIOSFODNN7EXAMPLE"),
        file("srv/cert.pem", b"-----BEGIN CERTIFICATE-----\n" + b"A" * 64),
    ],
    ids=lambda entry: entry.image_path,
)
def test_a_file_that_is_no_secret(ground: Ground, entry: Entry) -> None:
    ground.add(entry)
    assert ground.lint() == []


def test_a_password_among_the_users(ground: Ground) -> None:
    ground.add(file("etc/shadow", b"root:*:1::::::\nweb:$6$salt$hash1234:1::::::\n", 0o600))
    assert "'web'" in only(ground.lint(), "secret", "etc/shadow")


def test_a_home_as_long_as_a_password_is_none(ground: Ground) -> None:
    ground.add(file("etc/passwd", PASSWD + b"www:x:82:82:Web Server:/var/www/html:/bin/false\n"))
    ground.add(file("etc/shadow", b"root:ab/cdefghij.K:1::::::\n", 0o600))
    assert "'root'" in only(ground.lint(), "secret", "etc/shadow")


def test_what_the_base_has_is_the_bases(ground: Ground) -> None:
    ground.add(file("bin/ping", b"ping", 0o4755), link("gone", "nowhere"), folder("srv", 0o777))
    base = ground.tree()
    assert len(ground.lint()) == 3
    assert ground.lint(base=base) == []
    ground.add(file("bin/ping", b"another", 0o4755))
    only(ground.lint(base=base), "setuid", "bin/ping")


def test_bytes_of_a_layer_are_read_once(ground: Ground) -> None:
    ground.add(file("srv/.key", KEY))
    first = ground.lint(programs="p")
    read = ground.read
    assert ground.lint(programs="p") == first
    assert ground.read == read > 0


def test_hostile_bytes_are_no_error(ground: Ground) -> None:
    for number, data in enumerate(
        (b"\x7fELF", b"\x7fELF\2\1\1" + b"\xff" * 300, b"#!" + b"\0" * 9)
    ):
        ground.add(file(f"bin/x{number}", data, 0o755))
    ground.add(link("loop", "loop"), link("deep", "../" * 3000), link("nul", "a\x01b"))
    ground.add(Entry("etc/passwd", "symlink", 0o777, 1, target="passwd"))
    rules = {
        each.rule for each in ground.lint(config={"User": "x\x1b[2J", "Env": 7, "Volumes": []})
    }
    assert rules <= {"dangling-link", "missing-interpreter", "unknown-user"}


def test_what_lies_across_two_pieces_is_found() -> None:
    for at in range((8 << 20) - 30, (8 << 20) + 5, 7):
        data = bytes(at) + b" /build/src/x.c " + bytes(50)
        assert read_facts(data).build_paths == ("/build/src/x.c",)


def test_facts_survive_the_records() -> None:
    facts = read_facts(KEY + b" /build/out/x builder-77", HOST)
    assert facts.secrets and facts.build_paths and facts.host_names
    assert parse_facts(facts.as_json()) == facts


def test_silences_by_rule_and_path() -> None:
    found = [Finding("setuid", "bin/a", "x", "error"), Finding("setuid", "srv/b", "x", "error")]
    told = silence(found, [Silence("setuid", "it pings", ("/bin/*",))])
    assert [each.silenced for each in told] == ["it pings", ""]
    assert parse_finding(told[0].as_json()) == told[0]


def test_a_silence_that_silences_nothing_is_told() -> None:
    entries = [Silence("setuid", "was so"), Silence("size-grown", "for this release")]
    (finding,) = silence([], entries)
    assert finding.rule == UNUSED and "lint.ignore[0]" in finding.detail


def test_strict_makes_errors() -> None:
    assert make_strict([Finding("unstripped", "x", "y")])[0].severity == "error"


def test_the_table_has_every_name_once_and_explains_it() -> None:
    names = [rule.name for rule in RULES]
    assert sorted(names) == names
    assert set(names) == {*RULE_NAMES, UNUSED}
    assert all(len(rule.explanation) > 60 and rule.explanation.endswith(".") for rule in RULES)


def test_the_page_has_exactly_the_rules() -> None:
    rows = re.findall(r"^\| `[a-z-]+` \|.*\|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [f"| `{r.name}` | {r.severity} | {r.explanation} |" for r in RULES]
