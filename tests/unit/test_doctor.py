"""What the machine lacks is found, with its remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from minid.config import Config, EnvironmentSpec, Paths, Publishing
from minid.host import doctor, process
from minid.host.doctor import Finding, probe_machine


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(file=None, paths=Paths(recipes=tmp_path, state=tmp_path / "not/yet"))


def by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_every_problem_has_a_remedy(config: Config):
    for finding in probe_machine(config):
        assert finding.ok == (finding.mend == "")
        assert finding.detail


def test_missing_programs_are_named_with_their_package(config: Config, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(process, "SYSTEM_PATH", "/nonexistent")
    found = by_name(probe_machine(config))
    for name, package in (("bwrap", "bubblewrap"), ("runc", "runc"), ("mmdebstrap", "mmdebstrap")):
        assert not found[name].ok
        assert found[name].mend == f"apt-get install {package}"
    assert not found["sandbox"].ok
    assert found["sandbox"].mend == "apt-get install bubblewrap"


def test_an_old_bwrap_is_not_enough(config: Config, tmp_path: Path, monkeypatch):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = by_name(probe_machine(config))["bwrap"]
    assert (found.ok, found.detail) == (False, "bubblewrap 0.4.1")


def test_room_is_measured_where_the_state_will_be(config: Config, monkeypatch):
    assert by_name(probe_machine(config))["disk"].detail.endswith(str(config.paths.recipes))
    monkeypatch.setattr(doctor, "_ROOM_BYTES", 1 << 60)
    assert not by_name(probe_machine(config))["disk"].ok


def test_an_engine_is_needed_only_where_it_is_asked_for(config: Config, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    found = by_name(probe_machine(config))["docker"]
    assert (found.ok, found.needed) == (False, False)
    asked = replace(config, publish=Publishing(docker="on"))
    assert by_name(probe_machine(asked))["docker"].needed


def test_a_suite_without_any_source_is_found(config: Config, monkeypatch):
    monkeypatch.setattr("minid.host.apt_sources.load_sources", lambda: ())
    spec = EnvironmentSpec("old", "debian", suite="buzz")
    found = by_name(probe_machine(replace(config, environments=(spec,))))["package sources"]
    assert not found.ok
    assert "'buzz'" in found.detail


def test_ranges_of_ids_are_summed_up_by_owner(tmp_path: Path):
    file = tmp_path / "subuid"
    file.write_text("anna:100000:65536\nbert:165536:10\nbroken\n")
    assert doctor._range_size(file, "anna") == 65536
    assert doctor._range_size(file, "bert") == 10
    assert doctor._range_size(file, "carl") == 0
    assert doctor._range_size(tmp_path / "none", "anna") == 0
