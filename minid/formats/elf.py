"""ELF files read statically: what the loader would read, and nothing is ever run.

Pure and bounds-checked: hostile bytes give `ElfDamaged`, never another exception. The layout is
that of the System V ABI (gABI chapters 4 and 5) and of glibc's `elf.h`. What is rarely wanted
(symbols, notes, strings) is in `minid.formats.elf_parts`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Literal

from minid.formats.elf_reading import (
    ElfDamaged,
    Source,
    VersionTable,
    read_at,
    read_string,
)

ElfKind = Literal["rel", "exec", "dyn", "core", "other"]

_KINDS: dict[int, ElfKind] = {1: "rel", 2: "exec", 3: "dyn", 4: "core"}
_HEAD = 4096
_MAX_SEGMENTS = 4096
_MAX_DYNAMIC = 1 << 20  # bytes of the dynamic section
_MAX_STRTAB = 64 << 20
_MAX_NEEDED = 16384

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
PF_X, PF_W = 1, 2
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ = 1, 4, 5, 6, 10
_DT_SONAME, _DT_RPATH, _DT_RUNPATH = 14, 15, 29
DT_GNU_HASH = 0x6FFFFEF5
_DT_FLAGS_1, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFD
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_DF_1_NODEFLIB, _DF_1_PIE = 0x800, 0x08000000
_WITH_STRINGS = {DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH, _DT_VERNEED, _DT_VERDEF}

__all__ = ["Elf", "ElfDamaged", "ElfKind", "Segment", "Source", "parse_elf", "read_string_table"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header."""

    kind: int
    flags: int
    offset: int
    address: int
    file_size: int


@dataclass(frozen=True, slots=True)
class Elf:
    """What the loader reads of one file. Strings are decoded with surrogateescape.

    `needs_versions` are (library, version) pairs without the weak ones; `defines_versions` leaves
    the base definition (the library's own name) out. `section_offset`, `section_count` and
    `section_size` locate the section headers, which a loader does not need and which may be wrong.
    """

    elf_class: int
    byte_order: Literal["<", ">"]
    machine: int
    kind: ElfKind
    segments: tuple[Segment, ...] = ()
    interpreter: str | None = None
    needed: tuple[str, ...] = ()
    soname: str | None = None
    rpath: str | None = None
    runpath: str | None = None
    needs_versions: tuple[tuple[str, str], ...] = ()
    defines_versions: tuple[str, ...] = ()
    no_default_dirs: bool = False
    is_pie: bool = False
    dynamic: tuple[tuple[int, int], ...] = ()
    section_offset: int = 0
    section_count: int = 0
    section_size: int = 0

    @property
    def is_program(self) -> bool:
        """Whether this starts as a process: linked at a fixed place, PIE, or with a loader."""
        return self.kind == "exec" or self.is_pie or self.interpreter is not None

    @property
    def is_loadable(self) -> bool:
        """Whether a kernel or a loader takes it: not an object file and not a core dump."""
        return self.kind in ("exec", "dyn")

    def tag(self, tag: int) -> int | None:
        """The value of a dynamic tag, the last one where it occurs twice, or None."""
        return next((value for name, value in reversed(self.dynamic) if name == tag), None)

    def offset_of(self, address: int) -> int | None:
        """The file offset of a virtual address, or None where no segment of the file holds it."""
        for segment in self.segments:
            if segment.kind == PT_LOAD and 0 <= address - segment.address < segment.file_size:
                return segment.offset + address - segment.address
        return None


def parse_elf(source: Source) -> Elf | None:
    """Read an ELF file, of either class and byte order; None for a file that is no ELF.

    Reads only headers, the dynamic section and its string table, so a huge sparse file costs
    nothing. Raises ElfDamaged, and nothing else, for a file that a loader would refuse.
    """
    head = bytes(source[0:_HEAD])
    if head[:4] != b"\x7fELF":
        return None
    if len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise ElfDamaged("header: expected class 1 or 2, data 1 or 2 and 52 bytes or more")
    wide = head[4] == 2
    order: Literal["<", ">"] = "<" if head[5] == 1 else ">"
    layout = order + ("16x HHIQQQIHHHHHH" if wide else "16x HHIIIIIHHHHHH").replace(" ", "")
    if len(head) < struct.calcsize(layout):
        raise ElfDamaged("header: expected 64 bytes, got a shorter file")
    (
        kind,
        machine,
        _version,
        _entry,
        phoff,
        shoff,
        _flags,
        _ehsize,
        phentsize,
        phnum,
        shentsize,
        shnum,
        _shstrndx,
    ) = struct.unpack_from(layout, head)
    elf = Elf(
        elf_class=64 if wide else 32,
        byte_order=order,
        machine=machine,
        kind=_KINDS.get(kind, "other"),
        section_offset=shoff,
        section_count=shnum,
        section_size=shentsize,
    )
    if not elf.is_loadable or phnum == 0:
        return elf
    segments = _read_segments(elf, source, head, (phoff, phentsize, phnum))
    return _read_dynamic(elf, segments, source, head)


