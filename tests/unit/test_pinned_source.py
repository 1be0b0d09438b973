"""A release written into a recipe's text, whose format and comments stay."""

from __future__ import annotations

from pathlib import Path

from minid.formats.digest import Digest
from minid.formats.pinned_source import write_source
from minid.recipe_reader import parse_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NEW = Digest.of(b"new")


def test_only_version_and_digest_of_a_shipped_recipe_change() -> None:
    text = (RECIPES / "nginx.toml").read_text()
    made = parse_recipe(text.encode(), Path("nginx.toml"))
    url = made.source.url.replace("{version}", "1.28.0")
    after, gone = write_source(text, version="1.28.0", url=url, sha256=NEW)
    changed = [
        (old, new)
        for old, new in zip(text.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert [old.split()[0] for old, _ in changed] == ["version", "sha256"]
    moved = parse_recipe(after.encode(), Path("nginx.toml"))
    assert (moved.source.version, moved.source.sha256) == ("1.28.0", NEW)
    assert gone == []


def test_comments_order_and_spaces_stay() -> None:
    text = (
        "# mine\n"
        'summary   = "x"   # two words\n'
        "\n"
        "[source]   # where it comes from\n"
        'url = "https://web.example/a-{version}.tar.gz" # a template\n'
        f'sha256 = "{Digest.of(b"old").hex}"\n'
        'version = "1"\n'
        "\n"
        "[build]\n"
        'steps = [ "make" , ]\n'
    )
    url = "https://web.example/a-2.tar.gz"
    after, _ = write_source(text, version="2", url=url, sha256=NEW)
    assert after == text.replace(Digest.of(b"old").hex, NEW.hex).replace('"1"', '"2"')


def test_another_place_is_written_and_what_belongs_to_the_old_release_goes() -> None:
    text = (
        "[source]\n"
        'version = "1"\n'
        'url = "https://web.example/a-1.tar.gz"\n'
        f'sha256 = "{Digest.of(b"old").hex}"\n'
        f'distro = {{ package = "a", version = "1", sha256 = "{Digest.of(b"d").hex}" }}\n'
        "released = 1700000000\n"
        "[[source.alternatives]]\n"
        'url = "https://web.example/a-1.tar.xz"\n'
        f'sha256 = "{Digest.of(b"x").hex}"\n'
        "[build]\n"
        'steps = ["make"]\n'
    )
    after, gone = write_source(text, version="2", url="https://b.example/a-2.tgz", sha256=NEW)
    assert sorted(gone) == ["alternatives", "distro", "released"]
    made = parse_recipe(after.encode(), Path("a.toml")).source
    assert (made.url, made.distro, made.alternatives) == ("https://b.example/a-2.tgz", None, ())
