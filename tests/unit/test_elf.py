"""The ELF parser: compiled and hand-made files, and bytes that are wrong on purpose."""

from __future__ import annotations

import json
import os
import random
import struct
import sys
from pathlib import Path

import pytest

from minid.formats.elf import ElfDamaged, parse_elf
from minid.formats.elf_parts import (
    DlopenNote,
    dlopen_notes,
    has_symbol_table,
    imported_symbols,
    read_sections,
    so_strings,
)
from minid.host.view import DirectoryView
from tests.support.elf_files import Root

PYTHON = Path(os.path.realpath("/proc/self/exe"))


def make_elf(bits: int, order: str, *, machine: int = 62, kind: int = 3, needed: int = 1) -> bytes:
    """A library `me` with a NEEDED `you` and a RUNPATH, of any class and byte order."""
    wide = bits == 64
    strings = b"\0you\0me\0/where\0"
    names = {b"you": 1, b"me": 5, b"/where": 8}
    header_size, phdr_size = (64, 56) if wide else (52, 32)
    base = header_size + 2 * phdr_size
    row = order + ("QQ" if wide else "II")
    tags = [(5, base), (10, len(strings)), *[(1, names[b"you"])] * needed]
    tags += [(14, names[b"me"]), (29, names[b"/where"]), (0, 0)]
    dynamic = b"".join(struct.pack(row, *tag) for tag in tags)
    size = base + len(strings) + len(dynamic)
    ident = bytes([0x7F, *b"ELF", 2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    header = ident + struct.pack(
        order + "HHI" + word * 3 + "IHHHHHH",
        *(kind, machine, 1, 0, header_size, 0, 0, header_size, phdr_size, 2, 0, 0, 0),
    )
    rows = [(1, 4, 0, size), (2, 6, base + len(strings), len(dynamic))]
    segments = b"".join(
        struct.pack(order + "IIQQQQQQ", kind, flags, at, at, at, length, length, 8)
        if wide
        else struct.pack(order + "IIIIIIII", kind, at, at, at, length, length, flags, 4)
        for kind, flags, at, length in rows
    )
    return header + segments + strings + dynamic


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_reads_both_classes_and_byte_orders(bits: int, order: str) -> None:
    elf = parse_elf(make_elf(bits, order, machine=22))
    assert elf is not None
    assert (elf.elf_class, elf.byte_order, elf.machine, elf.kind) == (bits, order, 22, "dyn")
    assert (elf.needed, elf.soname, elf.runpath, elf.rpath) == (("you",), "me", "/where", None)
    assert not elf.is_program


def test_other_files_are_no_elf() -> None:
    assert [parse_elf(data) for data in (b"", b"\x7fEL", b"#!/bin/sh\n", bytes(5000))] == [None] * 4


def test_object_files_and_core_dumps_are_not_loadable() -> None:
    for kind, name in ((1, "rel"), (4, "core"), (77, "other")):
        elf = parse_elf(make_elf(64, "<", kind=kind))
        assert elf is not None
        assert (elf.kind, elf.is_loadable, elf.needed) == (name, False, ())


def test_every_truncation_is_damage_or_none() -> None:
    whole = make_elf(64, "<")
    verdicts = set()
    for size in range(len(whole)):
        try:
            verdicts.add(parse_elf(whole[:size]) is None)
        except ElfDamaged:
            verdicts.add("damaged")
    assert verdicts == {True, "damaged"}


def test_says_what_is_damaged() -> None:
    data = bytearray(make_elf(64, "<"))
    where = data.index(struct.pack("<QQ", 1, 1)) + 8
    struct.pack_into("<Q", data, where, 1 << 40)
    with pytest.raises(ElfDamaged, match=r"needed: expected an offset below 15, got 1099511627776"):
        parse_elf(bytes(data))


def test_caps_hold_for_absurd_counts() -> None:
    with pytest.raises(ElfDamaged, match="at most 16384, got 20000"):
        parse_elf(make_elf(64, "<", needed=20_000))
    data = bytearray(make_elf(64, "<"))
    struct.pack_into("<H", data, 56, 60_000)
    with pytest.raises(ElfDamaged, match="program headers"):
        parse_elf(bytes(data))


def test_two_thousand_mutants_raise_nothing_else() -> None:
    original = (
        PYTHON.read_bytes()[: 1 << 20] if PYTHON.stat().st_size > 1 << 21 else (PYTHON.read_bytes())
    )
    small = make_elf(64, "<")
    rng = random.Random(3)
    damaged = 0
    for number in range(2000):
        data = bytearray(small if number % 4 else original)
        span = min(len(data), 4096)
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(span)] = rng.choice((0, 1, 0x80, 0xFF, rng.randrange(256)))
        try:
            elf = parse_elf(bytes(data))
        except ElfDamaged:
            damaged += 1
            continue
        if elf is not None:
            imported_symbols(elf, bytes(data))
            dlopen_notes(elf, bytes(data))
            so_strings(elf, bytes(data))
            read_sections(elf, bytes(data))
    assert damaged > 200


def test_sparse_two_gigabytes_cost_nothing(tmp_path: Path) -> None:
    import resource

    with (tmp_path / "huge").open("wb") as file:
        file.write(make_elf(64, "<"))
        file.truncate(2 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with DirectoryView(tmp_path).open("huge") as source:
        elf = parse_elf(source)
        assert elf is not None
        assert so_strings(elf, source) == ()
    assert len(source) == 2 << 30
    assert elf.needed == ("you",)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_reads_a_compiled_program(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.library("lib/libb.so.1", source="int getpwnam(void){return 1;}")
    root.program(
        "bin/a",
        *root.needs("lib/libb.so.1"),
        "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib:/opt",
        source="extern int getpwnam(); void _start(void){getpwnam();}",
    )
    data = (tmp_path / "bin/a").read_bytes()
    elf = parse_elf(data)
    assert elf is not None
    assert elf.interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert (elf.needed, elf.rpath, elf.runpath) == (
        ("libb.so.1",),
        "$ORIGIN/../lib:/opt",
        None,
    )
    assert elf.is_program
    assert elf.is_pie
    assert imported_symbols(elf, data) == {"getpwnam"}
    assert has_symbol_table(elf, data)


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_imports_do_not_depend_on_the_hash_or_the_sections(tmp_path: Path, style: str) -> None:
    root = Root(tmp_path)
    source = "extern int dlopen(),abort(); int mine(void){return dlopen()+abort();}"
    root.library("lib/liba.so", f"-Wl,--hash-style={style}", source=source)
    data = bytearray((tmp_path / "lib/liba.so").read_bytes())
    struct.pack_into("<Q", data, 40, 0)  # e_shoff: as sstrip leaves it
    struct.pack_into("<H", data, 60, 0)
    elf = parse_elf(bytes(data))
    assert elf is not None
    assert imported_symbols(elf, bytes(data)) == {"dlopen", "abort"}


def test_reads_symbol_versions(tmp_path: Path) -> None:
    root = Root(tmp_path)
    script = root.write("v.map", "V_1.0 { global: f; };\nV_2.0 { global: g; } V_1.0;\n")
    root.library(
        "lib/libv.so.1",
        f"-Wl,--version-script={script}",
        source="int f(void){return 1;} int g(void){return 2;}",
    )
    root.program(
        "bin/a",
        *root.needs("lib/libv.so.1"),
        source="extern int f(),g(); void _start(void){f();g();}",
    )
    library = parse_elf((tmp_path / "lib/libv.so.1").read_bytes())
    program = parse_elf((tmp_path / "bin/a").read_bytes())
    assert library is not None
    assert program is not None
    assert library.defines_versions == ("V_1.0", "V_2.0")
    assert set(program.needs_versions) == {("libv.so.1", "V_1.0"), ("libv.so.1", "V_2.0")}


def _note_source(rows: object) -> str:
    text = json.dumps(rows).replace('"', '\\"')
    return f"""
    struct note {{ int n, d, t; char name[4]; char desc[{len(json.dumps(rows)) + 1}]; }};
    __attribute__((used, aligned(4), section(".note.dlopen"))) static const struct note note =
      {{ 4, sizeof note.desc, 0x407c0c0a, "FDO", "{text}" }};
    void _start(void){{}}"""


def test_reads_dlopen_notes(tmp_path: Path) -> None:
    root = Root(tmp_path)
    rows = [
        {"soname": ["liblzma.so.5", "liblzma.so.6"], "feature": "xz", "priority": "required"},
        {"soname": ["libx.so"], "priority": "nonsense"},
        {"soname": "not a list"},
        7,
    ]
    root.program("bin/a", source=_note_source(rows))
    data = (tmp_path / "bin/a").read_bytes()
    elf = parse_elf(data)
    assert elf is not None
    assert dlopen_notes(elf, data) == (
        DlopenNote(("liblzma.so.5", "liblzma.so.6"), "required", "xz"),
        DlopenNote(("libx.so",), "recommended"),
    )


def test_finds_library_names_among_the_strings(tmp_path: Path) -> None:
    root = Root(tmp_path)
    names = (
        'const char *x[] = {"libfoo.so.1.2", "libbar.so", "dir/libno.so", "xlib.so", "lib%s.so"};'
    )
    root.program("bin/a", source=f"{names} void _start(void){{}}")
    data = (tmp_path / "bin/a").read_bytes()
    elf = parse_elf(data)
    assert elf is not None
    assert so_strings(elf, data) == ("libbar.so", "libfoo.so.1.2")


def test_reads_this_interpreter() -> None:
    if sys.platform != "linux":
        pytest.skip("an ELF interpreter is needed")
    elf = parse_elf(PYTHON.read_bytes())
    assert elf is not None
    assert elf.is_program
    assert any(name.startswith("libc.") for name in elf.needed)
