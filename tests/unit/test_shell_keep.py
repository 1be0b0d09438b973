"""A difference as recipe lines: whatever is said, composing gives it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from minid.errors import MinidError, RecipeError
from minid.formats.changes import Seen, files_to_read, find_changes
from minid.formats.digest import Digest
from minid.formats.rootfs import Rootfs
from minid.formats.tree import parents
from minid.model import Entry, Tree
from minid.recipe_reader import parse_recipe
from minid.steps.compose import compose_rootfs
from minid.store.blobs import Blobs
from minid.store.contents import read_content, store_tree
from minid.workbench.shell_keep import Ground, Kept, plan_keep
from tests.support.tiny_image import file, folder, link

HEAD = """\
summary = "t"
[source]
version = "1"
url = "https://192.0.2.1/r-1.tar.gz"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
[build]
steps = ["make"]
"""
LINES = """
[rootfs]
base = "scratch"
files = [{ path = "/own/x", content = "1\\n2\\n" }, { path = "/etc/motd", source = "motd" }]
directories = [{ path = "/own/d", mode = "0700" }]
links = { "/own/l" = "x" }

[[rootfs.edits]]
path = "/etc/conf"
append = "more\\n"
"""
PAYLOAD = [
    folder("bin"),
    file("bin/a[b", b"\x7fELF", 0o755),
    link("bin/sh", "a[b"),
    folder("etc"),
    file("etc/conf", b"one\ntwo\nthree\n"),
    file("etc/group", b"root:x:0:\n"),
    file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
    file("etc/shadow", b"root:!::0:99999:7:::\n", 0o600),
    folder("lib"),
    folder("lib/deep"),
    file("lib/deep/x*y", b"star\n"),
]


@dataclass
class Case:
    """A recipe, what it gives, and a root to change."""

    place: Path
    now: dict[str, Seen] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.blobs = Blobs(self.place / "store")
        self.blobs.prepare()
        self.read = read_content(self.blobs)
        (self.place / "r").mkdir()
        (self.place / "r" / "motd").write_bytes(b"hello\n")
        self.file = self.place / "r.toml"
        self.file.write_text(HEAD + LINES)
        self.recipe = parse_recipe(self.file.read_bytes(), self.file)
        self.ground = Ground(Tree(), store_tree(PAYLOAD, self.read, self.blobs)[1])
        composed = self.compose(self.file.read_text(), {"motd": b"hello\n"})
        self.tree = store_tree(composed.entries, self.read, self.blobs)[1]
        for entry in self.tree.entries:
            data = self.read(entry.content) if entry.content else b""
            self.put(entry.image_path, entry.kind, data, entry.mode, entry.uid, entry.target)
            self.now[entry.image_path] = replace(self.now[entry.image_path], own=False)

    def compose(self, text: str, files: dict[str, bytes]) -> Tree:
        recipe = parse_recipe(text.encode(), self.file)
        return compose_rootfs(
            recipe,
            base=self.ground.base,
            payload=self.ground.payload,
            files=files,
            read=self.read,
            mtime=0,
        ).tree

    def put(
        self,
        path: str,
        kind: str = "file",
        data: bytes = b"",
        mode: int = 0o644,
        uid: int = 0,
        target: str = "",
    ) -> None:
        self.now[path] = Seen(path, kind, mode, uid, uid, 0, len(data), target)
        self.data[path] = data

    def drop(self, path: str) -> None:
        for one in [p for p in self.now if p == path or p.startswith(path + "/")]:
            del self.now[one]

    def keep(self) -> Kept:
        """The plan for what differs now, composed once more and compared here."""
        seen = list(self.now.values())
        wanted = files_to_read(self.tree, seen)
        changes = find_changes(self.tree, seen, {p: Digest.of(self.data[p]) for p in wanted})
        files = {c.image_path for c in changes if c.after and c.after.kind == "file"}
        new = {path: self.data[path] for path in files}
        kept = plan_keep(changes, new, self.recipe, self.ground, tree=self.tree, blobs=self.blobs)
        made = Rootfs(self.compose(kept.after, {"motd": b"hello\n", **kept.files}).entries)
        expected = {p: one for p, one in self.now.items() if p not in kept.left_out}
        for path, one in expected.items():
            found: Entry | None = made.get(path)
            assert found is not None, path
            assert (found.kind, found.uid) == (one.kind, one.uid), path
            assert found.kind == "symlink" or found.mode == one.mode, path
            assert not found.content or self.read(found.content) == self.data[path], path
        assert {entry.image_path for entry in made.tree().entries} <= {*self.now}
        return kept


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_an_edit_stays_beside_those_that_are_there(case: Case) -> None:
    case.put("etc/conf", data=b"one\n2\nthree\nmore\n")
    text = case.keep().after
    assert 'append = "more\\n"' in text and 'replace = "two"' in text


def test_a_file_of_the_recipes_folder_is_written_there(case: Case) -> None:
    case.put("etc/motd", data=b"good day\n")
    kept = case.keep()
    assert kept.files == {"motd": b"good day\n"} and kept.after == kept.before


def test_what_lines_made_goes_with_the_lines(case: Case) -> None:
    for path in ("own/x", "own/l", "own/d"):
        case.drop(path)
    text = case.keep().after
    assert "remove" not in text and '"/own/x"' not in text
    assert '{ path = "/own" }' in text  # it came with them, and is still there


def test_names_that_are_patterns(case: Case) -> None:
    case.drop("lib/deep/x*y")
    case.drop("bin/a[b")
    case.drop("bin/sh")
    assert "/lib/deep/x[*]y" in case.keep().after


def test_placeholders_stay_what_they_are(case: Case) -> None:
    case.put("etc/version", data=b"{version}\n")
    assert case.keep().files == {"version": b"{version}\n"}


def test_users_and_their_dates(case: Case) -> None:
    case.put("etc/passwd", data=case.data["etc/passwd"] + b"bob:x:7:7::/:/bin/sh\n")
    case.put("etc/group", data=case.data["etc/group"] + b"bob:x:7:\n")
    shadow = case.data["etc/shadow"] + b"bob:!:20000:0:99999:7:::\n"
    case.put("etc/shadow", data=shadow, mode=0o600)
    case.put("etc/passwd-", data=b"old")
    case.put("srv", "directory", mode=0o755, uid=7)
    kept = case.keep()
    assert "users = [" in kept.after and 'owner = "bob"' in kept.after
    assert set(kept.left_out) == {"etc/passwd-", "etc/shadow"}


def test_backups_are_left_out_whatever_came_of_the_users(case: Case) -> None:
    lines = case.data["etc/passwd"].splitlines(keepends=True)
    case.put("etc/passwd", data=b"".join(lines[:-1]))  # deluser, of whom no line is made
    case.put("etc/passwd-", data=case.data["etc/passwd"])
    kept = case.keep()
    assert set(kept.left_out) == {"etc/passwd-"}
    assert "passwd-" not in kept.after


def test_a_user_without_a_group_is_an_edit(case: Case) -> None:
    case.put("etc/passwd", data=case.data["etc/passwd"] + b"bob:x:7:0::/:/bin/sh\n")
    text = case.keep().after
    assert "users" not in text and 'append = "bob:x:7:0::/:/bin/sh\\n"' in text


@pytest.mark.parametrize(
    ("path", "kind", "uid", "text"),
    [
        ("p", "fifo", 0, "/p: expected a file, folder or link, got a fifo"),
        ("a\x1bb", "file", 0, r"/a\x1bb: expected a name that a recipe can hold"),
        ("a\udcff", "file", 0, r"/a\udcff: expected a name that a recipe can hold"),
        ("l", "symlink", 5, "/l: expected a link of root, got one of 5:5"),
        ("l", "symlink", -1, "/l: expected a target that a recipe can hold"),
    ],
)
def test_what_no_line_says(case: Case, path: str, kind: str, uid: int, text: str) -> None:
    case.put(path, kind, uid=max(uid, 0), target="x" if uid >= 0 else "\x1b")
    with pytest.raises(RecipeError, match=text.replace("\\", "\\\\").replace("[", "\\[")):
        case.keep()


def test_capabilities_are_no_line(case: Case) -> None:
    case.put("own/cap")
    case.now["own/cap"] = replace(case.now["own/cap"], capability=b"\1")
    with pytest.raises(RecipeError, match="/own/cap: expected other capabilities"):
        case.keep()


NAMES = ("a", "etc", "lib", "own", "x*y", "q?", "ü", "sp ace", "-r", "it's", '"q"', "a\\b", "conf")


def change(case: Case, chance: random.Random) -> None:
    """Do something to the root."""
    known = sorted(case.now)
    path = chance.choice(known)
    match chance.choice("adddmmek"):
        case "a":
            path = "/".join(chance.choice(NAMES) for _ in range(chance.randint(1, 3)))
            above = parents(path)
            if path in case.now or any(case.now.get(p, Seen(p, "directory", 0, 0, 0)).kind !=
                                       "directory" for p in above):  # fmt: skip
                return
            for parent in above:
                if parent not in case.now:
                    case.put(parent, "directory", mode=0o755)
            kind = chance.choice(("file", "directory", "symlink"))
            data = chance.choice((b"new\n", b"{version}", b"\xff\0", b"x" * 3000))
            uid = 0 if kind == "symlink" else chance.choice((0, 77))
            case.put(path, kind, data if kind == "file" else b"", 0o4755, uid, "../t")
        case "d":
            case.drop(path)
        case "m" if case.now[path].kind != "symlink":
            case.now[path] = replace(case.now[path], mode=chance.choice((0o600, 0o2755)))
        case "e" if case.now[path].kind == "file":
            lines = case.data[path].decode("latin1").splitlines(keepends=True)
            lines.insert(chance.randint(0, len(lines)), chance.choice(("new\n", "{major}\n", "\1")))
            old = case.now[path]
            case.put(path, "file", "".join(lines).encode("latin1"), old.mode, old.uid)
        case "k":
            was = case.now[path].kind
            case.drop(path)
            kind = "file" if was == "directory" else "directory"
            case.put(path, kind, b"k\n" if kind == "file" else b"", 0o755)


def test_whatever_is_said_is_composed(tmp_path: Path) -> None:
    chance, said = random.Random(11), 0
    for number in range(80):
        (tmp_path / str(number)).mkdir()
        case = Case(tmp_path / str(number))
        for _ in range(chance.randint(1, 6)):
            change(case, chance)
        try:
            case.keep()
            said += 1
        except MinidError as error:
            assert "/" in error.message
    assert said > 50