def _read_segments(
    elf: Elf, source: Source, head: bytes, table: tuple[int, int, int]
) -> tuple[Segment, ...]:
    offset, entry_size, count = table
    wide = elf.elf_class == 64
    expected = 56 if wide else 32
    if entry_size != expected or count > _MAX_SEGMENTS:
        raise ElfDamaged(
            f"program headers: expected at most {_MAX_SEGMENTS} of {expected} bytes, "
            f"got {count} of {entry_size}"
        )
    size = expected * count
    if offset + size <= len(head):
        data = head[offset : offset + size]
    else:
        data = read_at(source, offset, size, "program headers")
    rows = struct.iter_unpack(elf.byte_order + ("IIQQQQQQ" if wide else "IIIIIIII"), data)
    if wide:
        return tuple(Segment(r[0], r[1], r[2], r[3], r[5]) for r in rows)
    return tuple(Segment(r[0], r[6], r[1], r[2], r[4]) for r in rows)


def _piece(source: Source, head: bytes, segment: Segment, what: str, limit: int) -> bytes:
    size = segment.file_size
    if size > limit:
        raise ElfDamaged(f"{what}: expected at most {limit} bytes, got {size}")
    if segment.offset + size <= len(head):
        return head[segment.offset : segment.offset + size]
    return read_at(source, segment.offset, size, what)


def _read_dynamic(elf: Elf, segments: tuple[Segment, ...], source: Source, head: bytes) -> Elf:
    interpreter, dynamic = None, b""
    for segment in segments:
        if segment.kind == PT_INTERP and interpreter is None:
            raw = _piece(source, head, segment, "interpreter", _HEAD)
            interpreter = read_string(raw, 0, "interpreter")
        elif segment.kind == PT_DYNAMIC and not dynamic:
            dynamic = _piece(source, head, segment, "dynamic section", _MAX_DYNAMIC)
    tags = _parse_tags(elf, dynamic)
    elf = replace(elf, segments=segments, interpreter=interpreter, dynamic=tags)
    if _WITH_STRINGS.isdisjoint(tag for tag, _ in tags):
        return replace(elf, is_pie=bool((elf.tag(_DT_FLAGS_1) or 0) & _DF_1_PIE))
    return _read_strings(elf, source)


def _parse_tags(elf: Elf, dynamic: bytes) -> tuple[tuple[int, int], ...]:
    layout = elf.byte_order + ("QQ" if elf.elf_class == 64 else "II")
    usable = len(dynamic) - len(dynamic) % struct.calcsize(layout)
    tags: list[tuple[int, int]] = []
    for tag, value in struct.iter_unpack(layout, dynamic[:usable]):
        if tag == 0:
            break
        tags.append((tag, value))
    return tuple(tags)


def read_string_table(elf: Elf, source: Source) -> bytes:
    """The dynamic string table; ElfDamaged where the file does not hold all of it."""
    address, size = elf.tag(DT_STRTAB), elf.tag(DT_STRSZ)
    if address is None or size is None or size > _MAX_STRTAB:
        raise ElfDamaged(f"string table: expected an address and a size, got {address}, {size}")
    offset = elf.offset_of(address)
    if offset is None:
        raise ElfDamaged(f"string table: expected an address in the file, got {address:#x}")
    return read_at(source, offset, size, "string table")


def _read_strings(elf: Elf, source: Source) -> Elf:
    table, values = read_string_table(elf, source), dict(elf.dynamic)
    offsets = [value for tag, value in elf.dynamic if tag == DT_NEEDED]
    if len(offsets) > _MAX_NEEDED:
        raise ElfDamaged(f"needed: expected at most {_MAX_NEEDED}, got {len(offsets)}")

    def text(tag: int, what: str) -> str | None:
        return read_string(table, values[tag], what) if tag in values else None

    def versions(tag: int, count_tag: int) -> VersionTable:
        address = values.get(tag)
        offset = None if address is None else elf.offset_of(address)
        if address is not None and offset is None:
            raise ElfDamaged(f"versions: expected an address in the file, got {address:#x}")
        return VersionTable(source, table, elf.byte_order, offset, values.get(count_tag, 0))

    flags = values.get(_DT_FLAGS_1, 0)
    return replace(
        elf,
        needed=tuple(read_string(table, offset, "needed") for offset in offsets),
        soname=text(_DT_SONAME, "soname"),
        rpath=text(_DT_RPATH, "rpath"),
        runpath=text(_DT_RUNPATH, "runpath"),
        needs_versions=versions(_DT_VERNEED, _DT_VERNEEDNUM).read_needed(),
        defines_versions=versions(_DT_VERDEF, _DT_VERDEFNUM).read_defined(),
        no_default_dirs=bool(flags & _DF_1_NODEFLIB),
        is_pie=bool(flags & _DF_1_PIE),
    )
