"""Root file systems: what is laid where, in which layer, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minid.errors import ComposeError
from minid.formats.digest import Digest
from minid.formats.rootfs import Rootfs as Root
from minid.formats.rootfs import overlay_trees
from minid.formats.tree import sort_entries
from minid.model import Composed, Content, Entry, Tree
from minid.recipe import Build, Directory, Edit, File, Recipe, Rootfs, Source, User
from minid.steps.compose import compose_rootfs

MTIME = 1700000000


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, "directory", mode, MTIME)


def file(path: str, data: bytes, mode: int = 0o644, mtime: int = MTIME) -> Entry:
    return Entry(path, "file", mode, mtime, content=Content.inline(data))


def link(path: str, target: str) -> Entry:
    return Entry(path, "hardlink", 0o644, MTIME, target=target)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, "symlink", 0o777, MTIME, target=target)


def tree(*entries: Entry) -> Tree:
    return Tree(sort_entries(entries))


BASE = tree(
    folder("etc"),
    file("etc/motd", b"hello\n"),
    file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
    folder("bin"),
    file("bin/sh", b"shell", 0o755),
)
SERVER = file("usr/bin/web", b"server", 0o755)
PAYLOAD = tree(folder("usr"), folder("usr/bin"), SERVER)


def read(content: Content) -> bytes:
    assert content.data is not None
    return content.data


def lay(
    base: Tree = BASE,
    payload: Tree = PAYLOAD,
    sources: dict[str, bytes] | None = None,
    **rootfs: Any,
) -> Composed:
    made = Recipe(
        name="web",
        file=Path("web.toml"),
        folder=Path("web"),
        kind="image",
        source=Source("1.2", "https://upstream.test/web.tar.gz", Digest.of(b"")),
        build=Build(),
        rootfs=Rootfs(**rootfs),
    )
    return compose_rootfs(
        made, base=base, payload=payload, files=sources or {}, read=read, mtime=MTIME
    )


def paths(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.image_path for entry in entries if entry.kind != "directory"]


def data_at(tree: Tree, path: str) -> bytes:
    """What a program that opens the path reads."""
    found = Root(tree.entries).file(path)
    assert found is not None
    assert found.content is not None
    return read(found.content)


def stacked(base: Tree, composed: Composed) -> Tree:
    """What an engine shows of the image that the line makes of `composed`."""
    if composed.flatten:
        return overlay_trees(composed.tree)
    return overlay_trees(base, Tree(composed.payload), Tree(composed.own))


def assert_links_stand(entries: tuple[Entry, ...]) -> None:
    """A layer unpacks alone: each link's file is in it, and before it."""
    seen: dict[str, str] = {}
    for entry in entries:
        seen[entry.image_path] = entry.kind
        if entry.kind == "hardlink":
            assert seen.get(entry.target) == "file", entry


def test_what_the_base_has_is_left_out() -> None:
    same = file("etc/motd", b"hello\n", mtime=5)
    composed = lay(payload=tree(folder("etc"), same, file("etc/web", b"x")))
    assert paths(composed.payload) == ["etc/web"]
    assert composed.own == ()
    assert not composed.flatten


@pytest.mark.parametrize(
    "other",
    [
        file("etc/motd", b"hallo\n"),
        file("etc/motd", b"hello\n", 0o600),
        replace(file("etc/motd", b"hello\n"), uid=5),
        replace(file("etc/motd", b"hello\n"), xattrs=(("user.a", b"b"),)),
        symlink("etc/motd", "issue"),
    ],
)
def test_what_the_base_has_otherwise_is_laid(other: Entry) -> None:
    composed = lay(payload=tree(folder("etc"), other))
    assert paths(composed.payload) == ["etc/motd"]
    assert Root(composed.tree.entries).get("etc/motd") == other


