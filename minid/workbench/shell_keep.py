"""A workbench's difference as lines of the recipe, tried before anything is written.

Composing is pure: what a recipe would lay is known without a build. So each way of saying a change
is tried, from the one that says most to the one that says all, and what cannot be said is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minid.errors import ComposeError, RecipeError, UsageError
from minid.formats.changes import Change
from minid.formats.digest import Digest
from minid.formats.recipe_lines import add_lines
from minid.formats.rootfs import Rootfs
from minid.formats.tree import parse_tree
from minid.model import Tree
from minid.recipe import Recipe
from minid.store.blobs import Blobs
from minid.store.contents import Read, read_content
from minid.store.edits import Edits
from minid.store.records import Records
from minid.workbench.shell_lines import SHADOW, Draft, write_lines
from minid.workbench.shell_source import Source

if TYPE_CHECKING:
    from minid.host.bench_container import BenchContainer

_MAX_BYTES = 256 << 20
_KINDS = ("file", "directory", "symlink")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What --keep would write: the recipe's text before and after, and files of its folder by name.

    `left_out` are paths that need no line, or not in full, with why.
    """

    file: Path
    folder: Path
    before: str
    after: str
    files: Mapping[str, bytes]
    left_out: Mapping[str, str]

    def expected(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        """The changes that a build must show: those with a line."""
        return said_changes(changes, self.left_out)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the recipe's own lines are laid on: the base's root and the payload."""

    base: Tree
    payload: Tree

    def paths(self) -> set[str]:
        """All that is there before the recipe adds anything."""
        trees = (self.base, self.payload)
        return {entry.image_path for tree in trees for entry in tree.entries}


def find_ground(source: Source, recipe: Recipe, records: Records, blobs: Blobs) -> Ground:
    """The ground of the image or run that a workbench stands on; StoreError where it is lost."""
    base = Tree()
    if recipe.rootfs.base != "scratch":
        found = next((i for i in records.images() if i["recipe"] == recipe.rootfs.base), None)
        if found is None:
            raise UsageError(f"{recipe.file}: expected an image of {recipe.rootfs.base}, got none")
        base = parse_tree(blobs.read(Digest.parse(str(found["tree"]))))
    for run in [source.run] if source.run else _runs_of(source, records):
        for stage in records.stages(run):
            output = records.result(stage.key) if stage.name == "pack" else None
            if output:
                payload = blobs.read(Digest.parse(str(output["tree"])))
                return Ground(base, parse_tree(payload))
    raise UsageError(
        f"{source.name}: expected the payload that this image was made of, got no record of it",
        hint=f"`minid build {source.recipe}`, then do it again in a new workbench",
    )


def _runs_of(source: Source, records: Records) -> list[int]:
    """The runs that made an image, or what it was before it was edited by hand."""
    manifest, edits = source.manifest, Edits(records.database)
    for _ in range(1000):
        row = edits.made(manifest)
        if row is None or not row.from_manifest or row.kind not in ("set", "undo"):
            break
        manifest = row.from_manifest
    runs = records.runs(source.recipe, limit=10_000)
    found = [run.id for run in runs if run.manifest == manifest and run.status == "ok"]
    return found or [run.id for run in runs if run.status == "ok"]


def read_changed(container: BenchContainer, changes: Iterable[Change]) -> dict[str, bytes]:
    """The bytes of every file among the changes; UsageError past what a recipe should carry."""
    sizes = {c.image_path: c.after.size for c in changes if c.after and c.after.kind == "file"}
    if sum(sizes.values()) > _MAX_BYTES:
        raise UsageError(
            f"--keep: expected files of at most {_MAX_BYTES >> 20} MiB, "
            f"got {sum(sizes.values()) >> 20} MiB",
            hint="--status shows them; --restore what need not stay",
        )
    parts: dict[str, list[bytes]] = {path: [] for path in sizes}
    container.read_files(list(sizes), lambda path, piece: parts[path].append(piece))
    return {path: b"".join(pieces) for path, pieces in parts.items()}


def refuse_unfit(changes: Iterable[Change]) -> None:
    """RecipeError that names every change which no recipe can say."""
    from minid.workbench.shell_lines import is_path, is_target

    wrong = []
    for change in changes:
        where, after = f"/{ascii(change.image_path)[1:-1]}", change.after
        if after is not None and after.kind not in _KINDS:
            wrong.append(f"{where}: expected a file, folder or link, got a {after.kind}")
        elif not is_path(f"/{change.image_path}"):
            wrong.append(f"{where}: expected a name that a recipe can hold, got that")
        elif after is not None and after.kind == "symlink" and not is_target(after.target):
            wrong.append(f"{where}: expected a target that a recipe can hold, got another")
        elif after is not None and after.kind == "symlink" and (after.uid or after.gid):
            wrong.append(f"{where}: expected a link of root, got one of {after.uid}:{after.gid}")
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise RecipeError(
            "\n".join([*wrong[:_SHOWN], *more]),
            hint="nothing was written; --restore what need not stay, or use rootfs.commands",
        )


def plan_keep(
    changes: tuple[Change, ...],
    data: Mapping[str, bytes],
    recipe: Recipe,
    ground: Ground,
    *,
    tree: Tree,
    blobs: Blobs,
) -> Kept:
    """The recipe with lines that make `changes` of `tree`, `data` being the new bytes.

    RecipeError, naming them, where there are changes that no line can say.
    """
    refuse_unfit(changes)
    read = read_content(blobs)
    text = recipe.file.read_text(encoding="utf-8")
    draft = Draft(changes, data, recipe, text, ground.paths(), Rootfs(tree.entries), read)
    plain: set[str] = set()
    folders: set[str] = set()
    untouched = _lay(text, {}, draft, ground)
    if recipe.rootfs.commands:
        _refuse_commanded(changes, tree, untouched)
    while True:
        written = write_lines(draft, plain, folders)
        after = add_lines(written.text, written.lines)
        made = _lay(after, written.files, draft, ground)
        said = said_changes(changes, written.left_out)
        wrong = differing(made, said, data, read, written.left_out)
        wrong |= _strays(untouched, made, draft, wrong)
        # Folders that came with a line that went, and shall stay.
        lost = {path for path in wrong if _is_lost(path, untouched, made)} - folders
        if lost:
            folders |= lost
            continue
        fresh = {path for path in wrong if path not in plain}
        if not wrong:
            return Kept(recipe.file, recipe.folder, text, after, written.files, written.left_out)
        if not fresh:
            told = "\n".join(f"/{path}: {why}" for path, why in sorted(wrong.items())[:_SHOWN])
            raise RecipeError(told, hint="nothing was written; these are no lines of a recipe")
        plain |= fresh


def _refuse_commanded(changes: Iterable[Change], tree: Tree, untouched: Tree) -> None:
    """RecipeError for changes of what the recipe's commands made: those run after all lines."""
    was, now = _facts_of(untouched), _facts_of(tree)
    wrong = [c.image_path for c in changes if was.get(c.image_path) != now.get(c.image_path)]
    if wrong:
        told = [f"/{path}: expected what lines lay, got what commands made" for path in wrong]
        raise RecipeError(
            "\n".join(told[:_SHOWN]), hint="nothing was written; mend rootfs.commands by hand"
        )


def said_changes(changes: Iterable[Change], left_out: Mapping[str, str]) -> tuple[Change, ...]:
    """The changes without those that are left out altogether."""
    return tuple(c for c in changes if c.image_path == SHADOW or c.image_path not in left_out)


def _lay(text: str, files: Mapping[str, bytes], draft: Draft, ground: Ground) -> Tree:
    """The root that a build of this recipe would give, but for its commands."""
    from minid.recipe_reader import parse_recipe
    from minid.steps.compose import compose_rootfs

    recipe = parse_recipe(text.encode(), draft.recipe.file)
    try:
        return compose_rootfs(
            recipe,
            base=ground.base,
            payload=ground.payload,
            files=_own_files(recipe, files),
            read=draft.read,
            mtime=0,
        ).tree
    except ComposeError as error:
        raise RecipeError(error.message, hint="nothing was written") from error


def _is_lost(path: str, before: Tree, after: Tree) -> bool:
    was = Rootfs(before.entries).get(path)
    return was is not None and was.kind == "directory" and Rootfs(after.entries).get(path) is None


def _strays(before: Tree, after: Tree, draft: Draft, accepted: Iterable[str]) -> dict[str, str]:
    """What lines changed besides what was to be changed."""
    expected = {*accepted, *(change.image_path for change in draft.changes)}
    was, now = (_facts_of(tree) for tree in (before, after))
    return {
        path: "expected as before"
        for path in was.keys() | now.keys()
        if path not in expected and was.get(path) != now.get(path)
    }


def _facts_of(tree: Tree) -> dict[str, tuple[object, ...]]:
    root = Rootfs(tree.entries)
    found: dict[str, tuple[object, ...]] = {}
    for entry in tree.entries:
        item = root.file(entry.image_path) or entry
        digest = item.content.digest if item.content else None
        found[entry.image_path] = (item.kind, item.mode, item.uid, item.gid, item.target, digest)
    return found


def _own_files(recipe: Recipe, fresh: Mapping[str, bytes]) -> dict[str, bytes]:
    names = [item.source for item in recipe.rootfs.files if item.source is not None]
    return {n: fresh[n] if n in fresh else (recipe.folder / n).read_bytes() for n in names}


def differing(
    tree: Tree,
    changes: Iterable[Change],
    data: Mapping[str, bytes],
    read: Read,
    accepted: Iterable[str] = (),
) -> dict[str, str]:
    """The changed paths at which `tree` is not what the workbench had, each with what differs.

    `accepted` are paths whose bytes may differ in dates.
    """
    from minid.formats.changes_accounts import same_but_dates

    root, found = Rootfs(tree.entries), {}
    for change in changes:
        path, after = change.image_path, change.after
        now = root.file(path) or root.get(path)
        if after is None:
            if now is not None:
                found[path] = f"expected nothing there, got a {now.kind} that other lines make"
            continue
        if now is None or now.kind != after.kind:
            found[path] = f"expected a {after.kind}, got {now.kind if now else 'nothing'}"
            continue
        if now.kind == "symlink":
            if now.target != after.target:
                found[path] = f"expected a link to {after.target!r}, got one to {now.target!r}"
            continue
        if (now.mode, now.uid, now.gid) != (after.mode, after.uid, after.gid):
            found[path] = "expected another owner or mode"
        elif dict(now.xattrs).get("security.capability", b"") != after.capability:
            found[path] = "expected other capabilities"
        elif now.content is not None and now.content.digest != Digest.of(data[path]):
            texts = [item.decode("utf-8", "replace") for item in (read(now.content), data[path])]
            if path not in accepted or not same_but_dates(*texts):
                found[path] = "expected other bytes"
    return found


def write_kept(kept: Kept) -> Callable[[], None]:
    """Write the files and then the recipe, each whole; what puts everything back as it was."""
    from minid.host.files import write_file

    before = {name: _bytes_of(kept.folder / name) for name in kept.files}

    def undo() -> None:
        write_file(kept.file.resolve(), kept.before.encode(), mode=mode)
        for name, data in before.items():
            if data is None:
                (kept.folder / name).unlink(missing_ok=True)
            else:
                write_file(kept.folder / name, data)

    mode = kept.file.stat().st_mode & 0o777
    try:
        for name, data in kept.files.items():
            (kept.folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(kept.folder / name, data)
        write_file(kept.file.resolve(), kept.after.encode(), mode=mode)
    except BaseException:
        undo()
        raise
    return undo


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
