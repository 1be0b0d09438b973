"""Where a loader looks for a library: glibc's and musl's search order, followed in a view.

Written after `_dl_map_object` of glibc (elf/dl-load.c) and `load_library` of musl
(ldso/dynlink.c). Nothing of the target is run; what was looked up is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from minid.formats.elf import Elf, parse_elf
from minid.formats.elf_parts import DlopenNote, dlopen_notes, imported_symbols, so_strings
from minid.formats.elf_reading import ElfDamaged
from minid.formats.file_view import FileView, Found, Walker
from minid.formats.ldconf import Loader, machine_of, make_loader

How = Literal["path", "rpath", "runpath", "conf", "default"]

_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


@dataclass(frozen=True, slots=True)
class Loaded:
    """An object in a process. `origin` is what `$ORIGIN` stands for, without the slash in front.

    `rpaths` are the folders that it and its ancestors hand down to what they load.
    """

    image_path: str
    origin: str
    elf: Elf
    rpaths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A library that was found: by which part of the search order, in which folder as written."""

    name: str
    found: Found
    how: How
    folder: str

    @property
    def image_path(self) -> str:
        """The file itself."""
        return self.found.image_path


class ElfCache:
    """What was read of one view, so that a library shared by a hundred programs is read once."""

    def __init__(self, view: FileView) -> None:
        self.view = view
        self.walker = Walker(view)
        self.damaged: dict[str, str] = {}
        self._elfs: dict[str, Elf | None] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._notes: dict[str, tuple[DlopenNote, ...]] = {}
        self._strings: dict[str, tuple[str, ...]] = {}
        self._loaders: dict[tuple[str, int, int, bool], Loader] = {}
        self._defaults: dict[tuple[object, ...], Hit | None] = {}

    def elf(self, image_path: str) -> Elf | None:
        """The object at a path that is no symlink; None for no ELF. Damage is noted."""
        if image_path not in self._elfs:
            self._elfs[image_path] = self._read(image_path)
        return self._elfs[image_path]

    def _read(self, image_path: str) -> Elf | None:
        try:
            with self.view.open(image_path) as source:
                elf = parse_elf(source)
                if elf is not None and elf.dynamic:
                    self._imports[image_path] = imported_symbols(elf, source)
                    self._notes[image_path] = dlopen_notes(elf, source)
                return elf
        except ElfDamaged as error:
            self.damaged[image_path] = str(error)
        except OSError as error:
            self.damaged[image_path] = f"cannot be read: {error.strerror or error}"
        return None

    def imports(self, image_path: str) -> frozenset[str]:
        """The undefined symbols of the object at this path."""
        return self._imports.get(image_path, frozenset()) if self.elf(image_path) else frozenset()

    def notes(self, image_path: str) -> tuple[DlopenNote, ...]:
        """The dlopen notes of the object at this path."""
        return self._notes.get(image_path, ()) if self.elf(image_path) else ()

    def strings(self, image_path: str) -> tuple[str, ...]:
        """The library names among the strings of the object at this path."""
        elf = self.elf(image_path)
        if elf is None:
            return ()
        if image_path not in self._strings:
            with self.view.open(image_path) as source:
                self._strings[image_path] = so_strings(elf, source)
        return self._strings[image_path]

    def loader(self, interpreter: str, elf: Elf, *, conf: bool) -> Loader:
        """The loader at this path, for objects of `elf`'s class and machine."""
        key = (interpreter, elf.elf_class, elf.machine, conf)
        if key not in self._loaders:
            self._loaders[key] = make_loader(self.walker, interpreter, elf, conf=conf)
        return self._loaders[key]

    def find(self, name: str, needed_by: Loaded, loader: Loader) -> Hit | None:
        """The library `name` as `needed_by` would get it, or None."""
        if "/" in name:
            path = expand_tokens(name, needed_by.origin, loader)
            hits = self.walker.find(path) if path.startswith("/") else []
            folder = path.rpartition("/")[0]
            return self._first_fit(path.rpartition("/")[2], hits, "path", folder, needed_by.elf)
        for how, folder in own_folders(needed_by, loader):
            hits = self.walker.find_in(folder, name)
            if hits and (hit := self._first_fit(name, hits, how, folder, needed_by.elf)):
                return hit
        return None if needed_by.elf.no_default_dirs else self.find_default(name, loader)

    def find_default(self, name: str, loader: Loader) -> Hit | None:
        """The library `name` in the folders that do not depend on who asks."""
        key = (name, loader.interpreter, loader.elf_class, loader.machine, loader.conf_dirs)
        if key not in self._defaults:
            self._defaults[key] = self._search_default(name, loader)
        return self._defaults[key]

    def _search_default(self, name: str, loader: Loader) -> Hit | None:
        wanted = Elf(loader.elf_class, "<", loader.machine, "dyn")
        for how, folder in shared_folders(loader):
            hits = self.walker.find_in(folder, name)
            if hits and (hit := self._first_fit(name, hits, how, folder, wanted)):
                return hit
        return None

    def _first_fit(
        self, name: str, hits: list[Found], how: How, folder: str, like: Elf
    ) -> Hit | None:
        """The first that is an object of the same class and machine; others are passed over."""
        for found in hits:
            elf = self.elf(found.image_path)
            if (
                elf is not None
                and elf.is_loadable
                and (elf.elf_class, elf.machine) == (like.elf_class, like.machine)
            ):
                return Hit(name, found, how, folder)
        return None


