"""The recipes that come with minid, from their real sources: what scripts/demo builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.require import require

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]
MINID = [sys.executable, "-c", "import sys; from minid.cli.main import main; sys.exit(main())"]
CONFIG = '[publish]\ndocker = "off"\n'


def minid(folder: Path, *words: str) -> str:
    mirrors = REPOSITORY.parent / "shared" / "upstream"
    environ = dict(os.environ)
    if mirrors.is_dir():
        environ.setdefault("MINID_MIRRORS", f"file:{mirrors}")
    done = subprocess.run(
        [*MINID, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nginx_on_busybox() -> None:
    require("bwrap", "mmdebstrap", "runc")
    folder = REPOSITORY / "var" / "tests" / "shipped"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        (folder / "config.toml").write_text(CONFIG)
        shutil.copytree(REPOSITORY / "recipes", folder / "recipes")
        base, server = json.loads(minid(folder, "build", "nginx", "--json"))
        assert (base["status"], server["status"]) == ("built", "built")
        assert "1.26.3" in server["version"]
        assert "<h1>hello nginx</h1>" in minid(folder, "test", "nginx")
        assert "nothing has changed" in minid(folder, "build", "nginx")
        files = json.loads(minid(folder, "why", "nginx", "/usr/local/nginx/sbin/nginx", "--json"))
        assert files["chain"][0]["how"] == "installed"
        (layer, *_) = json.loads(minid(folder, "inspect", "nginx"))["layers"]
        assert layer == json.loads(minid(folder, "inspect", "busybox"))["layers"][0]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
