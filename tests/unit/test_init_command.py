"""`minid init`: a folder in which the next command works, and nothing is ever replaced."""

from __future__ import annotations

from pathlib import Path

from minid.cli.init_command import find_shipped
from minid.cli.main import main
from minid.config_reader import load_config
from minid.recipe_reader import load_recipes


def test_a_new_folder_has_a_configuration_and_the_base_of_drafts(tmp_path: Path):
    folder = tmp_path / "a" / "work"
    assert main(["init", str(folder)]) == 0
    config = load_config(folder / "config.toml", {})
    assert config.paths.state == folder / "var"
    recipes, broken = load_recipes(config.paths.recipes)
    assert (list(recipes), broken) == (["busybox"], ())
    shipped = find_shipped("busybox.toml")
    assert shipped
    keys = [key.name for key in shipped.with_suffix("").iterdir()]
    assert keys
    assert sorted(keys) == sorted(key.name for key in (folder / "recipes/busybox").iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path, capsys):
    (tmp_path / "config.toml").write_text("# mine\n")
    assert main(["init", str(tmp_path)]) == 2
    assert "expected no file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert (tmp_path / "config.toml").read_text() == "# mine\n"


def test_a_recipe_of_the_same_name_is_kept(tmp_path: Path):
    key = tmp_path / "recipes" / "busybox" / "release-key.asc"
    key.parent.mkdir(parents=True)
    key.write_text("mine\n")
    (tmp_path / "recipes" / "busybox.toml").write_text("# mine\n")
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "recipes" / "busybox.toml").read_text() == "# mine\n"
    assert key.read_text() == "mine\n"


def test_what_comes_next_names_the_folder_to_go_to(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["init", "work"])
    assert "next: cd work, minid new URL" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "config.toml").unlink()
    main(["init"])
    assert "next: minid new URL" in capsys.readouterr().out


def test_only_what_is_there_is_shipped():
    assert find_shipped("no-such-recipe.toml") is None
