"""The shipped unit, as systemd's own tools judge it, and the files that are installed beside it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minid.cli.main import main
from minid.host.service_files import CONFIG_TEXT, render_unit
from tests.support.require import demand_or_skip, require
from tests.support.users import ROOT

pytestmark = pytest.mark.integration
UNIT = ROOT / "systemd" / "minid.service"
THRESHOLD = 32  # tenths of exposure; a bare unit has 92


@pytest.fixture(autouse=True)
def analyze() -> None:
    require("systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The least that install-service takes for a system."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\n")
    return tmp_path


def verify(unit: Path) -> str:
    """What systemd-analyze verify has to say; nothing when all is well."""
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    return done.stdout + done.stderr + (f"status {done.returncode}" if done.returncode else "")


def test_unit_as_shipped_is_clean() -> None:
    assert verify(UNIT) == ""


def test_unit_is_hardened() -> None:
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={THRESHOLD}", str(UNIT)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if "unrecognized option" in done.stderr:
        demand_or_skip("systemd-analyze", "it has no --offline")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["minid", "m i%n$d", "ä;{}"])
def test_unit_with_the_path_of_a_program(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "minid.service"
    unit.write_text(render_unit(UNIT.read_text(), str(program), "builder"))
    assert verify(unit) == ""
    program.chmod(0o644)
    assert "not executable" in verify(unit)


def install(tree: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """`minid install-service --root TREE`, which must succeed; thing → deed."""
    fixed = ["install-service", "--root", str(tree), "--program", "/opt/minid/bin/minid", "--json"]
    assert main([*fixed, *words]) == 0
    return {item["what"]: item["deed"] for item in json.loads(capsys.readouterr().out)["changes"]}


def test_install_into_a_tree(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives folders to root")
    (tree / "etc/subuid").write_text("alice:100000:65536\nno range\n")
    deeds = install(tree, capsys)
    assert deeds.pop("/etc/subuid") == "updated"
    assert set(deeds.values()) == {"made"}
    unit = (tree / "etc/systemd/system/minid.service").read_text()
    assert "ExecStart=/opt/minid/bin/minid daemon\n" in unit
    assert "ExecReload=/opt/minid/bin/minid reload --wait\n" in unit
    assert "\nUser=minid\n" in unit
    assert "\nminid:x:" in (tree / "etc/passwd").read_text()
    subuid = (tree / "etc/subuid").read_text()
    assert subuid == "alice:100000:65536\nno range\nminid:165536:65536\n"
    assert (tree / "etc/subgid").read_text() == "minid:165536:65536\n"
    assert (tree / "etc/minid/config.toml").read_text() == CONFIG_TEXT
    for place in ("etc/minid", "etc/minid/recipes"):
        status = (tree / place).stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o755)
    assert set(install(tree, capsys).values()) == {"unchanged"}
    # An edited configuration is the operator's; another user gets a range of its own.
    (tree / "etc/minid/config.toml").write_text("# mine\n")
    deeds = install(tree, capsys, "--user", "builder")
    assert deeds["/etc/minid/config.toml"] == "kept"
    assert deeds["/etc/systemd/system/minid.service"] == "updated"
    assert (tree / "etc/minid/config.toml").read_text() == "# mine\n"
    assert (tree / "etc/subgid").read_text().endswith("\nbuilder:231072:65536\n")
    enabled = tree / "etc/systemd/system/multi-user.target.wants/minid.service"
    enabled.parent.mkdir()
    enabled.symlink_to("/etc/systemd/system/minid.service")
    assert set(install(tree, capsys, "--uninstall").values()) == {"removed"}
    assert sorted(path.name for path in tree.rglob("minid*")) == ["minid"]  # the configuration


def test_tree_that_leads_out_of_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/systemd").symlink_to(tmp_path / "outside")
    argv = ["install-service", "--root", str(tmp_path / "tree"), "--program", "/opt/minid"]
    assert main(argv) == 30
    assert "expected a folder in" in capsys.readouterr().err
    assert not list((tmp_path / "outside").rglob("*"))


def test_dry_run_changes_nothing(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deeds = install(tree, capsys, "--dry-run")
    assert set(deeds.values()) == {"made"}
    assert sorted(path.name for path in tree.rglob("*")) == ["etc", "group", "passwd"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--user", "root"], 2),
        (["--user", "a\nb"], 2),
        (["--user=-x"], 2),
        (["--root", "/nonexistent"], 2),
        (["--program", "bin/minid"], 2),
    ],
)
def test_what_is_refused(words: list[str], status: int, tree: Path) -> None:
    argv = ["install-service", "--root", str(tree), "--program", "/opt/minid", *words]
    assert main(argv) == status
    assert sorted(path.name for path in tree.rglob("*")) == ["etc", "group", "passwd"]


def test_the_machine_itself_is_roots(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("is root")
    done = subprocess.run(
        [sys.executable, "-c", "from minid.cli.main import main; main(['install-service'])"],
        capture_output=True,
        text=True,
    )
    assert "expected root" in done.stderr
