"""A recipe's `contents.dlopen`: sonames, globs and paths, as files of a view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minid.formats.elf_search import ElfCache, Hit, Loaded, own_folders, shared_folders
from minid.formats.file_view import Found, Walker, join
from minid.formats.globs import compile_globs, fixed_prefix, is_glob
from minid.formats.ldconf import Loader

_MAX_LISTED = 100_000


def find_listed(
    text: str, cache: ElfCache, programs: Iterable[tuple[Loaded, Loader]], loader: Loader
) -> list[Hit]:
    """What one element of the list stands for; empty where nothing matches.

    A name without a slash is searched as each program would, then in the loader's own folders. A
    path may be no ELF file at all. ValueError for a pattern that is none.
    """
    if "/" in text:
        return list(_find_paths(text, cache.walker))
    if is_glob(text):
        return list(_find_names(text, cache, programs, loader))
    for program, its_loader in programs:
        hit = cache.find(text, program, its_loader)
        if hit is not None:
            return [hit]
    hit = cache.find_default(text, loader)
    return [] if hit is None else [hit]


def _path_hit(found: Found, path: str) -> Hit:
    folder, _, name = path.strip("/").rpartition("/")
    return Hit(name, found, "path", "/" + folder)


def _find_paths(text: str, walker: Walker) -> Iterator[Hit]:
    if not is_glob(text):
        yield from (_path_hit(found, text) for found in walker.find(text)[:1])
        return
    matches = compile_globs((text,)).fullmatch
    deep = "**" in text
    for path in _list_below(walker, fixed_prefix(text), None if deep else text.count("/")):
        if matches(path):
            yield from (_path_hit(found, path) for found in walker.find(path)[:1])


def _list_below(walker: Walker, prefix: str, depth: int | None) -> Iterator[str]:
    """The paths below a folder as they are spelled from `prefix`, sorted; links are not entered."""
    todo, seen = [(prefix, prefix)], 0
    while todo:
        spelled, folder = todo.pop()
        for real in walker.folders(folder):
            for name in sorted(walker.view.names_in(real.image_path)):
                seen += 1
                if seen > _MAX_LISTED:
                    return
                yield join(spelled, name)
                here = join(real.image_path, name)
                nodes = walker.view.nodes_at(here)
                below = depth is None or spelled.count("/") + 2 < depth + 1
                if below and any(node.kind == "directory" for node in nodes):
                    todo.append((join(spelled, name), here))


def _find_names(
    text: str, cache: ElfCache, programs: Iterable[tuple[Loaded, Loader]], loader: Loader
) -> Iterator[Hit]:
    matches = compile_globs((text,)).fullmatch
    places = [place for program, own in programs for place in own_folders(program, own)]
    for how, folder in dict.fromkeys([*places, *shared_folders(loader)]):
        for real in cache.walker.folders(folder):
            for name in sorted(cache.view.names_in(real.image_path)):
                if matches(name):
                    found = cache.walker.find_in(folder, name)
                    yield from (Hit(name, each, how, folder) for each in found[:1])