def test_a_link_whose_file_the_base_has_becomes_a_file() -> None:
    payload = tree(folder("bin"), file("bin/sh", b"shell", 0o755), link("bin/tool", "bin/sh"))
    composed = lay(payload=payload)
    assert paths(composed.payload) == ["bin/tool"]
    assert_links_stand(composed.payload)
    assert data_at(Tree(composed.payload), "bin/tool") == b"shell"


def test_whiteouts_are_refused() -> None:
    for name in (".wh.sh", ".wh..wh..opq"):
        with pytest.raises(ComposeError, match="whiteout"):
            lay(payload=tree(folder("bin"), file(f"bin/{name}", b"")))


def test_layers_have_their_folders() -> None:
    composed = lay(directories=(Directory("/srv/web", mode=0o700),))
    assert [entry.image_path for entry in composed.payload] == ["usr", "usr/bin", "usr/bin/web"]
    assert [(entry.image_path, entry.mode) for entry in composed.own] == [
        ("srv", 0o755),
        ("srv/web", 0o700),
    ]


def test_own_files_and_their_owners() -> None:
    composed = lay(
        sources={"web.conf": b"{version}"},
        users=(User("web"),),
        files=(
            File("/etc/version", content="{version}"),
            File("/etc/web.conf", source="web.conf", owner="web", group="root", mode=0o600),
        ),
    )
    root = Root(composed.tree.entries)
    assert data_at(composed.tree, "etc/version") == b"1.2"
    assert data_at(composed.tree, "etc/web.conf") == b"{version}"
    conf = root.get("etc/web.conf")
    assert conf is not None
    assert (conf.uid, conf.gid, conf.mode) == (100, 0, 0o600)
    assert data_at(composed.tree, "etc/passwd").startswith(b"root:x:0:0::/root:/bin/sh\nweb:x:100:")
    shadow = root.get("etc/shadow")
    assert shadow is not None
    assert shadow.mode == 0o600


@pytest.mark.parametrize(
    ("key", "item", "message"),
    [
        ("directories", Directory("/srv", owner="ghost"), r"directories\[0\]: expected a user"),
        ("directories", Directory("/srv", group="ghost"), r"directories\[0\]: expected a group"),
        ("files", File("/x", content="", owner="ghost"), r"files\[0\]: expected a user"),
    ],
)
def test_unknown_owners(key: str, item: object, message: str) -> None:
    with pytest.raises(ComposeError, match=message) as caught:
        lay(BASE, PAYLOAD, None, **{key: (item,)})
    assert "rootfs." in caught.value.hint
    assert str(caught.value).startswith("web.toml: rootfs.")


def test_numbers_need_no_account() -> None:
    composed = lay(directories=(Directory("/srv", owner="7", group="8"),))
    entry = Root(composed.tree.entries).get("srv")
    assert entry is not None
    assert (entry.uid, entry.gid) == (7, 8)


def test_an_edit_that_does_not_match() -> None:
    with pytest.raises(ComposeError) as caught:
        lay(edits=(Edit("/etc/motd", replace="hallo", with_="x"),))
    assert str(caught.value) == (
        "web.toml: rootfs.edits[0]: expected 1 of 'hallo' in /etc/motd, got 0"
    )
    assert caught.value.hint == "the closest line there is 'hello'"
    with pytest.raises(ComposeError, match="got 2") as caught:
        lay(edits=(Edit("/etc/motd", replace="l", with_="x"),))
    assert "upstream changed" in caught.value.hint
    assert data_at(lay(edits=(Edit("/etc/motd", replace="l", expect=2),)).tree, "etc/motd") == (
        b"heo\n"
    )


def test_edits_come_in_their_order_and_keep_mode_and_owner() -> None:
    base = tree(folder("etc"), replace(file("etc/motd", b"a\n", 0o640), uid=3, gid=4))
    composed = lay(
        base,
        edits=(
            Edit("/etc/motd", prepend="1\n", append="{version}\n"),
            Edit("/etc/motd", replace="1\na", with_="b"),
        ),
    )
    assert data_at(composed.tree, "etc/motd") == b"b\n1.2\n"
    entry = Root(composed.tree.entries).get("etc/motd")
    assert entry is not None
    assert (entry.mode, entry.uid, entry.gid) == (0o640, 3, 4)


