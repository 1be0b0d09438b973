"""A working folder with the recipes that come with minid, and commands in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.users import ROOT

MINID = [sys.executable, "-c", "import sys; from minid.cli.main import main; sys.exit(main())"]
CONFIG = '[publish]\ndocker = "off"\n'


@contextmanager
def shipped_folder(name: str) -> Iterator[Path]:
    """The folder, gone afterwards."""
    folder = ROOT / "var" / "tests" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        (folder / "config.toml").write_text(CONFIG)
        shutil.copytree(ROOT / "recipes", folder / "recipes")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def minid(folder: Path, *words: str) -> str:
    """What a command that must end well prints; archives come from beside the project, too."""
    mirrors = ROOT.parent / "shared" / "upstream"
    environ = dict(os.environ)
    if mirrors.is_dir():
        environ.setdefault("MINID_MIRRORS", f"file:{mirrors}")
    done = subprocess.run(
        [*MINID, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
