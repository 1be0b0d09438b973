"""The recipes in memory: what a change of the folder means, and for whom."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from minid.config import Config, EnvironmentSpec, Paths
from minid.daemon.catalogue import Catalogue, Change
from minid.daemon.catalogue_reading import Reading, read_recipe
from minid.formats.digest import Digest
from minid.recipe_lock import Lock

SHA = "ab" * 32
SOURCE = f"""\
[source]
version = "1.2.3"
url = "https://upstream.test/x-{{version}}.tar.gz"
sha256 = "{SHA}"
"""
BUILD = '[build]\nsteps = ["make"]\n'
CLOCK = 2e9  # long after every file here was written


class Shelf:
    """A folder of recipes and its catalogue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        config = Config(
            file=None,
            paths=Paths(recipes=folder, state=folder.parent / "state"),
            environments=(EnvironmentSpec("debian", "host"),),
        )
        self.config = config
        self.catalogue = Catalogue(config, clock=lambda: CLOCK)

    def write(self, name: str, text: str) -> str:
        (self.folder / f"{name}.toml").write_text(text)
        return name

    def image(self, name: str, base: str = "scratch", *needs: str, extra: str = "") -> str:
        build = f"{BUILD}needs = {list(needs)}\n"
        return self.write(name, f'{SOURCE}{build}[rootfs]\nbase = "{base}"\n{extra}')

    def library(self, name: str, *needs: str) -> str:
        return self.write(name, f"{SOURCE}{BUILD}needs = {list(needs)}\n")

    def patched(self, name: str, patch: str) -> str:
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "a.patch").write_text(patch)
        return self.write(name, f'{SOURCE}patches = ["a.patch"]\n{BUILD}[rootfs]\nbase="scratch"\n')

    def remove(self, name: str) -> str:
        (self.folder / f"{name}.toml").unlink()
        return name

    def update(self, *names: str) -> Change:
        """The change, which has to be the one that a whole scan would have seen."""
        change = self.catalogue.update(names)
        fresh = Catalogue(self.config, clock=lambda: CLOCK)
        fresh.scan()
        assert dict(fresh.recipes) == dict(self.catalogue.recipes)
        assert dict(fresh.problems) == dict(self.catalogue.problems)
        return change


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "recipes")


def test_scan_tells_what_is_there_and_then_nothing(shelf: Shelf) -> None:
    shelf.image("a")
    shelf.library("b")
    assert shelf.catalogue.scan() == Change(changed=("a", "b"))
    assert sorted(shelf.catalogue.recipes) == ["a", "b"]
    assert not shelf.catalogue.problems
    assert not shelf.catalogue.scan()


def test_a_comment_and_white_space_mean_nothing(shelf: Shelf) -> None:
    shelf.image("a")
    shelf.catalogue.scan()
    shelf.image("a", extra="\n# why\n\n")
    assert shelf.update("a") == Change()
    shelf.image("a", extra='[image]\ncmd = ["x"]\n')
    assert shelf.update("a") == Change(changed=("a",))


def test_bytes_of_a_patch_mean_something(shelf: Shelf) -> None:
    shelf.patched("a", "one")
    shelf.catalogue.scan()
    shelf.patched("a", "one")
    assert shelf.update("a") == Change()
    shelf.patched("a", "two")
    assert shelf.update("a") == Change(changed=("a",))
    shelf.patched("a", "six")  # as long as before
    assert shelf.catalogue.scan() == Change(changed=("a",))