def test_edits_follow_links_and_need_a_file() -> None:
    base = tree(folder("etc"), file("etc/real", b"a"), symlink("etc/name", "real"))
    composed = lay(base, edits=(Edit("/etc/name", append="b"),))
    assert data_at(composed.tree, "etc/real") == b"ab"
    assert paths(composed.own) == ["etc/real"]
    for path, found in (("/etc", "a directory"), ("/etc/none", "nothing")):
        with pytest.raises(ComposeError, match=f"got {found}"):
            lay(base, edits=(Edit(path, append="b"),))


# Three names of one file and something to remove, which flattens.
NAMES = (folder("d"), file("d/a", b"text"), link("d/b", "d/a"), link("d/c", "d/a"))
SPARE = (folder("s"), file("s/spare", b""))


@pytest.mark.parametrize("edited", ["d/a", "d/b", "d/c"])
@pytest.mark.parametrize("remove", [(), ("/s/spare",)])
@pytest.mark.parametrize("names_in", ["base", "payload"])
def test_an_edit_leaves_other_names_of_the_file(
    edited: str, remove: tuple[str, ...], names_in: str
) -> None:
    base = tree(*SPARE, *(NAMES if names_in == "base" else ()))
    payload = tree(*NAMES) if names_in == "payload" else Tree()
    composed = lay(base, payload, remove=remove, edits=(Edit(f"/{edited}", append="!"),))
    assert composed.flatten == bool(remove)
    for shown in (composed.tree, stacked(base, composed)):
        for name in ("d/a", "d/b", "d/c"):
            assert data_at(shown, name) == (b"text!" if name == edited else b"text"), name
        assert_links_stand(shown.entries)
    for layer in (composed.payload, composed.own, composed.tree.entries):
        assert_links_stand(layer)


def test_a_file_over_a_name_leaves_the_others() -> None:
    base = tree(*NAMES)
    composed = lay(base, Tree(), files=(File("/d/a", content="new"),))
    for shown in (composed.tree, stacked(base, composed)):
        assert [data_at(shown, f"d/{name}") for name in "abc"] == [b"new", b"text", b"text"]


def test_removing_from_the_base_flattens() -> None:
    composed = lay(remove=("/etc/motd",))
    assert composed.flatten
    assert Root(composed.tree.entries).get("etc/motd") is None
    assert data_at(composed.tree, "bin/sh") == b"shell"


def test_removing_from_the_payload_does_not() -> None:
    payload = tree(*PAYLOAD.entries, *NAMES)
    composed = lay(payload=payload, remove=("/d/a",))
    assert not composed.flatten
    assert paths(composed.payload) == ["d/b", "d/c", "usr/bin/web"]
    assert data_at(Tree(composed.payload), "d/c") == b"text"
    assert_links_stand(composed.payload)


def test_removing_nothing_is_an_error() -> None:
    with pytest.raises(ComposeError, match=r"remove\[0\].*'/etc/none\*', which matches nothing"):
        lay(remove=("/etc/none*",))


@pytest.mark.parametrize(
    ("base", "payload"),
    [
        (tree(folder("usr")), tree(file("usr", b""))),
        (tree(file("usr", b"")), tree(folder("usr"))),
        (tree(symlink("usr", "other"), folder("other")), PAYLOAD),
    ],
)
def test_folders_and_files_do_not_take_each_others_place(base: Tree, payload: Tree) -> None:
    with pytest.raises(ComposeError, match="payload: /usr"):
        lay(base, payload)


def test_links_of_the_recipe() -> None:
    composed = lay(links=(("/var/run", "../run"), ("/bin/web", "/usr/bin/web")))
    root = Root(composed.tree.entries)
    assert root.resolve("bin/web", follow_last=True) == "usr/bin/web"
    made = root.get("var/run")
    assert made is not None
    assert (made.kind, made.target) == ("symlink", "../run")
