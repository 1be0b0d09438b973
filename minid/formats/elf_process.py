"""One process as a loader would fill it: which object each NEEDED name is bound to.

Breadth first, one object per file, a name bound once for the whole process, as glibc and musl do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from minid.formats.elf import Elf
from minid.formats.elf_search import ElfCache, Hit, Loaded, own_dirs
from minid.formats.ldconf import Loader

# musl answers these itself, whatever follows the dot (ldso/dynlink.c, load_library).
_MUSL_OWN = ("libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet.")


@dataclass(frozen=True, slots=True)
class Binding:
    """One name that one object asked for. `hit` is set where a new file came in by it.

    `found` is the object that the name is bound to, None where nothing was found.
    """

    needed_by: str
    name: str
    found: str | None
    hit: Hit | None = None


class Process:
    """The objects of one process. `order` is the order of loading, the root first."""

    def __init__(self, cache: ElfCache, loader: Loader, root: str, elf: Elf) -> None:
        self.loader = loader
        self.order: list[Loaded] = []
        self._cache = cache
        self._by_path: dict[str, Loaded] = {}
        self._by_name: dict[str, str] = {}
        self._done = 0
        self.root = self._load(root, root.rpartition("/")[0], elf, ())
        if loader.image_path and loader.image_path != root:
            self._by_name[loader.interpreter.rpartition("/")[2]] = loader.image_path
            own = cache.elf(loader.image_path)
            if own is not None and own.soname:
                self._by_name[own.soname] = loader.image_path

    def __contains__(self, image_path: str) -> bool:
        return image_path in self._by_path

    def find_named(self, name: str) -> Loaded | None:
        """The object that a name is bound to, if it is bound."""
        path = self._by_name.get(name)
        return self._by_path.get(path) if path is not None else None

    def loaded(self, image_path: str) -> Loaded | None:
        """The object of this file, if it is loaded."""
        return self._by_path.get(image_path)

    def bind_needed(self) -> Iterator[Binding]:
        """Load what the objects that came in since the last call need, and what those need."""
        while self._done < len(self.order):
            loaded = self.order[self._done]
            self._done += 1
            for name in loaded.elf.needed:
                yield self.bind(loaded, name)

    def bind(self, loaded: Loaded, name: str) -> Binding:
        """Bind one name as `loaded` asks for it, loading the file where it is new."""
        bound = self._by_name.get(name)
        if bound is None and self.loader.flavour == "musl" and name.startswith(_MUSL_OWN):
            bound = self.loader.image_path or None
        if bound is not None:
            return Binding(loaded.image_path, name, bound)
        hit = self._cache.find(name, loaded, self.loader)
        if hit is None:
            return Binding(loaded.image_path, name, None)
        self._by_name[name] = hit.image_path
        if hit.image_path not in self._by_path:
            elf = self._cache.elf(hit.image_path)
            assert elf is not None  # a hit is an object
            self._load(hit.image_path, hit.found.chain[0].rpartition("/")[0], elf, loaded.rpaths)
        return Binding(loaded.image_path, name, hit.image_path, hit)

    def _load(self, image_path: str, origin: str, elf: Elf, inherited: tuple[str, ...]) -> Loaded:
        rpaths = own_dirs(elf, origin, self.loader) + inherited
        loaded = Loaded(image_path, origin, elf, tuple(dict.fromkeys(rpaths)))
        self._by_path[image_path] = loaded
        self.order.append(loaded)
        if elf.soname:
            self._by_name.setdefault(elf.soname, image_path)
        return loaded
