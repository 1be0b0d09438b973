"""Lay a root file system: the base below, the payload, then what the recipe itself adds.

Pure: trees in, trees out. Nothing is written to disk here, and nothing is ever chowned; a layer
later takes owners and modes from the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from minid.errors import ComposeError
from minid.formats.accounts import Accounts, add_accounts
from minid.formats.droplist import match_paths
from minid.formats.rootfs import Rootfs as Root
from minid.formats.rootfs import with_parents
from minid.model import Composed, Content, Entry, Tree
from minid.recipe import Directory, Edit, File, Recipe, expand

Read = Callable[[Content], bytes]


def compose_rootfs(
    recipe: Recipe,
    *,
    base: Tree,
    payload: Tree,
    files: Mapping[str, bytes],
    read: Read,
    mtime: int,
) -> Composed:
    """The root file system of `recipe`.

    `files` are the recipe's own files by the name that `rootfs.files[].source` gives. `mtime` is
    the release's time, and the time of everything made here. ComposeError names the recipe's key.
    """
    root = Root(base.entries)
    laid = _lay_payload(root, payload, mtime)
    own = _Own(recipe, root, read, mtime, files)
    removed = own.remove_paths()
    lower = _payload_layer(root, laid)
    own.add_accounts()
    own.add_directories()
    own.add_files()
    own.add_links()
    own.edit_files()
    base_paths = {entry.image_path for entry in base.entries}
    return Composed(
        tree=root.tree(),
        payload=with_parents(lower, root),
        own=with_parents(own.layer.values(), root),
        flatten=bool(removed & base_paths),
        keys={path: tuple(dict.fromkeys(keys)) for path, keys in own.keys.items()},
    )


def _lay_payload(root: Root, payload: Tree, mtime: int) -> list[str]:
    """Put the payload on the base; the paths that it takes, without those where the base already
    has the same, byte for byte."""
    laid: dict[str, None] = {}
    files = Root(payload.entries)
    for entry in payload.entries:
        name = entry.image_path.rpartition("/")[2]
        if name.startswith(".wh."):
            raise ComposeError(
                f"/{entry.image_path}: expected no whiteout name in a payload, got {name!r}"
            )
        below = root.file(entry.image_path) or root.get(entry.image_path)
        if below is not None and _same(below, files.file(entry.image_path) or entry):
            continue
        for added in root.put(entry, mtime, "payload: "):
            laid[added.image_path] = None
    return list(laid)


def _same(below: Entry, above: Entry) -> bool:
    if below.kind != above.kind:
        return False
    if below.kind == "directory":
        return True
    if below.kind == "symlink":
        return below.target == above.target
    if below.content is None or above.content is None:
        return False
    return below.content.digest == above.content.digest and all(
        getattr(below, name) == getattr(above, name) for name in ("mode", "uid", "gid", "xattrs")
    )


def _payload_layer(root: Root, laid: list[str]) -> list[Entry]:
    """What is left of the payload's own layer. Hard links work inside one layer only: one whose
    file is not there becomes a file."""
    layer = {path: entry for path in laid if (entry := root.get(path)) is not None}
    return [
        root.file(path) or entry
        if entry.kind == "hardlink" and entry.target not in layer
        else entry
        for path, entry in layer.items()
    ]


class _Own:
    """What the recipe adds by itself; `layer` collects it by path, `keys` what for."""

    def __init__(
        self, recipe: Recipe, root: Root, read: Read, mtime: int, files: Mapping[str, bytes]
    ) -> None:
        self.recipe = recipe
        self.root = root
        self.read = read
        self.mtime = mtime
        self.files = files
        self.layer: dict[str, Entry] = {}
        self.keys: dict[str, list[str]] = {}
        self.accounts = Accounts()

    def _where(self, key: str) -> str:
        return f"{self.recipe.file}: rootfs.{key}: "

    def _put(self, entry: Entry, key: str) -> None:
        for added in self.root.put(entry, self.mtime, self._where(key)):
            self.layer[added.image_path] = added
            self.keys.setdefault(added.image_path, []).append(key)

    def _text(self, image_path: str) -> str:
        entry = self.root.file(image_path)
        if entry is None or entry.content is None:
            return ""
        return self.read(entry.content).decode("utf-8", "surrogateescape")

    def remove_paths(self) -> set[str]:
        """Take away what `rootfs.remove` names; a pattern that names nothing is an error."""
        removed: set[str] = set()
        for position, pattern in enumerate(self.recipe.rootfs.remove):
            paths = [entry.image_path for entry in self.root.tree().entries]
            matched = match_paths(pattern, paths)
            if not matched:
                raise ComposeError(
                    f"{self._where(f'remove[{position}]')}expected a path in the rootfs, "
                    f"got {pattern!r}, which matches nothing"
                )
            for path in matched:
                removed |= {entry.image_path for entry in self.root.remove(path)}
        return removed

    def add_accounts(self) -> None:
        """passwd, group and shadow, where the recipe has users or groups."""
        rootfs = self.recipe.rootfs
        base = Accounts(*(self._text(f"etc/{name}") for name in ("passwd", "group", "shadow")))
        self.accounts = add_accounts(base, rootfs.users, rootfs.groups)
        if not rootfs.users and not rootfs.groups:
            return
        for name, text, mode in (
            ("passwd", self.accounts.passwd, 0o644),
            ("group", self.accounts.group, 0o644),
            ("shadow", self.accounts.shadow, 0o600),
        ):
            content = Content.inline(text.encode("utf-8", "surrogateescape"))
            self._put(Entry(f"etc/{name}", "file", mode, self.mtime, content=content), "users")

    def _owner(self, owner: str, group: str, key: str) -> tuple[int, int]:
        uid = int(owner) if owner.isdigit() else self.accounts.uids.get(owner)
        if uid is None:
            raise ComposeError(
                f"{self._where(key)}expected a user of the rootfs, got {owner!r}",
                hint="add it to rootfs.users, or use a number",
            )
        if not group:
            return uid, self.accounts.primary_gids.get(owner, uid)
        gid = int(group) if group.isdigit() else self.accounts.gids.get(group)
        if gid is None:
            raise ComposeError(
                f"{self._where(key)}expected a group of the rootfs, got {group!r}",
                hint="add it to rootfs.groups, or use a number",
            )
        return uid, gid

    def _place(self, path: str) -> str:
        return self.root.resolve(path.strip("/"), follow_last=False)

    def add_directories(self) -> None:
        """`rootfs.directories`."""
        for position, item in enumerate(self.recipe.rootfs.directories):
            self._add_directory(item, f"directories[{position}]")

    def _add_directory(self, item: Directory, key: str) -> None:
        uid, gid = self._owner(item.owner, item.group, key)
        path = self.root.resolve(item.path.strip("/"), follow_last=True)
        self._put(Entry(path, "directory", item.mode, self.mtime, uid=uid, gid=gid), key)

    def add_files(self) -> None:
        """`rootfs.files`."""
        for position, item in enumerate(self.recipe.rootfs.files):
            self._add_file(item, f"files[{position}]")

    def _add_file(self, item: File, key: str) -> None:
        uid, gid = self._owner(item.owner, item.group, key)
        if item.source is not None:
            data = self.files[item.source]
        else:
            data = expand(item.content or "", self.recipe.source.version).encode()
        self._put(
            Entry(
                self._place(item.path),
                "file",
                item.mode,
                self.mtime,
                uid=uid,
                gid=gid,
                content=Content.inline(data),
            ),
            key,
        )

    def add_links(self) -> None:
        """`rootfs.links`."""
        for path, target in self.recipe.rootfs.links:
            entry = Entry(self._place(path), "symlink", 0o777, self.mtime, target=target)
            self._put(entry, f'links."{path}"')

    def edit_files(self) -> None:
        """`rootfs.edits`, in their order, each on the outcome of the one before."""
        for position, edit in enumerate(self.recipe.rootfs.edits):
            self._edit_file(edit, f"edits[{position}]")

    def _edit_file(self, edit: Edit, key: str) -> None:
        path = self.root.resolve(edit.path.strip("/"), follow_last=True)
        entry = self.root.file(path) or self.root.get(path)
        if entry is None or entry.content is None:
            raise ComposeError(
                f"{self._where(key)}expected a file at {edit.path}, "
                f"got {'nothing' if entry is None else f'a {entry.kind}'}"
            )
        data = self._apply(edit, self.read(entry.content), key)
        self._put(replace(entry, content=Content.inline(data), mtime=self.mtime), key)

    def _apply(self, edit: Edit, data: bytes, key: str) -> bytes:
        version = self.recipe.source.version
        if edit.replace is not None:
            wanted = edit.replace.encode()
            found = data.count(wanted)
            if found != edit.expect:
                raise ComposeError(
                    f"{self._where(key)}expected {edit.expect} of {edit.replace!r} in "
                    f"{edit.path}, got {found}",
                    hint=_closest_line(edit.replace, data)
                    or "upstream changed the file; look at it and mend the edit",
                )
            data = data.replace(wanted, expand(edit.with_, version).encode())
        prepend, append = expand(edit.prepend, version), expand(edit.append, version)
        return prepend.encode() + data + append.encode()


def _closest_line(wanted: str, data: bytes) -> str:
    import difflib

    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    close = difflib.get_close_matches(wanted.strip(), lines[:5000], n=1, cutoff=0.5)
    return f"the closest line there is {close[0]!r}" if close else ""