def test_a_scan_reads_only_what_may_differ(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def spy(file: Path, now: float) -> Reading | None:
        read.append(file.stem)
        return read_recipe(file, now)

    monkeypatch.setattr("minid.daemon.catalogue.read_recipe", spy)
    file = shelf.folder / f"{shelf.image('a', extra='#  ')}.toml"
    shelf.image("b")
    shelf.catalogue.scan()
    status = file.stat()
    file.write_text(file.read_text().replace("#  ", "[x]"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shelf.catalogue.scan() == Change(broken=("a",))
    assert read == ["a", "b", "a"]
    shelf.catalogue.scan()
    assert read == ["a", "b", "a", "a"]  # what is broken may be mended by other files


def test_files_of_this_very_moment_are_read_again(shelf: Shelf) -> None:
    catalogue = Catalogue(shelf.config, clock=time.time)
    file = shelf.folder / f"{shelf.image('a', extra='# 1')}.toml"
    catalogue.scan()
    shelf.image("a", extra="[x]")  # as many bytes, perhaps within one tick
    os.utime(file, ns=(1, 1))
    assert catalogue.scan().broken == ("a",)


def test_broken_is_not_built_and_mended_is_as_before(shelf: Shelf) -> None:
    shelf.image("a")
    shelf.catalogue.scan()
    shelf.write("a", "[source")
    change = shelf.update("a")
    assert change == Change(broken=("a",))
    assert "a" not in shelf.catalogue.recipes
    assert "a.toml:1: expected valid TOML" in shelf.catalogue.problems["a"]
    assert not shelf.catalogue.sound("a")
    assert shelf.update("a") == Change()  # the same problem is no news
    shelf.image("a")
    assert shelf.update("a") == Change(mended=("a",))
    shelf.write("a", "[source")
    shelf.update("a")
    shelf.image("a", extra='[image]\ncmd = ["x"]\n')
    assert shelf.update("a") == Change(changed=("a",), mended=("a",))


def test_a_missing_patch_breaks_until_it_is_there(shelf: Shelf) -> None:
    shelf.patched("a", "one")
    patch = shelf.folder / "a" / "a.patch"
    patch.unlink()
    assert shelf.catalogue.scan().broken == ("a",)
    assert "source.patches[0]" in shelf.catalogue.problems["a"]
    patch.write_text("one")
    assert shelf.catalogue.scan() == Change(changed=("a",), mended=("a",))


def test_removed_and_made_again(shelf: Shelf) -> None:
    shelf.image("a")
    shelf.catalogue.scan()
    shelf.remove("a")
    assert shelf.update("a") == Change(removed=("a",))
    assert not shelf.catalogue.recipes
    assert shelf.update("a") == Change()
    shelf.image("a")
    assert shelf.update("a") == Change(changed=("a",))


def test_a_broken_file_that_goes_leaves_no_problem(shelf: Shelf) -> None:
    shelf.write("a", "[")
    shelf.catalogue.scan()
    shelf.remove("a")
    assert shelf.update("a") == Change(removed=("a",))
    assert not shelf.catalogue.problems


def test_what_stands_on_a_broken_recipe_is_not_sound(shelf: Shelf) -> None:
    shelf.library("zlib")
    shelf.image("base")
    shelf.image("app", "base", "zlib")
    shelf.image("other")
    shelf.catalogue.scan()
    assert all(shelf.catalogue.sound(name) for name in shelf.catalogue.recipes)
    shelf.write("zlib", "[")
    shelf.update("zlib")
    sound = {name for name in shelf.catalogue.recipes if shelf.catalogue.sound(name)}
    assert sound == {"base", "other"}
    assert set(shelf.catalogue.problems) == {"zlib"}  # the others have none of their own
    assert not shelf.catalogue.sound("zlib")
    assert not shelf.catalogue.sound("nobody")


def test_a_base_that_goes_comes_or_changes_kind(shelf: Shelf) -> None:
    shelf.image("base")
    shelf.image("app", "base")
    shelf.catalogue.scan()
    shelf.remove("base")
    assert shelf.update("base") == Change(removed=("base",), broken=("app",))
    assert "rootfs.base" in shelf.catalogue.problems["app"]
    shelf.library("base")
    assert shelf.update("base") == Change(changed=("base",), broken=("app",))
    shelf.image("base")
    assert shelf.update("base") == Change(changed=("base",), mended=("app",))


def test_cycles_come_and_go(shelf: Shelf) -> None:
    shelf.library("a")
    shelf.library("b", "a")
    shelf.library("c", "b")
    shelf.catalogue.scan()
    shelf.library("a", "c")
    assert shelf.update("a") == Change(changed=("a",), broken=("a",))
    assert "a → c → b → a" in shelf.catalogue.problems["a"]
    assert not any(shelf.catalogue.sound(name) for name in "abc")
    assert sorted(shelf.catalogue.affected(["b"])) == ["a", "b", "c"]  # and it ends
    shelf.library("other")
    assert shelf.update("other") == Change(changed=("other",))
    shelf.library("c")
    assert shelf.update("c") == Change(changed=("c",), mended=("a",))


def test_a_recipe_that_needs_itself(shelf: Shelf) -> None:
    shelf.library("a", "a")
    shelf.catalogue.scan()
    assert "a → a" in shelf.catalogue.problems["a"]
    assert shelf.catalogue.affected(["a"]) == ("a",)


def test_the_first_by_name_has_a_tag(shelf: Shelf) -> None:
    claim = '[image]\ntags = ["app:1"]\n'
    shelf.image("m", extra=claim)
    shelf.image("n")
    shelf.catalogue.scan()
    shelf.image("n", extra=claim)
    assert shelf.update("n") == Change(changed=("n",), broken=("n",))
    assert '"app:1", which m.toml claims as well' in shelf.catalogue.problems["n"]
    shelf.image("a", extra=claim)
    assert shelf.update("a") == Change(changed=("a",), broken=("m", "n"))
    shelf.remove("a")
    assert shelf.update("a") == Change(removed=("a",), broken=("n",), mended=("m",))
    shelf.image("m")
    assert shelf.update("m") == Change(changed=("m",), mended=("n",))


def test_an_unknown_environment(shelf: Shelf) -> None:
    shelf.write("a", f'{SOURCE}{BUILD}environment = "moon"\n')
    shelf.catalogue.scan()
    assert "build.environment: expected one of debian" in shelf.catalogue.problems["a"]
    assert not shelf.catalogue.sound("a")


def test_affected_is_in_build_order(shelf: Shelf) -> None:
    shelf.library("z")
    shelf.image("y", "scratch", "z")
    shelf.image("x", "y")
    shelf.image("w", "x", "z")
    shelf.image("alone")
    shelf.catalogue.scan()
    assert shelf.catalogue.affected(["z"]) == ("z", "y", "x", "w")
    assert shelf.catalogue.affected(["x", "alone"]) == ("alone", "x", "w")
    assert shelf.catalogue.affected(["nobody"]) == ()
    shelf.remove("y")
    shelf.update("y")
    assert shelf.catalogue.affected(["y"]) == ("x", "w")


def test_a_long_chain_is_no_deep_recursion(shelf: Shelf) -> None:
    names = [f"r{number:04}" for number in range(1100)]
    for name, needed in zip(names, ["", *names], strict=False):
        shelf.library(name, *filter(None, [needed]))
    shelf.catalogue.scan()
    assert shelf.catalogue.affected([names[0]]) == tuple(names)
    assert shelf.catalogue.sound(names[-1])


def lock(version: str, *, of: str = "1.2.3") -> Lock:
    url = "https://upstream.test/x-{version}.tar.gz"
    return Lock(version, url, Digest.of(version.encode()), of, Digest.parse(SHA))


def test_a_lock_moves_a_recipe_and_its_tags(shelf: Shelf) -> None:
    shelf.image("a")
    shelf.image("b", extra='[image]\ntags = ["a:2.0"]\n')
    shelf.catalogue.scan()
    assert shelf.catalogue.set_lock("a", lock("2.0")) == Change(changed=("a",), broken=("b",))
    assert shelf.catalogue.recipes["a"].source.version == "2.0"
    assert shelf.catalogue.set_lock("a", lock("2.0")) == Change()
    shelf.image("a", extra="# a comment")
    shelf.catalogue.update(["a"])
    assert shelf.catalogue.recipes["a"].source.version == "2.0"
    assert shelf.catalogue.set_lock("a", None) == Change(changed=("a",), mended=("b",))
    assert shelf.catalogue.recipes["a"].source.version == "1.2.3"
    assert shelf.catalogue.set_lock("nobody", lock("2.0")) == Change()


def test_locks_from_the_records_count_at_the_first_scan(shelf: Shelf) -> None:
    shelf.image("a")
    catalogue = Catalogue(shelf.config, {"a": lock("2.0")}, clock=lambda: CLOCK)
    catalogue.scan()
    assert catalogue.recipes["a"].source.version == "2.0"


def test_a_version_that_fits_no_tag(shelf: Shelf) -> None:
    shelf.image("a")
    shelf.catalogue.scan()
    assert shelf.catalogue.set_lock("a", lock("2~rc1")).broken == ("a",)
    assert "image.tags" in shelf.catalogue.problems["a"]
    assert shelf.catalogue.set_lock("a", None).mended == ("a",)


def test_a_folder_that_is_away_takes_nothing_along(shelf: Shelf) -> None:
    shelf.image("a")
    shelf.catalogue.scan()
    shelf.folder.rename(shelf.folder.with_name("away"))
    assert shelf.catalogue.scan() == Change(broken=("",))
    assert shelf.catalogue.update(["a"]) == Change()
    assert list(shelf.catalogue.recipes) == ["a"]
    assert not shelf.catalogue.sound("a")
    shelf.folder.with_name("away").rename(shelf.folder)
    assert shelf.catalogue.update(["a"]) == Change(mended=("",))
    assert shelf.catalogue.sound("a")


def test_a_link_follows_the_file_that_it_leads_to(shelf: Shelf) -> None:
    shelf.image("real")
    (shelf.folder / "alias.toml").symlink_to("real.toml")
    shelf.catalogue.scan()
    shelf.image("real", extra='[image]\ncmd = ["x"]\n')
    assert shelf.update("real") == Change(changed=("alias", "real"))
    (shelf.folder / "alias.toml").unlink()
    assert shelf.update("alias") == Change(removed=("alias",))
    shelf.image("real")
    assert shelf.update("real") == Change(changed=("real",))


def test_a_link_in_the_place_of_a_folder_follows_what_it_leads_to(shelf: Shelf) -> None:
    shelf.patched("a", "one")
    (shelf.folder / "b").symlink_to("a")
    (shelf.folder / "b.toml").write_bytes((shelf.folder / "a.toml").read_bytes())
    shelf.catalogue.scan()
    patch = shelf.folder / "a" / "a.patch"
    patch.write_text("another")
    assert shelf.update("a") == Change(changed=("a", "b"))
    patch.unlink()
    assert shelf.update("a") == Change(broken=("a", "b"))
    patch.write_text("another")
    assert shelf.update("a") == Change(mended=("a", "b"))
    (shelf.folder / "b").unlink()
    assert shelf.update("b") == Change(broken=("b",))
    patch.write_text("a third")
    assert shelf.update("a") == Change(changed=("a",))


def test_hostile_files_are_problems_and_nothing_else(shelf: Shelf) -> None:
    folder = shelf.folder
    (folder / "folder.toml").mkdir()
    os.mkfifo(folder / "fifo.toml")
    with (folder / "huge.toml").open("wb") as file:
        file.truncate(100 << 20)
    (folder / "bytes.toml").write_bytes(b"summary = '\xff'")
    (folder / "shadow.toml").symlink_to("/etc/shadow")
    (folder / "nowhere.toml").symlink_to("nothing.toml")
    (folder / "loop.toml").symlink_to("loop.toml")
    (folder / "zero.toml").symlink_to("/dev/zero")
    (folder / "Bad Name.toml").write_text(SOURCE + BUILD)
    (folder / "red\x1b[31m.toml").write_text("[")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.toml")).write_text("[")
    shelf.image("good")
    shelf.catalogue.scan()
    problems = shelf.catalogue.problems
    assert set(shelf.catalogue.recipes) == {"good"}
    assert len(problems) == 11
    assert "a folder" in problems["folder"]
    assert "a special file" in problems["fifo"]
    assert "at most 1 MiB" in problems["huge"]
    assert "0xff" in problems["bytes"]
    assert "a link out of it" in problems["shadow"]
    assert "root:" not in problems["shadow"]
    text = "\n".join([*problems, *problems.values()])
    text.encode()
    assert "\x1b" not in text
    for name in list(problems):
        path = folder / f"{name}.toml"
        if path.is_dir():
            path.rmdir()
        elif path.is_symlink() or path.exists():
            path.unlink()
        if name.isalpha():
            shelf.image(name)
    mended = shelf.catalogue.scan().mended
    assert mended == ("bytes", "fifo", "folder", "huge", "loop", "nowhere", "shadow", "zero")


def test_names_that_lead_out_of_the_folder_are_no_recipes(shelf: Shelf) -> None:
    shelf.folder.with_name("x.toml").write_text(SOURCE + BUILD)
    shelf.catalogue.scan()
    assert shelf.catalogue.update(["../x", "a\0b", "", ".", "README.md"]) == Change()


@pytest.mark.parametrize("name", ["x" * 300, ".hidden", "#lock", "a/b", "a\0b"])
def test_a_name_that_no_recipe_can_have_is_forgotten(tmp_path: Path, name: str) -> None:
    """Anybody who may ask for a build may ask for such a name."""
    shelf = Shelf(tmp_path / "recipes")
    shelf.write(".hidden", "nonsense")
    assert shelf.catalogue.update([name]) == Change()
    assert shelf.catalogue.problems == {}
