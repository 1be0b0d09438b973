"""From changed paths to lines of a recipe: which line says which change."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from minid.formats.accounts import Accounts
from minid.formats.changes import Change, Seen
from minid.formats.changes_accounts import find_accounts
from minid.formats.changes_text import find_edits, plain_text
from minid.formats.digest import Digest
from minid.formats.lint_files import rules_of_mode
from minid.formats.recipe_drop import drop_paths
from minid.formats.recipe_lines import RecipeLines
from minid.formats.rootfs import Rootfs
from minid.formats.tree import parents
from minid.formats.values import IMAGE_PATH_PATTERN
from minid.recipe import Directory, Edit, File, Recipe, Silence
from minid.store.contents import Read

SHADOW = "etc/shadow"
_ACCOUNTS = ("etc/passwd", "etc/group", SHADOW)
_BACKUPS = tuple(f"{path}-" for path in _ACCOUNTS)
_INLINE = 2000  # longer texts are files of the recipe's folder
_REASON = "the mode was set by hand in the workbench"
_PATH = re.compile(IMAGE_PATH_PATTERN)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}")


def is_path(path: str) -> bool:
    """Whether a recipe can name this path of an image."""
    return len(path) < 4096 and _PATH.fullmatch(path) is not None and _is_text(path)


def is_target(text: str) -> bool:
    """Whether a recipe can have a link point at this."""
    return 0 < len(text) < 4096 and text.isprintable() and _is_text(text)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # names are bytes, and these are no UTF-8
        return False
    return True


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be said: the changes with the new bytes, in this recipe. `ground` are the paths
    that are there before the recipe adds anything, `root` is what the changes were made to."""

    changes: tuple[Change, ...]
    data: Mapping[str, bytes]
    recipe: Recipe
    text: str
    ground: set[str]
    root: Rootfs
    read: Read

    def change(self, path: str) -> Change | None:
        """The change at a path."""
        return next((item for item in self.changes if item.image_path == path), None)

    def old(self, path: str) -> bytes:
        """The bytes that a file had, or none."""
        entry = self.root.file(path)
        return self.read(entry.content) if entry and entry.content else b""

    def new(self, path: str) -> bytes:
        """The bytes that a file has."""
        change = self.change(path)
        return self.data.get(path, b"") if change else self.old(path)


@dataclass(slots=True)
class Written:
    """The lines so far. `text` is the recipe without lines that no longer hold; `files` lie in its
    folder; `left_out` are paths that need no line, or not in full, with why."""

    text: str
    lines: RecipeLines = field(default_factory=RecipeLines)
    files: dict[str, bytes] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def add(self, **more: tuple[object, ...]) -> None:
        """More lines."""
        found = {name: (*getattr(self.lines, name), *items) for name, items in more.items()}
        self.lines = replace(self.lines, **found)


def write_lines(draft: Draft, plain: Collection[str], folders: Collection[str] = ()) -> Written:
    """The lines for the changes. At the paths of `plain` a file is said as a whole, since another
    way was tried in vain; `folders` shall stay though nothing lies in them any more."""
    written = Written(draft.text)
    backups = {path for path in _BACKUPS if (c := draft.change(path)) and c.letter == "A"}
    written.left_out = dict.fromkeys(sorted(backups), "a backup")
    done = backups | _write_accounts(draft, written, plain)
    _remove(draft, written)
    owners = _Owners(draft)
    for path in sorted(folders):
        entry = draft.root.get(path)
        if entry is not None:
            seen = Seen(path, "directory", entry.mode, entry.uid, entry.gid)
            item = Directory(f"/{path}", mode=entry.mode, **owners.words(seen))
            written.add(directories=(item,))
    for change in draft.changes:
        if change.image_path in done or change.after is None:
            continue
        if change.after.kind == "directory":
            _write_directory(draft, written, change, owners)
        elif change.after.kind == "symlink":
            pair = (f"/{change.image_path}", change.after.target)
            _drop(written, change.image_path, ("files", "edits", "directories"))
            written.add(links=(pair,))
        else:
            _write_file(draft, written, change, owners, plain)
    return written


def _write_accounts(draft: Draft, written: Written, plain: Collection[str]) -> set[str]:
    """Users and groups; the paths that need no further line."""
    touched = [path for path in _ACCOUNTS if draft.change(path)]
    whole = [change for path in touched if (change := draft.change(path))]
    if not touched or any(path in plain for path in _ACCOUNTS):
        return set()
    if any(change.letter != "M" or change.what != ("bytes",) for change in whole):
        return set()
    texts = [
        tuple(read(path).decode("utf-8", "replace") for path in _ACCOUNTS[:2])
        for read in (draft.old, draft.new)
    ]
    found = find_accounts((texts[0][0], texts[0][1]), (texts[1][0], texts[1][1]))
    if found is None or not (found[0] or found[1]):
        return set()
    written.add(users=found[0], groups=found[1])
    if SHADOW in touched:
        written.left_out = {**written.left_out, SHADOW: "the day of the last change"}
    return set(touched)


