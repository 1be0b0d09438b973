"""The closure of programs: every file they need to run, and for each the reason.

Static: nothing is run. What a loader would bind is followed in a `FileView`; what programs load
without an ELF header naming it comes from `minid.formats.dlopen_rules` and the recipe's own list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from minid.formats.closure_builder import ClosureBuilder
from minid.formats.closure_values import Closure, ClosureOptions, Missing, show_path
from minid.formats.elf_search import ElfCache
from minid.formats.file_view import FileView
from minid.model import Reason

__all__ = [
    "Closure",
    "ClosureOptions",
    "ElfCache",
    "Missing",
    "check_versions",
    "resolve_closure",
    "why_chain",
]


def resolve_closure(
    start: Iterable[str],
    view: FileView,
    options: ClosureOptions | None = None,
    cache: ElfCache | None = None,
) -> Closure:
    """The closure of the files at `start`, image paths of `view`; those that are no ELF are passed.

    A `cache` of the same view makes further closures cheap. Nothing is raised for what is missing
    or damaged: that is in the result.
    """
    builder = ClosureBuilder(cache or ElfCache(view), options or ClosureOptions())
    return builder.build(sorted(set(start)))


def why_chain(reasons: Mapping[str, Reason], image_path: str) -> list[Reason]:
    """The reasons from a file back to the one that was installed or listed; empty if unknown."""
    chain: list[Reason] = []
    seen: set[str] = set()
    while image_path in reasons and image_path not in seen:
        seen.add(image_path)
        chain.append(reasons[image_path])
        image_path = chain[-1].via
    return chain


def check_versions(closure: Closure) -> tuple[Missing, ...]:
    """Each symbol version that an object needs and the library it is bound to does not define.

    A library without any versions passes, as it does with the loader.
    """
    return tuple(
        Missing(
            closure.placed.get(path, path),
            f"{version} of {library}",
            f"{show_path(closure.placed.get(bound, bound))}: it defines "
            f"{_closest(closure.objects[bound].defines_versions, version)}",
            "build and run with the libraries of one environment",
        )
        for path, elf in sorted(closure.objects.items())
        for library, version in elf.needs_versions
        for bound in closure.bindings.get((path, library), ())
        if bound in closure.objects
        and closure.objects[bound].defines_versions
        and version not in closure.objects[bound].defines_versions
    )


def _closest(defined: tuple[str, ...], version: str) -> str:
    """What a library defines instead, in a few words: its highest version of the same family."""
    family = version.rpartition("_")[0]
    same = [each for each in defined if each.rpartition("_")[0] == family]
    if not same:
        return f"{len(defined)} others, none of {family!r}"

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.rpartition("_")[2].split(".") if part.isdecimal()]

    return f"up to {max(same, key=numbers)}"