def expand_tokens(text: str, origin: str, loader: Loader) -> str:
    """`text` with `$ORIGIN`, `$LIB` and `$PLATFORM` filled in; musl knows only the first."""
    if "$" not in text:
        return text

    def fill(match: re.Match[str]) -> str:
        word = match[1] or match[2]
        if word == "ORIGIN":
            return "/" + origin
        if loader.flavour == "musl":
            return match[0]
        return loader.lib if word == "LIB" else loader.platform

    return _TOKEN.sub(fill, text)


def own_dirs(elf: Elf, origin: str, loader: Loader) -> tuple[str, ...]:
    """The folders that an object hands down: glibc's RPATH, or either of the two with musl.

    Relative and empty elements depend on the working directory and are left out.
    """
    if loader.flavour == "musl":
        return _split_path(elf.runpath or elf.rpath, origin, loader)
    return () if elf.runpath is not None else _split_path(elf.rpath, origin, loader)


def _split_path(text: str | None, origin: str, loader: Loader) -> tuple[str, ...]:
    if not text:
        return ()
    parts = (expand_tokens(part, origin, loader) for part in text.split(":"))
    return tuple(dict.fromkeys(part for part in parts if part.startswith("/")))


def own_folders(loaded: Loaded, loader: Loader) -> Iterator[tuple[How, str]]:
    """The folders that depend on who asks, in order."""
    if loader.flavour == "musl" or loaded.elf.runpath is None:
        for folder in loaded.rpaths:
            yield "rpath", folder
    if loader.flavour == "glibc" and loaded.elf.runpath is not None:
        for folder in _split_path(loaded.elf.runpath, loaded.origin, loader):
            yield "runpath", folder


def shared_folders(loader: Loader) -> Iterator[tuple[How, str]]:
    """The folders that are the same for all objects, in order."""
    for folder in loader.conf_dirs:
        yield "conf", folder
    for folder in loader.default_dirs:
        yield "default", folder


def describe_search(name: str, loaded: Loaded, loader: Loader) -> str:
    """The search for `name` in words, for a message."""
    if "/" in name:
        path = expand_tokens(name, loaded.origin, loader)
        relative = "" if path.startswith("/") else ", which depends on the working directory"
        return f"the path {path!r} itself{relative}"
    folders = [*own_folders(loaded, loader)]
    if not loaded.elf.no_default_dirs:
        folders += shared_folders(loader)
    words = dict.fromkeys(f"{folder!r} ({how})" for how, folder in folders)
    shown = list(words)[:20]
    more = len(words) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def usual_interpreter(elf: Elf) -> str:
    """The path at which programs for this machine name glibc's loader."""
    return machine_of(elf).loader
