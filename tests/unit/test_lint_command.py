"""`minid lint` of recipes: by name, by file, all of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minid.cli.main import main

GOOD = """
[source]
version = "1.0"
url = "https://example.org/x-{version}.tar.gz"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

[build]
steps = ["make"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").touch()
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "good.toml").write_text(GOOD)
    (recipes / "bad.toml").write_text(GOOD + 'nonsense = "x"\n')
    return tmp_path


@pytest.mark.parametrize("word", ["good", "recipes/good.toml"])
def test_a_good_one(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", word]) == 0
    assert capsys.readouterr().out == "1 recipe: nothing wrong\n"


@pytest.mark.parametrize("word", ["bad", "recipes/bad.toml"])
def test_a_bad_one(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", word]) == 11
    assert "build.nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["nobody", "nobody.toml"])
def test_one_that_is_not_there(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", word]) == 11
    assert "nobody.toml: expected a readable file" in capsys.readouterr().err


def test_a_file_here_goes_before_a_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "good").write_text("no recipe")
    assert main(["lint", "good"]) == 11
    assert capsys.readouterr().err.startswith("good: ")


def test_all_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--json"]) == 11
    told = json.loads(capsys.readouterr().out)
    assert told["checked"] == 2
    assert all("bad.toml" in line for line in told["problems"])


def test_keys_that_are_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = 'openpgp = { keys = ["release-key.asc"] }'
    track = '[track]\nfrom = "index"\nurl = "https://example.org/"\nmatch = "x-(?P<version>.*)"\n'
    (folder / "recipes/bad.toml").write_text(GOOD + track + "[track.verify]\n" + keys + "\n")
    for words in ([], ["bad"]):
        assert main(["lint", *words]) == 11
        assert "bad.toml: track.verify.openpgp.keys: " in capsys.readouterr().err
    (folder / "recipes/bad").mkdir()
    shipped = Path(__file__).parents[2] / "recipes/busybox/release-key.asc"
    (folder / "recipes/bad/release-key.asc").write_bytes(shipped.read_bytes())
    assert main(["lint"]) == 0
