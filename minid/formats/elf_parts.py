"""The parts of an ELF file that are rarely wanted: symbols, notes, strings, section types.

Each function takes the `Elf` and the same bytes it was read from. Damage here is no reason to
refuse a file that the loader takes, so what cannot be read is left out, except where said.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from minid.formats.elf import (
    DT_GNU_HASH,
    DT_HASH,
    DT_STRTAB,
    DT_SYMTAB,
    PF_W,
    PT_LOAD,
    PT_NOTE,
    Elf,
    read_string_table,
)
from minid.formats.elf_reading import ElfDamaged, Source, read_at

Priority = Literal["required", "recommended", "suggested"]

_SHT_SYMTAB, _SHT_NOTE, _SHT_DYNSYM = 2, 7, 11
_MAX_SECTIONS = 65536
_MAX_SYMBOLS = 1 << 20
_MAX_NOTES = 1 << 20  # bytes of one note segment
_MAX_SCAN = 64 << 20  # bytes searched for library names
_MAX_NAMES = 1000
_NOTE_DLOPEN = 0x407C0C0A
_SO_NAME = re.compile(rb"lib[A-Za-z0-9_.+-]{1,100}")
_SO_ENDING = re.compile(rb"\.so(?:\.[0-9]{1,9}){0,4}\0")


@dataclass(frozen=True, slots=True)
class DlopenNote:
    """One dependency of a `.note.dlopen`: the first of `sonames` that is there is taken.

    Format: UAPI group, "ELF dlopen metadata". A note without a priority is `recommended`.
    """

    sonames: tuple[str, ...]
    priority: Priority
    feature: str = ""


def imported_symbols(elf: Elf, source: Source) -> frozenset[str]:
    """The names of undefined dynamic symbols; empty where there are none or they are damaged."""
    try:
        return _read_imports(elf, source)
    except ElfDamaged:
        return frozenset()


def _read_imports(elf: Elf, source: Source) -> frozenset[str]:
    address = elf.tag(DT_SYMTAB)
    offset = None if address is None else elf.offset_of(address)
    if offset is None:
        return frozenset()
    wide = elf.elf_class == 64
    size = 24 if wide else 16
    count = min(_count_symbols(elf, source, size), _MAX_SYMBOLS, (len(source) - offset) // size)
    table = read_at(source, offset, max(count, 0) * size, "dynamic symbols")
    layout = elf.byte_order + ("I2xH16x" if wide else "I10xH")
    strings, end = read_string_table(elf, source), b"\0"
    names = {name for name, section in struct.iter_unpack(layout, table) if section == 0}
    found = {
        strings[name : strings.find(end, name)].decode("utf-8", "surrogateescape")
        for name in names
        if 0 < name < len(strings)
    }
    return frozenset(found - {""})


def _count_symbols(elf: Elf, source: Source, size: int) -> int:
    """How many dynamic symbols there are: nothing says so directly but the old hash table."""
    for section in read_sections(elf, source):
        if section.kind == _SHT_DYNSYM and section.address == elf.tag(DT_SYMTAB):
            return section.size // size
    hash_address = elf.tag(DT_HASH)
    hash_offset = None if hash_address is None else elf.offset_of(hash_address)
    if hash_offset is not None:
        words = read_at(source, hash_offset, 8, "hash table")
        return int(struct.unpack(elf.byte_order + "II", words)[1])
    counted = _count_gnu_hash(elf, source)
    # Linkers put the string table behind the symbols; without a hashed symbol this is what is left.
    strings, symbols = elf.tag(DT_STRTAB) or 0, elf.tag(DT_SYMTAB) or 0
    return counted or max(0, strings - symbols) // size


def _count_gnu_hash(elf: Elf, source: Source) -> int:
    address = elf.tag(DT_GNU_HASH)
    offset = None if address is None else elf.offset_of(address)
    if offset is None:
        return 0
    order = elf.byte_order
    header = struct.unpack(order + "4I", read_at(source, offset, 16, "hash table"))
    buckets, first, bloom = header[0], header[1], header[2]
    if buckets > _MAX_SYMBOLS or bloom > _MAX_SYMBOLS:
        raise ElfDamaged("hash table: expected a sane number of buckets, got more")
    start = offset + 16 + bloom * (elf.elf_class // 8)
    data = read_at(source, start, buckets * 4, "hash table")
    last = max(struct.unpack(f"{order}{buckets}I", data), default=0)
    if last < first:
        return 0
    chains = start + buckets * 4
    for _ in range(_MAX_SYMBOLS):
        word = read_at(source, chains + (last - first) * 4, 4, "hash table")
        last += 1
        if struct.unpack(order + "I", word)[0] & 1:
            return last
    return 0


@dataclass(frozen=True, slots=True)
class Section:
    """One section header."""

    kind: int
    address: int
    offset: int
    size: int


def read_sections(elf: Elf, source: Source) -> tuple[Section, ...]:
    """The section headers, or none where they are missing or wrong: a loader needs none."""
    wide = elf.elf_class == 64
    expected = 64 if wide else 40
    size = expected * elf.section_count
    if elf.section_size != expected or not 0 < elf.section_offset <= len(source) - size:
        return ()
    data = bytes(source[elf.section_offset : elf.section_offset + size])
    layout = elf.byte_order + ("4xI8xQQQ24x" if wide else "4xI4xIII16x")
    return tuple(Section(*row) for row in struct.iter_unpack(layout, data))


def has_symbol_table(elf: Elf, source: Source) -> bool:
    """Whether the file was not stripped: it still has its full symbol table."""
    return any(section.kind == _SHT_SYMTAB for section in read_sections(elf, source))


def dlopen_notes(elf: Elf, source: Source) -> tuple[DlopenNote, ...]:
    """What the file says about its own dlopen calls, in the order of the file, each once."""
    spans = [(part.offset, part.file_size) for part in elf.segments if part.kind == PT_NOTE]
    if not spans:
        sections = read_sections(elf, source)
        spans = [(part.offset, part.size) for part in sections if part.kind == _SHT_NOTE]
    notes: dict[DlopenNote, None] = {}
    for offset, size in spans:
        data = bytes(source[offset : offset + min(size, _MAX_NOTES)])
        for text in _note_texts(data, elf.byte_order):
            notes.update(dict.fromkeys(_parse_note(text)))
    return tuple(notes)


def _note_texts(data: bytes, order: str) -> Iterator[bytes]:
    at = 0
    while at + 12 <= len(data):
        name_size, text_size, kind = struct.unpack_from(order + "III", data, at)
        name_at = at + 12
        text_at = name_at + (name_size + 3 & ~3)
        if kind == _NOTE_DLOPEN and data[name_at : name_at + name_size] == b"FDO\0":
            yield data[text_at : text_at + text_size]
        at = text_at + (text_size + 3 & ~3)


def _parse_note(text: bytes) -> Iterator[DlopenNote]:
    try:
        rows = json.loads(text.rstrip(b"\0"))
    except (ValueError, RecursionError):
        return
    for row in rows if isinstance(rows, list) else ():
        names = row.get("soname") if isinstance(row, dict) else None
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            continue
        priority = row.get("priority")
        yield DlopenNote(
            tuple(names),
            priority if priority in ("required", "suggested") else "recommended",
            str(row.get("feature", "")),
        )


def so_strings(elf: Elf, source: Source) -> tuple[str, ...]:
    """Strings like `libfoo.so.1` in the file's read-only parts, sorted: what it may dlopen."""
    found: set[bytes] = set()
    for segment in elf.segments:
        if segment.kind != PT_LOAD or segment.flags & PF_W:
            continue
        end = segment.offset + min(segment.file_size, _MAX_SCAN)
        found.update(_find_names(bytes(source[segment.offset : end])))
        if len(found) > _MAX_NAMES:
            break
    return tuple(name.decode("ascii") for name in sorted(found)[:_MAX_NAMES])


def _find_names(data: bytes) -> Iterator[bytes]:
    for match in _SO_ENDING.finditer(data):
        earliest = max(0, match.start() - 128)
        before = data.rfind(b"\0", earliest, match.start())
        if before < 0 < earliest:
            continue  # the end of something long
        start = before + 1
        if _SO_NAME.fullmatch(name := data[start : match.end() - 1]):
            yield name