def _remove(draft: Draft, written: Written) -> None:
    """What was deleted, or gave way to something that cannot lie over it."""
    gone = {change.image_path for change in draft.changes if change.after is None}
    turned = {change.image_path for change in draft.changes if _turns(change)}
    taken = gone | turned
    if not taken:
        return
    text = drop_paths(written.text, lambda path: _place(draft, path) in taken)
    written.text = text
    tops = [path for path in sorted(taken) if not taken.intersection(parents(path))]
    tops += [path for path in sorted(turned) if path not in tops]
    written.add(remove=tuple(_literal(f"/{path}") for path in tops if path in draft.ground))


def _turns(change: Change) -> bool:
    before, after = change.before, change.after
    return (
        before is not None
        and after is not None
        and (before.kind == "directory") != (after.kind == "directory")
    )


def _literal(path: str) -> str:
    """A glob that matches the path alone."""
    return re.sub(r"[*?\[]", lambda match: f"[{match[0]}]", path)


def _place(draft: Draft, path: str) -> str:
    return draft.root.resolve(path.strip("/"), follow_last=False)


def _drop(written: Written, image_path: str, tables: Collection[str]) -> None:
    written.text = drop_paths(written.text, lambda path: path.strip("/") == image_path, tables)


class _Owners:
    """Names for ids, as the workbench's own passwd and group have them."""

    def __init__(self, draft: Draft) -> None:
        passwd, group = (draft.new(path).decode("utf-8", "replace") for path in _ACCOUNTS[:2])
        self._accounts = Accounts(passwd, group)

    def words(self, seen: Seen) -> dict[str, str]:
        """`owner` and `group` as a recipe has them."""
        accounts = self._accounts
        owner = _name_of(seen.uid, accounts.uids)
        group = "" if seen.gid == accounts.primary_gids.get(owner, seen.uid) else _name_of(
            seen.gid, accounts.gids
        )  # fmt: skip
        return {"owner": owner, "group": group}


def _name_of(number: int, numbers: Mapping[str, int]) -> str:
    sound = (name for name, value in numbers.items() if value == number)
    return next((name for name in sound if re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", name)),
                str(number))  # fmt: skip


def _write_directory(draft: Draft, written: Written, change: Change, owners: _Owners) -> None:
    after, path = change.after, change.image_path
    assert after is not None
    plain = (after.mode, after.uid, after.gid) == (0o755, 0, 0)
    below = any(other.image_path.startswith(f"{path}/") and other.after is not None
                for other in draft.changes)  # fmt: skip
    if change.before is None and plain and below:
        return  # comes with what lies in it
    _drop(written, path, ("files", "edits", "links"))
    written.add(directories=(Directory(f"/{path}", mode=after.mode, **owners.words(after)),))
    _let_be(written, after)


def _let_be(written: Written, seen: Seen) -> None:
    """Who set a mode by hand has seen it, and sees it again in the lines: lints need not refuse."""
    for rule in rules_of_mode(seen.kind, seen.mode):
        written.add(ignore=(Silence(rule, _REASON, (_literal(f"/{seen.image_path}"),)),))


def _write_file(
    draft: Draft, written: Written, change: Change, owners: _Owners, plain: Collection[str]
) -> None:
    path, after, data = change.image_path, change.after, draft.data[change.image_path]
    assert after is not None
    own = [item for item in draft.recipe.rootfs.files if _place(draft, item.path) == path]
    if change.what == ("bytes",) and path not in plain:
        if own and own[0].source is not None and not _edited(draft, path):
            written.files[own[0].source] = data
            return
        if not own and (edits := _find_edits(draft, path, data)):
            written.add(edits=edits)
            return
    _drop(written, path, ("edits", "links", "directories"))
    text = plain_text(data) if len(data) <= _INLINE else None
    source = None
    if text is None:
        source = _file_name(draft, written, path, data)
        written.files[source] = data
    item = File(f"/{path}", text, source, mode=after.mode, **owners.words(after))
    written.add(files=(item,))
    _let_be(written, after)


def _edited(draft: Draft, path: str) -> bool:
    return any(_place(draft, item.path) == path for item in draft.recipe.rootfs.edits)


def _find_edits(draft: Draft, path: str, data: bytes) -> tuple[Edit, ...]:
    return find_edits(f"/{path}", draft.old(path), data)


def _file_name(draft: Draft, written: Written, path: str, data: bytes) -> str:
    """A name in the recipe's folder that nothing else has."""
    own = [item.source for item in draft.recipe.rootfs.files if item.path == f"/{path}"]
    if own and own[0]:
        return own[0]
    leaf = path.rpartition("/")[2]
    digest = Digest.of(path.encode()).hex[:8]
    names = [leaf, path.replace("/", "-"), f"{digest}-{leaf}", f"file-{digest}"]
    taken = {*written.files, *(item.source for item in draft.recipe.rootfs.files)}
    folder = draft.recipe.folder
    for name in names:
        if _FILE_NAME.fullmatch(name) and name not in taken:
            there = folder / name
            if not there.exists() or (there.is_file() and there.read_bytes() == data):
                return name
    return f"file-{Digest.of(path.encode() + data).hex[:16]}"
