"""Pack a payload: what stays of an install tree, stripped, with the closure of its programs.

Trees in, a tree out: nothing is written to disk and nothing of the target is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from minid.errors import ClosureError, RecipeError
from minid.formats.droplist import apply_drop
from minid.formats.elf_closure import (
    Closure,
    ClosureOptions,
    ElfCache,
    Missing,
    check_versions,
    resolve_closure,
)
from minid.formats.elf_placement import Item
from minid.formats.elf_strip import Strip, Stripping
from minid.formats.file_view import FileView
from minid.formats.gconv import cut_gconv_modules
from minid.formats.tree import parents, sort_entries
from minid.formats.tree_links import link_duplicates
from minid.host.view import LayeredView, TreeView, read_content
from minid.model import Content, DropCount, Entry, Payload, Reason, Taken, Tree
from minid.recipe import DEFAULT_DROP, Contents

Read = Callable[[Content], bytes]

# A merged /usr is the environment's business: a base has real folders here.
_MERGED = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32"})
# What a base of busybox answers.
_BASE_INTERPRETERS = frozenset({"bin/sh", "bin/ash", "usr/bin/env"})


def pack_payload(
    install: Tree,
    needs: Sequence[Tree],
    environment_view: FileView,
    contents: Contents,
    *,
    read: Read,
    strip: Strip,
    nsswitch: str,
    clamp_mtime: int,
) -> Payload:
    """The payload of an install tree.

    Libraries come from `install`, then from the install trees of `needs`, then from the
    environment. `strip` gets programs and shared objects in separate requests and gives back what
    it changed. No time is later than `clamp_mtime`; files of the environment carry it. Raises
    ClosureError for what nothing provides, RecipeError for a pattern that is none.
    """
    kept, drops, warnings = _keep(install, contents, clamp_mtime)
    view = LayeredView([*(TreeView(tree, read) for tree in (kept, *needs)), environment_view])
    cache = ElfCache(view)
    closure = resolve_closure(
        (entry.image_path for entry in kept.entries if entry.kind == "file"),
        view,
        ClosureOptions(
            listed=contents.dlopen,
            nsswitch=nsswitch,
            present=frozenset(entry.image_path for entry in kept.entries),
        ),
        cache,
    )
    _refuse_missing((*closure.missing, *check_versions(closure)))
    entries = {entry.image_path: entry for entry in kept.entries}
    taken = []
    for entry, origin in _closure_entries(closure, cache, needs, clamp_mtime):
        entries[entry.image_path] = entry
        taken += [origin] if origin else []
    _refuse_conflicts(entries)
    stripped = 0
    if contents.strip:
        stripped = Stripping(entries, closure, cache, read).run(strip, warnings)
    warnings += (*closure.warnings, *_script_warnings(kept, entries, read))
    linked, linked_bytes = link_duplicates(entries.values())
    return Payload(
        tree=Tree(sort_entries(_with_parents(linked, clamp_mtime))),
        reasons=_all_reasons(linked, closure),
        drops=drops,
        stripped_bytes=stripped,
        linked_bytes=linked_bytes,
        warnings=tuple(dict.fromkeys(warnings)),
        taken=tuple(taken),
    )


def audit_rootfs(tree: Tree, read: Read) -> tuple[str, ...]:
    """What the programs of an image need and the image does not have; empty when all is well.

    Looks inside the tree only, as the image's own loader will: without ld.so.conf, unless the
    image has a cache.
    """
    paths = frozenset(entry.image_path for entry in tree.entries)
    options = ClosureOptions(present=paths, conf="etc/ld.so.cache" in paths, dlopen_rules=False)
    files = (entry.image_path for entry in tree.entries if entry.kind == "file")
    closure = resolve_closure(files, TreeView(tree, read), options)
    return tuple(str(missing) for missing in (*closure.missing, *check_versions(closure)))


def _keep(
    install: Tree, contents: Contents, clamp_mtime: int
) -> tuple[Tree, tuple[DropCount, ...], list[str]]:
    try:
        kept, drops = apply_drop(install, (*DEFAULT_DROP, *contents.drop), contents.keep)
    except ValueError as error:
        raise RecipeError(f"contents: {error}") from None
    entries, warnings = [], []
    for entry in kept.entries:
        if entry.kind == "symlink" and entry.image_path in _MERGED:
            warnings.append(
                f"/{entry.image_path}: a symlink to {entry.target!r} is left out, "
                "as a base has a real folder here"
            )
            continue
        entries.append(replace(entry, mtime=min(entry.mtime, clamp_mtime)))
    return Tree(tuple(entries)), drops, warnings


def _refuse_missing(missing: Sequence[Missing]) -> None:
    if not missing:
        return
    lines = [str(each) for each in missing[:20]]
    if len(missing) > len(lines):
        lines.append(f"and {len(missing) - len(lines)} more")
    hints = dict.fromkeys(each.hint for each in missing if each.hint)
    raise ClosureError("\n".join(lines), hint="; ".join(hints))


def _refuse_conflicts(entries: Mapping[str, Entry]) -> None:
    for path in entries:
        for above in parents(path):
            entry = entries.get(above)
            if entry is not None and entry.kind != "directory":
                raise ClosureError(
                    f"/{path}: expected a folder at /{above}, got a {entry.kind}",
                    hint=f"add '/{above}' to contents.drop",
                )


def _closure_entries(
    closure: Closure, cache: ElfCache, needs: Sequence[Tree], clamp_mtime: int
) -> Iterator[tuple[Entry, Taken | None]]:
    """Entries for what the closure adds, with the bytes in memory or where a need keeps them, and
    of each file where it was taken from."""
    known: dict[str, tuple[Entry, int]] = {}
    for number, tree in reversed(list(enumerate(needs))):
        known.update((entry.image_path, (entry, number)) for entry in tree.entries if entry.content)
    for item in closure.items:
        path = item.image_path
        if item.target:
            yield Entry(path, "symlink", 0o777, clamp_mtime, target=item.target), None
        elif item.source in known:
            entry, number = known[item.source]
            placed = replace(entry, image_path=path, mtime=min(entry.mtime, clamp_mtime))
            yield placed, Taken(path, item.source, number)
        else:
            yield _environment_entry(item, cache, clamp_mtime), Taken(path, item.source)
    for entry in _gconv_entries(closure, cache, clamp_mtime):
        yield entry, Taken(entry.image_path, entry.image_path)


def _environment_entry(item: Item, cache: ElfCache, mtime: int) -> Entry:
    """A file of the environment. Its mode follows from what it is: two machines, one digest."""
    data = _read_view(cache.view, item.source)
    elf = cache.elf(item.source)
    runs = data.startswith(b"#!") or (
        elf is not None and (elf.is_program or item.image_path != item.source)
    )
    return Entry(
        item.image_path, "file", 0o755 if runs else 0o644, mtime, content=Content.inline(data)
    )


def _read_view(view: FileView, image_path: str) -> bytes:
    with view.open(image_path) as source:
        return bytes(source[0 : len(source)])


def _gconv_entries(closure: Closure, cache: ElfCache, mtime: int) -> Iterator[Entry]:
    shipped = {item.image_path for item in closure.items}
    folders: dict[str, list[str]] = {}
    for path in shipped:
        folder, _, name = path.rpartition("/")
        if folder.endswith("/gconv") and name.endswith(".so"):
            folders.setdefault(folder, []).append(name)
    for folder, modules in sorted(folders.items()):
        place = f"{folder}/gconv-modules"
        extra = [
            f"{folder}/gconv-modules.d/{name}"
            for name in sorted(cache.view.names_in(f"{folder}/gconv-modules.d"))
            if name.endswith(".conf")
        ]
        sources = [path for path in (place, *extra) if cache.view.nodes_at(path)]
        texts = [_read_view(cache.view, path).decode("utf-8", "replace") for path in sources]
        if place not in shipped and texts:
            content = Content.inline(cut_gconv_modules(texts, modules).encode())
            yield Entry(place, "file", 0o644, mtime, content=content)


def _script_warnings(kept: Tree, entries: Mapping[str, Entry], read: Read) -> Iterator[str]:
    """Scripts whose interpreter neither the payload nor a base of busybox has."""
    for entry in kept.entries:
        if entry.kind != "file" or entry.content is None or not entry.mode & 0o111:
            continue
        head = bytes(read_content(entry.content, read)[:256])
        if not head.startswith(b"#!"):
            continue
        words = head[2:].partition(b"\n")[0].split()
        text = words[0].decode("utf-8", "replace") if words else ""
        path = text.strip("/")
        if path not in _BASE_INTERPRETERS and path not in entries:
            yield f"/{entry.image_path}: a script for {text!r}, which is not in the payload"


def _with_parents(entries: Iterable[Entry], mtime: int) -> list[Entry]:
    by_path = {entry.image_path: entry for entry in entries}
    for path in list(by_path):
        for above in parents(path):
            by_path.setdefault(above, Entry(above, "directory", 0o755, mtime))
    return list(by_path.values())


def _all_reasons(entries: Iterable[Entry], closure: Closure) -> tuple[Reason, ...]:
    return tuple(
        closure.reasons.get(entry.image_path, Reason(entry.image_path, "installed"))
        for entry in sort_entries(entries)
        if entry.kind != "directory"
    )
