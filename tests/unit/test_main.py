"""The command line as a whole: what is no error of minid's own still gets words and a status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from minid.cli.main import find_command, main
from minid.errors import HostError, UsageError

PROGRAM = [sys.executable, "-c", "import sys; from minid.cli.main import main; sys.exit(main())"]


def test_a_full_disk_below_standard_output_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, "init", str(tmp_path / "new")],
            stdout=full,
            stderr=subprocess.PIPE,
            env={"PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin"},
            check=False,
        )
    assert done.returncode == HostError.exit_code
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("set nginx --cmd build", "set"),
        ("-C build set nginx", "set"),
        ("--config build set nginx", "set"),
        ("--config=build set nginx", "set"),
        ("--conf build set nginx", "set"),
        ("--version", None),
        ("-h set", None),
        ("--version nginx", None),
        ("-C", None),
        ("", None),
    ],
)
def test_the_command_is_no_option_and_no_value_of_one(words: str, command: str | None) -> None:
    assert find_command(words.split()) == command


@pytest.mark.parametrize(
    ("word", "hint"),
    [("buidl", "did you mean `minid build`?"), ("nginx", "`minid --help` lists them")],
)
def test_what_is_no_command_is_told_with_the_nearest(word: str, hint: str, capsys) -> None:
    assert main([word, "set"]) == UsageError.exit_code
    assert capsys.readouterr().err == f"minid: expected a command, got '{word}'\n  hint: {hint}\n"
    assert main([word, "--json"]) == UsageError.exit_code
    assert hint in json.loads(capsys.readouterr().out)["error"]["hint"]
