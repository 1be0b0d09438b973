"""The bounded reads under `minid.formats.elf`: slices, strings and symbol version tables."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

_MAX_STRING = 1 << 20
_MAX_VERSIONS = 65536
_VER_FLG_BASE, _VER_FLG_WEAK = 1, 2


class Source(Protocol):
    """Bytes that can be sliced: bytes, memoryview, mmap, or a file read piece by piece."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> bytes | memoryview: ...


class ElfDamaged(ValueError):  # noqa: N818  (a verdict on a file, not a fault of ours)
    """An ELF file that no loader would take; the message says what is wrong with it."""


def read_at(source: Source, offset: int, size: int, what: str) -> bytes:
    """`size` bytes at `offset`, all of them; ElfDamaged where the file ends before."""
    if offset < 0 or size < 0 or offset + size > len(source):
        raise ElfDamaged(
            f"{what}: expected {size} bytes at {offset}, got a file of {len(source)} bytes"
        )
    return bytes(source[offset : offset + size])


def read_string(table: bytes, offset: int, what: str) -> str:
    """The NUL-terminated string at `offset` of a string table."""
    if not 0 <= offset < len(table):
        raise ElfDamaged(f"{what}: expected an offset below {len(table)}, got {offset}")
    end = table.find(b"\0", offset, offset + _MAX_STRING)
    if end < 0:
        raise ElfDamaged(f"{what}: expected a string that ends, got none at {offset}")
    return table[offset:end].decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class VersionTable:
    """A chain of version records (gABI's sibling: LSB "Symbol Versioning"), at a file offset.

    Records are the same in both classes. `offset` None stands for a file without the table.
    """

    source: Source
    strings: bytes
    byte_order: Literal["<", ">"]
    offset: int | None
    count: int

    def read_needed(self) -> tuple[tuple[str, str], ...]:
        """(library, version) of each needed version that is not weak."""
        found: list[tuple[str, str]] = []
        for at, (_version, count, file, aux, _next) in self._records("HHIII", 4):
            library = read_string(self.strings, file, "version need")
            for _, row in self._chain(at + aux, count, "IHHII", 4):
                _hash, flags, _other, name, _next = row
                if not flags & _VER_FLG_WEAK:
                    found.append((library, read_string(self.strings, name, "version need")))
                if len(found) > _MAX_VERSIONS:
                    raise ElfDamaged(f"version needs: expected at most {_MAX_VERSIONS}, got more")
        return tuple(found)

    def read_defined(self) -> tuple[str, ...]:
        """The name of each defined version but the base, which is the library's own name."""
        found: list[str] = []
        for at, (_version, flags, _index, count, _hash, aux, _next) in self._records("HHHHIII", 6):
            if flags & _VER_FLG_BASE or count == 0:
                continue
            (name, _) = struct.unpack(
                self.byte_order + "II", read_at(self.source, at + aux, 8, "version definition")
            )
            found.append(read_string(self.strings, name, "version definition"))
        return tuple(found)

    def _records(self, layout: str, next_index: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        if self.offset is None:
            return iter(())
        return self._chain(self.offset, self.count, layout, next_index)

    def _chain(
        self, offset: int, count: int, layout: str, next_index: int
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        if count > _MAX_VERSIONS:
            raise ElfDamaged(f"versions: expected at most {_MAX_VERSIONS}, got {count}")
        record = struct.Struct(self.byte_order + layout)
        for _ in range(count):
            row = record.unpack(read_at(self.source, offset, record.size, "versions"))
            yield offset, row
            if row[next_index] == 0:
                return
            offset += row[next_index]
