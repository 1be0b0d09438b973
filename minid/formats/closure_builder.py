"""Building a closure: one process for each start file, then what rules and the recipe add.

The way in is `minid.formats.elf_closure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from minid.formats.closure_values import Closure, ClosureOptions, Missing
from minid.formats.dlopen_rules import (
    Want,
    glibc_minor,
    is_glibc_part,
    note_wants,
    nss_wants,
    parse_nsswitch,
    unwind_wants,
)
from minid.formats.dlopen_warnings import module_warnings
from minid.formats.elf import Elf
from minid.formats.elf_listed import find_listed
from minid.formats.elf_placement import Item, place_hit
from minid.formats.elf_process import Binding, Process
from minid.formats.elf_search import ElfCache, Hit, describe_search, usual_interpreter
from minid.formats.ldconf import Loader
from minid.model import Reason

_K = TypeVar("_K")
_V = TypeVar("_V")

_HINT_LIBRARY = "add the package that holds it to build.packages, or the recipe to build.needs"
_HINT_PATH = "link with the library's folder, so that its bare name is recorded, or set a soname"
_HINT_LISTED = "mend contents.dlopen: sonames, globs or absolute paths of the environment"


class ClosureBuilder:
    """One closure while it grows. First come, first kept: a reason's `via` always has its own."""

    def __init__(self, cache: ElfCache, options: ClosureOptions) -> None:
        self.cache = cache
        self.options = options
        self.reasons: dict[str, Reason] = {}
        self.objects: dict[str, Elf] = {}
        self._items: dict[str, Item] = {}
        self._bindings: dict[tuple[str, str], dict[str, None]] = {}
        self._placed: dict[str, str] = {}
        self._warnings: dict[str, None] = {}
        self._missing: dict[tuple[str, str], Missing] = {}
        self._processes: list[Process] = []
        self._loaders: dict[tuple[int, int], Loader] = {}
        self._pending: list[tuple[Process, Binding]] = []
        self._nsswitch = parse_nsswitch(options.nsswitch)

    def build(self, start: list[str]) -> Closure:
        """The closure of these files."""
        roots = [(path, elf) for path in start if (elf := self.cache.elf(path)) is not None]
        for path in start:
            self.reasons[path] = Reason(path, "installed")
            if path in self.cache.damaged:
                self.warn(f"/{path}: not taken as ELF: {self.cache.damaged[path]}")
        roots = [(path, elf) for path, elf in roots if elf.is_loadable and elf.dynamic]
        for path, elf in roots:
            if elf.is_program:
                self._run_program(path, elf)
        for path, elf in roots:
            if not elf.is_program:
                self._run_library(path, elf)
        if self.options.dlopen_rules:
            for process in tuple(self._processes):
                self._follow_rules(process)
        self._add_listed()
        self._settle_pending()
        if self.options.dlopen_rules:
            for text in module_warnings(self.cache, self.objects, self.reasons):
                self.warn(text)
        return self._finish()

    def warn(self, text: str) -> None:
        """Note a warning, once."""
        self._warnings[text] = None

    def _run_program(self, path: str, elf: Elf) -> None:
        if elf.interpreter is None:
            loader = self._loader_like(elf)
        else:
            loader = self.cache.loader(elf.interpreter, elf, conf=self.options.conf)
            self._loaders.setdefault((elf.elf_class, elf.machine), loader)
        process = self._start(path, elf, loader)
        if elf.interpreter is not None:
            self._ship_interpreter(path, loader, elf.interpreter)
        for binding in process.bind_needed():
            self._note(process, binding, strict=True)

    def _run_library(self, path: str, elf: Elf, reason: Reason | None = None) -> Process:
        """A library or module that some program may load: what the program has counts, too."""
        process = self._start(path, elf, self._loader_like(elf))
        if reason is not None:
            self.reasons.setdefault(path, reason)
        for binding in process.bind_needed():
            self._note(process, binding, strict=False)
        return process

    def _start(self, path: str, elf: Elf, loader: Loader) -> Process:
        process = Process(self.cache, loader, path, elf)
        self._processes.append(process)
        self.objects[path] = elf
        return process

    def _loader_like(self, elf: Elf) -> Loader:
        """The loader of the programs for the same machine, else the machine's usual one."""
        known = self._loaders.get((elf.elf_class, elf.machine))
        if known is not None:
            return known
        interpreter = usual_interpreter(elf)
        return self.cache.loader(interpreter, elf, conf=self.options.conf)

    def _ship_interpreter(self, needed_by: str, loader: Loader, text: str) -> None:
        if not loader.image_path:
            hint = "add the package of the C library, or mend the linker's --dynamic-linker"
            self._miss(Missing(needed_by, text, "the file system", hint))
            return
        self._add_loader(needed_by, loader)

    def _add_loader(self, needed_by: str, loader: Loader) -> None:
        place = loader.interpreter
        self._placed[loader.image_path] = place
        elf = self.cache.elf(loader.image_path)
        if elf is not None:
            self.objects[loader.image_path] = elf
        if place not in self.options.present:
            self._items.setdefault(place, Item(place, source=loader.image_path))
        self.reasons.setdefault(place, Reason(place, "interpreter", self._place(needed_by)))

    def _place(self, path: str) -> str:
        return self._placed.get(path, path)

    def _note(self, process: Process, binding: Binding, *, strict: bool) -> None:
        if binding.found is None:
            if strict:
                self._miss_library(process, binding)
            else:
                self._pending.append((process, binding))
            return
        self._remember(process, binding, "needed", "")

    def _remember(self, process: Process, binding: Binding, how: str, detail: str) -> None:
        found = binding.found or ""
        self._bindings.setdefault((binding.needed_by, binding.name), {})[found] = None
        if found == process.loader.image_path:
            self._add_loader(binding.needed_by, process.loader)
            if process.loader.flavour == "musl" and binding.name == "libc.so.6":
                path = self._place(binding.needed_by)
                self.warn(f"/{path}: is built for glibc and gets musl, which lacks some symbols")
        if binding.hit is not None:
            via = self._place(binding.needed_by)
            self._add_hit(binding.hit, process.loader, Reason("", how, via, detail))

    def _add_hit(self, hit: Hit, loader: Loader, reason: Reason) -> None:
        """Ship a file with its links. `reason` is given without a path."""
        for item in place_hit(hit, loader, self.options.present):
            self._add_item(item, hit.image_path)
        path = hit.image_path
        elf = self.cache.elf(path)
        if elf is not None:
            self.objects[path] = elf
        self.reasons.setdefault(path, Reason(path, reason.how, reason.via, reason.detail))

    def _add_item(self, item: Item, leads_to: str) -> None:
        known = self._items.setdefault(item.image_path, item)
        if known != item:
            first, second = (each.target or each.source for each in (known, item))
            self.warn(
                f"/{item.image_path}: wanted twice, {first!r} stays and {second!r} is left out"
            )
        elif item.target:
            path = item.image_path
            self.reasons.setdefault(path, Reason(path, "link", leads_to, item.target))

    def _miss(self, missing: Missing) -> None:
        self._missing.setdefault((missing.image_path, missing.needs), missing)

    def _miss_library(self, process: Process, binding: Binding) -> None:
        loaded = process.loaded(binding.needed_by) or process.root
        searched = describe_search(binding.name, loaded, process.loader)
        hint = _HINT_PATH if "/" in binding.name else _HINT_LIBRARY
        for_musl = binding.name == "libc.so" or binding.name.startswith("libc.musl-")
        if for_musl and process.loader.flavour == "glibc":
            hint = (
                "the library is for musl and the program for glibc: build both in one environment"
            )
        self._miss(Missing(self._place(binding.needed_by), binding.name, searched, hint))

    def _settle_pending(self) -> None:
        """A library's need may be met only inside the program that loads it."""
        by_soname = {
            (elf.soname, elf.elf_class, elf.machine): path for path, elf in self.objects.items()
        }
        for process, binding in self._pending:
            if (binding.needed_by, binding.name) in self._bindings:
                continue
            elf = self.objects[binding.needed_by]
            found = by_soname.get((binding.name, elf.elf_class, elf.machine))
            if found is None:
                self._miss_library(process, binding)
                continue
            self._remember(process, Binding(binding.needed_by, binding.name, found), "needed", "")
            self.warn(
                f"/{self._place(binding.needed_by)}: needs {binding.name!r}, which it finds only "
                f"in a program that has loaded /{self._place(found)}"
            )

    def _follow_rules(self, process: Process) -> None:
        """Load what the objects of a process ask for besides NEEDED, until nothing new comes."""
        position = 0
        while position < len(process.order):
            path = process.order[position].image_path
            position += 1
            for want in self._wants(process, path):
                self._grant(process, want)

    def _wants(self, process: Process, path: str) -> Iterator[Want]:
        yield from note_wants(path, self.cache.notes(path))
        elf = self.objects.get(path)
        libc = process.find_named("libc.so.6")
        if elf is None or libc is None or is_glibc_part(elf.soname):
            return
        imports = self.cache.imports(path)
        minor = glibc_minor(libc.elf.defines_versions) or 0
        yield from nss_wants(path, imports, libc.image_path, minor, self._nsswitch)
        threads = process.find_named("libpthread.so.0") if minor < 34 else None
        yield from unwind_wants(path, imports, (threads or libc).image_path)

    def _grant(self, process: Process, want: Want) -> None:
        caller = process.loaded(want.caller) or process.root
        for name in want.names:
            binding = process.bind(caller, name)
            if binding.found is None:
                continue
            asked = Binding(want.via, name, binding.found, binding.hit)
            self._remember(process, asked, want.how, want.detail)
            for needed in process.bind_needed():
                self._note(process, needed, strict=True)
            return
        text = f"/{self._place(want.via)}: may load {' or '.join(map(repr, want.names))}"
        if want.absent == "missing":
            searched = describe_search(want.names[0], caller, process.loader)
            self._miss(Missing(self._place(want.via), want.names[0], searched, _HINT_LIBRARY))
        else:
            self.warn(f"{text} ({want.detail}), which is not there")

    def _add_listed(self) -> None:
        programs = [(process.root, process.loader) for process in self._processes]
        loader = programs[0][1] if programs else self._loader_like(Elf(64, "<", 62, "dyn"))
        for text in self.options.listed:
            hits = find_listed(text, self.cache, programs, loader)
            if not hits:
                self._miss(Missing("", text, "the environment", _HINT_LISTED))
            for hit in hits:
                self._add_listed_hit(hit, loader, Reason("", "listed", detail=text))

    def _add_listed_hit(self, hit: Hit, loader: Loader, reason: Reason) -> None:
        self._add_hit(hit, loader, reason)
        elf = self.cache.elf(hit.image_path)
        if elf is None or not elf.is_loadable or not elf.dynamic:
            return
        process = self._run_library(hit.image_path, elf)
        if self.options.dlopen_rules:
            self._follow_rules(process)

    def _finish(self) -> Closure:
        return Closure(
            reasons=dict(_sorted(self.reasons.items())),
            items=tuple(item for _, item in _sorted(self._items.items())),
            objects=dict(_sorted(self.objects.items())),
            bindings={key: tuple(found) for key, found in _sorted(self._bindings.items())},
            placed=self._placed,
            warnings=tuple(self._warnings),
            missing=tuple(missing for _, missing in _sorted(self._missing.items())),
        )


def _sorted(rows: Iterable[tuple[_K, _V]]) -> list[tuple[_K, _V]]:
    return sorted(rows, key=lambda row: str(row[0]))
