"""The root that a probed program ran on, and what the words of a call mean there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from minid.errors import ComposeError
from minid.formats.accounts import Accounts
from minid.formats.probe import Event, Finding
from minid.formats.recipe_lines import RecipeLines
from minid.formats.rootfs import Rootfs
from minid.formats.values import IMAGE_PATH_PATTERN
from minid.recipe import Directory, Group, User

SHARED = ("/tmp", "/var/tmp")  # noqa: S108 (paths of an image)
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True)
class Ground:
    """What the program ran on: the root, its accounts, and `head`, which gives a file's first bytes
    (empty for what is no file)."""

    root: Rootfs
    accounts: Accounts
    head: Callable[[str], bytes]

    def has(self, path: str) -> bool:
        """Whether the image has something at this absolute path, links followed."""
        place = self.place(path)
        return place == "" or (place is not None and self.root.get(place) is not None)

    def place(self, path: str, *, follow_last: bool = True) -> str | None:
        """The image path that an absolute path leads to; None for a loop of links."""
        try:
            return self.root.resolve(path.strip("/"), follow_last=follow_last)
        except ComposeError:
            return None


def find_unstartable(argv: tuple[str, ...], path: str, user: str, ground: Ground) -> list[Finding]:
    """What keeps the runtime from starting the program at all; `path` is the image's PATH."""
    found = []
    name, _, group = user.partition(":")
    if NAME.fullmatch(name) and name not in ground.accounts.uids:
        why = "image.user names it, /etc/passwd has none"
        found.append(Finding("user", name, why, lines=RecipeLines(users=(User(name),))))
    if NAME.fullmatch(group) and group != name and group not in ground.accounts.gids:
        why = "image.user names it, /etc/group has none"
        found.append(Finding("group", group, why, lines=RecipeLines(groups=(Group(group),))))
    program = argv[0] if argv else ""
    if program and not _is_startable(program, path, ground):
        folders = path.split(":")
        near = "/usr/sbin" if "/usr/sbin" in folders else next(iter(folders), "/usr/bin")
        lines = link_program(program, ground.root, near)
        where = "the command's program is not there" if "/" in program else f"not on PATH ({path})"
        found.append(Finding("program", program, where, lines=lines))
    return found


def _is_startable(program: str, path: str, ground: Ground) -> bool:
    if "/" in program:
        return ground.has(program)
    return any(ground.has(f"{folder}/{program}") for folder in path.split(":") if folder)


def link_program(wanted: str, root: Rootfs, folder: str) -> RecipeLines:
    """A link to the program of that name that lies elsewhere in the root; none where none does."""
    leaf = wanted.rpartition("/")[2]
    places = sorted(
        (
            entry.image_path
            for entry in root.tree().entries
            if entry.image_path.rpartition("/")[2] == leaf
            and entry.kind in ("file", "hardlink", "symlink")
            and entry.mode & 0o111
        ),
        key=lambda place: ("bin" not in place, place.count("/"), place),
    )
    link = wanted if "/" in wanted else f"{folder}/{leaf}"
    target = f"/{places[0]}" if places else ""
    if target == link or not (is_sound(target) and is_sound(link)):
        return RecipeLines()
    return RecipeLines(links=((link, target),))


def folder_lines(event: Event, path: str, ground: Ground) -> RecipeLines:
    if not is_sound(path):
        return RecipeLines()
    mode = 0o1777 if path in SHARED else 0o755
    owner = "root" if path in SHARED else _owner(event.uid, ground)
    return RecipeLines(directories=(Directory(path, owner=owner, mode=mode),))


def _owner(uid: int, ground: Ground) -> str:
    names = {number: name for name, number in ground.accounts.uids.items()}
    return names.get(uid, str(uid))


def role_of(path: str) -> str:
    """What a path's name says of its purpose."""
    words = path.lower()
    for role, pattern in (
        ("log folder", r"\.log$|/logs?(/|$)|[-_]log$"),
        ("temp folder", r"te?mp|/(client_body|body|proxy|fastcgi|uwsgi|scgi)(_|$)"),
        ("folder of the pid file", r"\.pid$"),
        ("folder of a lock", r"\.lock$|/locks?(/|$)"),
        ("folder of a socket", r"\.sock(et)?$"),
        ("cache folder", r"cache"),
    ):
        if re.search(pattern, words):
            return role
    return "folder"


def verb_of(event: Event) -> str:
    return {"stat": "looking at", "access": "looking at", "open": "opening", "mkdir": "making",
            "exec": "running", "chdir": "entering", "bind": "listening at"}.get(
                event.call, event.call)  # fmt: skip


def is_sound(path: str) -> bool:
    """Whether a recipe can name this path."""
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return len(path) < 4096 and re.fullmatch(IMAGE_PATH_PATTERN, path) is not None


def parent_of(path: str) -> str:
    """The folder that a path lies in."""
    return path.rpartition("/")[0] or "/"
