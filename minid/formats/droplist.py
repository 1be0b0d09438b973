"""The drop list: which files of an install tree do not stay, and how much that saved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from minid.formats.globs import compile_globs, translate_glob
from minid.formats.tree import parents
from minid.model import DropCount, Entry, Tree


def match_paths(pattern: str, image_paths: Iterable[str]) -> list[str]:
    """The paths that match the pattern itself (not what merely lies below a match), in order."""
    matches = re.compile(translate_glob(pattern), re.DOTALL).fullmatch
    return [path for path in image_paths if matches(path)]


def apply_drop(
    tree: Tree, rules: Sequence[str], keep: Sequence[str] = ()
) -> tuple[Tree, tuple[DropCount, ...]]:
    """`tree` without what `rules` name, and what each rule removed, in the order of the rules.

    Rules are globs over absolute image paths (see `minid.formats.globs`); the first that matches
    counts the file, and `keep` wins over all of them. A folder that held only dropped files goes
    too; one that was empty before stays. ValueError for a rule that is no pattern.
    """
    drops = compile_globs(tuple(rules)).fullmatch
    keeps = compile_globs(tuple(keep)).fullmatch
    dropped: dict[str, int] = {}
    stay: dict[str, Entry] = {}
    for entry in tree.entries:
        match = drops(entry.image_path)
        if match and not keeps(entry.image_path):
            dropped[entry.image_path] = (match.lastindex or 1) - 1
        else:
            stay[entry.image_path] = entry
    _restore_parents(tree, stay, dropped)
    moved = _promote_links(tree, stay)
    _remove_emptied(stay, dropped)
    return Tree(tuple(stay[path] for path in _ordered(tree, stay))), _count(
        tree, rules, dropped, moved
    )


def _ordered(tree: Tree, stay: dict[str, Entry]) -> list[str]:
    return [entry.image_path for entry in tree.entries if entry.image_path in stay]


def _restore_parents(tree: Tree, stay: dict[str, Entry], dropped: dict[str, int]) -> None:
    """A kept file keeps the folders above it, whatever a rule says about those."""
    by_path = {entry.image_path: entry for entry in tree.entries if entry.image_path in dropped}
    wanted = {
        above
        for path, entry in stay.items()
        if entry.kind != "directory"
        for above in parents(path)
    }
    for path in wanted & by_path.keys():
        stay[path] = by_path[path]
        del dropped[path]


def _promote_links(tree: Tree, stay: dict[str, Entry]) -> set[str]:
    """Give the bytes of a dropped file to the first hard link of it that stays."""
    files = {entry.image_path: entry for entry in tree.entries if entry.kind == "file"}
    heirs: dict[str, str] = {}
    for entry in tree.entries:
        kept = stay.get(entry.image_path)
        if kept is None or kept.kind != "hardlink" or kept.target in stay:
            continue
        heir = heirs.setdefault(kept.target, kept.image_path)
        if heir == kept.image_path and kept.target in files:
            stay[heir] = replace(files[kept.target], image_path=heir)
        else:
            stay[kept.image_path] = replace(kept, target=heir)
    return set(heirs)


def _remove_emptied(stay: dict[str, Entry], dropped: dict[str, int]) -> None:
    touched = {above for path in dropped for above in parents(path)}
    filled = {path.rpartition("/")[0] for path in stay}
    for path in sorted(touched & stay.keys(), key=lambda path: -path.count("/")):
        if path not in filled and stay[path].kind == "directory":
            del stay[path]
            filled = {other.rpartition("/")[0] for other in stay}


def _count(
    tree: Tree, rules: Sequence[str], dropped: dict[str, int], moved: set[str]
) -> tuple[DropCount, ...]:
    files, sizes = [0] * len(rules), [0] * len(rules)
    for entry in tree.entries:
        rule = dropped.get(entry.image_path)
        if rule is None or entry.kind == "directory":
            continue
        files[rule] += 1
        if entry.content and entry.image_path not in moved:
            sizes[rule] += entry.content.size
    return tuple(map(DropCount, rules, files, sizes))
