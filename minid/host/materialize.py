"""Write a tree of the store to a folder, as plain files of one owner."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from minid.model import Content, Tree


def write_tree(tree: Tree, folder: Path, read: Callable[[Content], bytes]) -> None:
    """Write `tree` into the empty `folder`, with the caller as owner.

    Owners of the entries are left out and folders stay passable: this is for programs that read
    files, not for root file systems. ValueError where an entry's folder is not a folder of the
    tree, so that nothing is written outside `folder` or through a symlink of the tree;
    FileExistsError where something is in the way.
    """
    folders = {""}
    for entry in tree.entries:
        parent, slash, name = entry.image_path.rpartition("/")
        if parent not in folders or (slash and not parent) or name in ("", ".", ".."):
            raise ValueError(f"{entry.image_path}: expected {parent!r} to be a folder of the tree")
        path = folder / entry.image_path
        if entry.kind == "directory":
            path.mkdir()
            path.chmod(entry.mode & 0o777 | 0o755)
            folders.add(entry.image_path)
        elif entry.kind == "symlink":
            path.symlink_to(entry.target)
        elif entry.kind == "hardlink":
            os.link(folder / entry.target, path, follow_symlinks=False)
        elif entry.content is not None:
            with path.open("xb") as file:
                file.write(read(entry.content))
            path.chmod(entry.mode & 0o777 | 0o444)
            os.utime(path, (entry.mtime, entry.mtime))
