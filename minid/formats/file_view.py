"""A file system as the closure sees it: looked up inside one root, never outside.

Pure: `FileView` is what `minid.host.view` implements over folders and trees. Paths are image
paths. The root itself is the empty path, and `..` at the root stays there, as in a chroot.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from minid.formats.elf_reading import Source

NodeKind = Literal["file", "directory", "symlink", "other"]

_MAX_LINKS = 40  # as many as the kernel follows
_MAX_STEPS = 20_000
_MAX_PATH = 4096


@dataclass(frozen=True, slots=True)
class Node:
    """What lies at a path, not followed. `target` is a symlink's text."""

    kind: NodeKind
    target: str = ""


class FileView(Protocol):
    """A root that can be looked into. None of these follows a symlink."""

    def nodes_at(self, image_path: str) -> tuple[Node, ...]:
        """What lies at the path: nothing, one node, or one for each layer that disagrees."""

    def names_in(self, image_path: str) -> Collection[str]:
        """The names in a folder; empty where there is no such folder."""

    def open(self, image_path: str) -> AbstractContextManager[Source]:
        """The bytes of a regular file; FileNotFoundError where there is none."""


def normalize(path: str, base: str = "") -> str:
    """An image path without `.`, `..` and doubled slashes; `base` is where a relative one starts.

    Textual: right only for paths whose folders are no symlinks.
    """
    done: list[str] = [] if path.startswith("/") else [p for p in base.split("/") if p]
    for part in path.split("/"):
        if part == "..":
            done = done[:-1]
        elif part and part != ".":
            done.append(part)
    return "/".join(done)


def join(folder: str, name: str) -> str:
    """`name` inside a folder, which may be the root."""
    return f"{folder}/{name}" if folder else name


def relative_target(link_path: str, image_path: str) -> str:
    """The text of a symlink at `link_path` that leads to `image_path`, relative."""
    here, there = link_path.split("/")[:-1], image_path.split("/")
    shared = 0
    while shared < min(len(here), len(there) - 1) and here[shared] == there[shared]:
        shared += 1
    return "/".join([".."] * (len(here) - shared) + there[shared:])


@dataclass(frozen=True, slots=True)
class Folder:
    """A real folder, and the symlinks that were walked on the way to it."""

    image_path: str
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file. `chain` are the paths from the name that was asked for to the file itself.

    All but the last are symlinks; the folders of all of them are real. `links` are the symlinks
    among the folders of the name that was asked for.
    """

    chain: tuple[str, ...]
    links: tuple[str, ...] = ()

    @property
    def image_path(self) -> str:
        """The file itself."""
        return self.chain[-1]


class Walker:
    """Lookups in one view that follow symlinks inside its root, remembered."""

    def __init__(self, view: FileView) -> None:
        self.view = view
        self._folders: dict[str, tuple[Folder, ...]] = {}

    def folders(self, path: str) -> tuple[Folder, ...]:
        """The real folders that a path leads to: more than one only where layers disagree."""
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = tuple(self._walk(path))
        return known

    def find_in(self, folder: str, name: str) -> list[Found]:
        """The regular files that `folder/name` leads to, `folder` being any path."""
        found = []
        for real in self.folders(folder):
            chain = self._follow(join(real.image_path, name))
            if chain is not None:
                found.append(Found(chain, real.links))
        return found

    def find(self, path: str) -> list[Found]:
        """The regular files that a path leads to."""
        folder, _, name = path.rstrip("/").rpartition("/")
        return self.find_in(folder, name) if name and name not in (".", "..") else []

    def _follow(self, image_path: str) -> tuple[str, ...] | None:
        chain = [image_path]
        while len(chain) <= _MAX_LINKS:
            nodes = self.view.nodes_at(chain[-1])
            if not nodes:
                return None
            if nodes[0].kind != "symlink":
                return tuple(chain) if nodes[0].kind == "file" else None
            following = self._step(chain[-1], nodes[0].target)
            if following is None:
                return None
            chain.append(following)
        return None

    def _step(self, link: str, target: str) -> str | None:
        """Where a symlink leads, with real folders; the file there may be a symlink again."""
        folder, _, name = target.rpartition("/")
        if not name or name in (".", ".."):
            return None
        if "/" not in target:
            return join(link.rpartition("/")[0], name)
        if not target.startswith("/"):
            folder = join(link.rpartition("/")[0], folder)
        for real in self.folders(folder):
            there = join(real.image_path, name)
            if self.view.nodes_at(there):
                return there
        return None

    def _walk(self, path: str) -> list[Folder]:
        if len(path) > _MAX_PATH or "\0" in path:
            return []
        found: dict[str, Folder] = {}
        todo: list[tuple[str, list[str], tuple[str, ...]]] = [("", path.split("/")[::-1], ())]
        for _ in range(_MAX_STEPS):
            if not todo:
                break
            done, rest, links = todo.pop()
            while rest and rest[-1] in ("", ".", ".."):
                done = done.rpartition("/")[0] if rest.pop() == ".." else done
            if not rest:
                found.setdefault(done, Folder(done, links))
                continue
            here = join(done, rest[-1])
            for node in reversed(self.view.nodes_at(here)):
                if node.kind == "directory":
                    todo.append((here, rest[:-1], links))
                elif node.kind == "symlink" and len(links) < _MAX_LINKS:
                    base = "" if node.target.startswith("/") else done
                    todo.append((base, rest[:-1] + node.target.split("/")[::-1], (*links, here)))
        return list(found.values())
