"""`minid new`: a draft that passes lint, from an archive that is here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from minid.cli.main import main
from minid.errors import FetchError
from tests.support.line import source_archive

URL = "https://example.org/tool-1.2.tar.gz"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release in a mirror folder of a working folder, which is the current one."""
    folder = tmp_path / "work"
    main(["init", str(folder)])
    (folder / "archives").mkdir()
    path = folder / "archives" / "tool-1.2.tar.gz"
    path.write_bytes(source_archive("tool-1.2", {"Makefile": "install:\n\ttrue\n"}))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MINID_MIRRORS", "file:archives")
    return path


def test_the_draft_names_the_bytes_of_the_mirror(archive: Path, capsys):
    assert main(["new", URL]) == 0
    assert (
        "wrote recipes/tool.toml: look it over, then: minid build tool" in capsys.readouterr().out
    )
    text = Path("recipes/tool.toml").read_text()
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in text
    assert main(["lint"]) == 0


def test_a_recipe_is_never_replaced(archive: Path, capsys):
    Path("recipes/tool.toml").write_text("# mine\n")
    assert main(["new", URL]) == 2
    assert "expected no file" in capsys.readouterr().err
    assert Path("recipes/tool.toml").read_text() == "# mine\n"


def test_a_dash_prints(archive: Path, capsys):
    assert main(["new", "-o", "-", URL]) == 0
    assert '[source]\nversion = "1.2"' in capsys.readouterr().out
    assert not Path("recipes/tool.toml").exists()


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--sha256", "abc", "--sha256: expected 64 lower-case hex digits, got 'abc'"),
        ("--archive", "nowhere.tar.gz", "--archive: expected a file, got 'nowhere.tar.gz'"),
        ("--sha256", "0" * 64, "expected sha256:" + "0" * 64),
    ],
)
def test_wrong_options_are_told_and_write_nothing(archive, capsys, option, value, expected):
    assert main(["new", option, value, URL]) != 0
    assert expected in capsys.readouterr().err
    assert not Path("recipes/tool.toml").exists()


def test_what_is_not_reached_may_be_here(archive: Path, capsys):
    assert main(["new", "https://[::1]:9/other-1.2.tar.gz"]) == FetchError.exit_code
    assert "hint: an archive that is here: --archive FILE" in capsys.readouterr().err
