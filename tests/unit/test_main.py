"""The command line as a whole: what is no error of minid's own still gets words and a status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minid.cli.main import find_command
from minid.errors import HostError

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
        ("nginx set", None),
        ("-C", None),
        ("", None),
    ],
)
def test_the_command_is_no_option_and_no_value_of_one(words: str, command: str | None) -> None:
    assert find_command(words.split()) == command
