"""Finding programs of another root, and starting them with their own libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from minid.errors import HostError
from minid.host.bench_tools import TOOLS, ToolRoot, lay_tools, read_tools, resolve_in
from tests.support.require import require


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    (root / "usr/bin/absolute").symlink_to("/bin/tool")
    (root / "usr/bin/out").symlink_to("../../../../../etc/passwd")
    (root / "usr/bin/loop").symlink_to("loop")
    return root


def test_links_stay_in_the_root(root: Path) -> None:
    assert resolve_in(root, "bin/tool") == root / "usr/bin/tool"
    assert resolve_in(root, "/bin/absolute") == root / "usr/bin/tool"
    assert resolve_in(root, "bin/out") is None
    assert resolve_in(root, "bin/loop") is None
    assert resolve_in(root, "../../bin") == root / "usr/bin"


def test_what_is_no_program_is_no_tool(root: Path, tmp_path: Path) -> None:
    (root / "usr/bin/strace").write_text("#!/bin/sh\n")
    binds = lay_tools(tmp_path / "tools", [ToolRoot(root, whole=True)], has_shell=True)
    assert binds == ((str(root), "/root0"),) == read_tools(tmp_path / "tools")
    assert [path.name for path in (tmp_path / "tools/bin").iterdir()] == ["ldd"]


def test_a_root_without_a_shell_needs_one_brought(root: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="expected a shell in the root or a static busybox"):
        lay_tools(tmp_path / "tools", [ToolRoot(root, whole=True)], has_shell=False)


def test_a_program_of_the_machine(tmp_path: Path) -> None:
    require("bash")
    lay_tools(tmp_path / "tools", [ToolRoot(Path("/"), whole=False)], has_shell=True)
    text = (tmp_path / "tools/bin/bash").read_text().splitlines()[-1]
    assert text.startswith(f"exec {TOOLS}/root0/") and text.endswith('/bash "$@"')
    words = text.replace(f"{TOOLS}/root0", "").removeprefix("exec ")
    done = subprocess.run(
        ["sh", "-c", f"exec {words}", "sh", "-c", "echo $0 works"], capture_output=True, text=True
    )
    assert "works" in done.stdout, done.stderr


def test_nothing_was_laid(tmp_path: Path) -> None:
    assert read_tools(tmp_path) is None
