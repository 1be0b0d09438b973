"""What a closure cannot decide by itself and tells the recipe's author instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from minid.formats.dlopen_rules import is_glibc_part
from minid.formats.elf import Elf
from minid.formats.elf_search import ElfCache
from minid.formats.file_view import join
from minid.model import Reason

_LISTED = "name them in contents.dlopen if it does"
_MODULES_OF = {"libcrypto.so.3": ("ossl-modules",)}
_MAX_SHOWN = 8


def module_warnings(
    cache: ElfCache, objects: Mapping[str, Elf], reasons: Mapping[str, Reason]
) -> Iterator[str]:
    """What the objects of a finished closure may load that is not in it."""
    shipped = {path.rpartition("/")[2] for path in reasons}
    shipped |= {elf.soname for elf in objects.values() if elf.soname}
    for path, elf in sorted(objects.items()):
        yield from _provider_warnings(cache, path, elf, reasons)
        if is_glibc_part(elf.soname):
            continue
        yield from _string_warnings(cache, path, elf, shipped)
        yield from _note_warnings(cache, path, shipped)
    yield from _iconv_warnings(cache, objects, reasons)
    yield from _mix_warnings(objects)


def _string_warnings(cache: ElfCache, path: str, elf: Elf, shipped: set[str]) -> Iterator[str]:
    if "dlopen" not in cache.imports(path):
        return
    unknown = [name for name in cache.strings(path) if name not in shipped | {*elf.needed}]
    if unknown:
        shown = ", ".join(unknown[:_MAX_SHOWN])
        more = f" and {len(unknown) - _MAX_SHOWN} more" if len(unknown) > _MAX_SHOWN else ""
        yield f"/{path}: may load {shown}{more} (strings beside dlopen); {_LISTED}"


def _note_warnings(cache: ElfCache, path: str, shipped: set[str]) -> Iterator[str]:
    for note in cache.notes(path):
        if note.priority == "suggested" and shipped.isdisjoint(note.sonames):
            names = " or ".join(map(repr, note.sonames))
            yield f"/{path}: suggests {names} ({note.feature or 'dlopen note'}); {_LISTED}"


def _mix_warnings(objects: Mapping[str, Elf]) -> Iterator[str]:
    """Parts of glibc that are there twice: they only work with those of their own build."""
    copies: dict[tuple[str, int, int], list[str]] = {}
    for path, elf in sorted(objects.items()):
        if elf.soname and is_glibc_part(elf.soname):
            copies.setdefault((elf.soname, elf.elf_class, elf.machine), []).append(path)
    for (soname, _, _), paths in sorted(copies.items()):
        if len(paths) > 1:
            shown = ", ".join("/" + path for path in paths)
            yield f"{soname}: two copies of a part of glibc ({shown}) fail where they meet"


def _iconv_warnings(
    cache: ElfCache, objects: Mapping[str, Elf], reasons: Mapping[str, Reason]
) -> Iterator[str]:
    if any("/gconv/" in path for path in reasons) or not any(
        elf.soname == "libc.so.6" for elf in objects.values()
    ):
        return
    callers = [
        path
        for path, elf in sorted(objects.items())
        if not is_glibc_part(elf.soname) and "iconv_open" in cache.imports(path)
    ]
    if callers:
        shown = ", ".join("/" + path for path in callers[:_MAX_SHOWN])
        yield (
            f"{shown}: iconv_open without gconv modules knows only UTF-8, UCS and ASCII; "
            "list modules like '/usr/lib/*/gconv/ISO8859-1.so' in contents.dlopen"
        )


def _provider_warnings(
    cache: ElfCache, path: str, elf: Elf, reasons: Mapping[str, Reason]
) -> Iterator[str]:
    """OpenSSL's providers lie beside libcrypto; most programs do without."""
    for folder in _MODULES_OF.get(elf.soname or "", ()):
        beside = join(path.rpartition("/")[0], folder)
        modules = [join(beside, name) for name in sorted(cache.view.names_in(beside))]
        left_out = [module for module in modules if module not in reasons]
        if left_out:
            shown = ", ".join("/" + module for module in left_out[:_MAX_SHOWN])
            yield f"/{path}: may load {shown} (OpenSSL providers); {_LISTED}"
