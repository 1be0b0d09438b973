"""`minid doctor`: what is missing is told with its remedy, and only what is needed counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minid.cli import doctor_command
from minid.cli.main import main
from minid.errors import HostError
from minid.host.doctor import Finding

GOOD = Finding("bwrap", True, "bubblewrap 0.9.0")
LACKING = Finding("runc", False, "not on PATH", "apt-get install runc")
SPARE = Finding("docker", False, "no engine", "apt-get install docker.io", needed=False)


@pytest.fixture
def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the machine is said to be like; tests change it."""
    found: list[Finding] = [GOOD]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor_command, "probe_machine", lambda _config: tuple(found))
    return found


def test_a_spare_part_that_is_missing_does_not_count(findings, capsys):
    findings.append(SPARE)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["optional", "docker"]
    assert lines[-1] == "builds and checks work here"


def test_a_needed_part_fails_and_its_remedy_is_shown(findings, capsys):
    findings.append(LACKING)
    assert main(["doctor"]) == HostError.exit_code
    out = capsys.readouterr().out
    assert "missing   runc" in out
    assert "mend: apt-get install runc" in out


def test_json_has_every_finding(findings, capsys):
    findings += [LACKING, SPARE]
    assert main(["doctor", "--json"]) == HostError.exit_code
    value = json.loads(capsys.readouterr().out)
    assert value["ok"] is False
    assert [item["what"] for item in value["findings"]] == ["bwrap", "runc", "docker"]
    assert value["findings"][2]["needed"] is False
