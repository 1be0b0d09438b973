"""Which ELF files of a payload are stripped, and how. The stripping itself is the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from minid.formats.closure_values import Closure
from minid.formats.elf import ElfDamaged, parse_elf
from minid.formats.elf_parts import has_symbol_table
from minid.formats.elf_search import ElfCache
from minid.model import Content, Entry, StripRequest

Read = Callable[[Content], bytes]
Strip = Callable[[StripRequest], Mapping[str, bytes]]

_STRIP_BATCH = 256 << 20  # bytes held in memory for one call


class Stripping:
    """The ELF files of a payload that still have their symbol tables."""

    def __init__(
        self, entries: dict[str, Entry], closure: Closure, cache: ElfCache, read: Read
    ) -> None:
        self._entries = entries
        self._cache = cache
        self._read = read
        self._sources = {item.image_path: item.source for item in closure.items if item.source}
        # A debugger and valgrind need the loader's own symbols; it is never stripped.
        self._loaders = {*closure.placed, *closure.placed.values()}

    def run(self, strip: Strip, warnings: list[str]) -> int:
        """Replace the entries that became smaller; the bytes that saved."""
        saved = 0
        for request in self._requests():
            for path, data in strip(request).items():
                before = request.files[path]
                if len(data) >= len(before):
                    continue
                if not self._is_same_object(path, data):
                    warnings.append(f"/{path}: is kept as it was, as stripping damaged it")
                    continue
                saved += len(before) - len(data)
                self._entries[path] = replace(self._entries[path], content=Content.inline(data))
        return saved

    def _requests(self) -> Iterator[StripRequest]:
        options: tuple[Literal["--strip-all", "--strip-unneeded"], ...] = (
            "--strip-all",
            "--strip-unneeded",
        )
        for option in options:
            files: dict[str, bytes] = {}
            size = 0
            for path, data in self._candidates(option):
                files[path] = data
                size += len(data)
                if size > _STRIP_BATCH:
                    yield StripRequest(option, files)
                    files, size = {}, 0
            if files:
                yield StripRequest(option, files)

    def _candidates(self, option: str) -> Iterator[tuple[str, bytes]]:
        for path, entry in sorted(self._entries.items()):
            if entry.kind != "file" or entry.content is None or path in self._loaders:
                continue
            source = self._sources.get(path, path)
            elf = self._cache.elf(source) if source not in self._loaders else None
            if elf is None or not elf.is_loadable:
                continue
            # libc.so.6 has a loader's name in it and can be started; it is a library all the same.
            is_program = elf.is_program and elf.soname is None
            if (option == "--strip-all") != (is_program or not elf.dynamic):
                continue
            inline = entry.content.data
            data = bytes(self._read(entry.content) if inline is None else inline)
            if has_symbol_table(elf, data):
                yield path, data

    def _is_same_object(self, path: str, data: bytes) -> bool:
        before = self._cache.elf(self._sources.get(path, path))
        try:
            after = parse_elf(data)
        except ElfDamaged:
            return False
        return (
            before is not None
            and after is not None
            and (before.needed, before.soname, before.interpreter)
            == (after.needed, after.soname, after.interpreter)
        )
