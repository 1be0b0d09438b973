"""The service under a systemd of its own: what the unit's hardening lets its user do, and how the
manager and the daemon get on. One machine for all; each test brings recipes of its own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest

from minid.cli.main import COMMANDS
from tests.support.line import GROUND_FILES, GROUND_TABLES, Line, wait_for
from tests.support.nspawn import PROGRAM, PYTHON, Machine, booted_machine

pytestmark = pytest.mark.integration
needs_daemon = pytest.mark.skipif(
    not {"daemon", "reload"} <= COMMANDS.keys(), reason="this minid has no daemon"
)
UNIT = "/etc/systemd/system/minid.service"
CONFIG = """\
mirrors = ["file:archives"]

[fetch]
distro = false
attempts = 1

[publish]
docker = "off"

[daemon]
socket = "/run/minid/minid.sock"
"""
# Long enough to be met while it runs, short enough to be waited for.
SLOW_S = 8
SLOW_FILES = {
    "Makefile": f"all:\n\tsleep {SLOW_S}\n\tgcc -static -O1 -o tool tool.c\n"
    "install:\n\tmkdir -p $(DESTDIR)/bin\n\tcp tool $(DESTDIR)/bin/tool\n",
    "tool.c": GROUND_FILES["tool.c"],
}
# Fails, and so the build, where a process of it holds a capability or could gain one.
BARE_FILES = {
    **GROUND_FILES,
    "Makefile": "all:\n\t! grep '^Cap.*:.*[1-9a-f]' /proc/self/status\n"
    "\tgrep -q '^NoNewPrivs:.*1' /proc/self/status\n\tgcc -static -O1 -o tool tool.c\n"
    "install:\n\tmkdir -p $(DESTDIR)/bin\n\tcp tool $(DESTDIR)/bin/tool\n",
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with the service installed, not yet started."""
    with booted_machine() as booted:
        booted.call(PROGRAM, "install-service")
        booted.path("/etc/minid/config.toml").write_text(CONFIG)
        yield booted


def add(machine: Machine, name: str, files: dict[str, str], *, tables: str = GROUND_TABLES) -> None:
    """A recipe into the folder, its release into the mirror."""
    Line(machine.path("/etc/minid")).add_recipe(name, files, tables)


def as_user(machine: Machine, *words: str) -> str:
    """What minid says when the service's user calls it."""
    return machine.call("runuser", "-u", "minid", "--", PROGRAM, *words)


def tags(machine: Machine) -> dict[str, str]:
    return {
        item["name"]: item["manifest"] for item in json.loads(as_user(machine, "list", "--json"))
    }


def under_unit(machine: Machine, name: str, *words: str) -> str:
    """Run a command with all the unit's properties, to its good end; what the journal has of it."""
    text = machine.path(UNIT).read_text()
    text = re.sub(r"^(Type)=.*$", "Type=oneshot", text, flags=re.MULTILINE)
    text = re.sub(r"^(ExecReload|Restart|Watchdog|NotifyAccess).*\n", "", text, flags=re.MULTILINE)
    line = "ExecStart=" + " ".join(f'"{word}"' for word in words)
    text = re.sub(r"^ExecStart=.*$", lambda _match: line, text, flags=re.MULTILINE)
    machine.path(f"/etc/systemd/system/{name}.service").write_text(text)
    machine.call("systemctl", "daemon-reload")
    done = machine.run("systemctl", "start", name, timeout_s=300)
    said = machine.call("journalctl", "--unit", name, "--output=cat", "--no-pager")
    assert done.returncode == 0, done.stderr + said
    return said


# what install-service did


def test_machine_is_sound(machine: Machine) -> None:
    assert machine.call("systemctl", "is-system-running").strip() == "running"


def test_second_installation_changes_nothing(machine: Machine) -> None:
    said = json.loads(machine.call(PROGRAM, "install-service", "--json"))
    deeds = {item["what"]: item["deed"] for item in said["changes"]}
    assert deeds.pop("/etc/minid/config.toml") == "kept"
    assert set(deeds.values()) == {"unchanged"}
    assert said["next"] == "systemctl enable --now minid"


def test_systemd_takes_the_unit(machine: Machine) -> None:
    assert machine.show("minid", "LoadState") == "loaded"
    assert machine.show("minid", "User") == "minid"
    assert "minid" in machine.call("id", "minid")
    assert machine.call("systemd-analyze", "verify", UNIT) == ""


def test_program_that_the_user_cannot_run(machine: Machine) -> None:
    closed = "/root/minid"
    machine.call("install", "-m", "0755", PROGRAM, closed)
    done = machine.run(PROGRAM, "install-service", "--program", closed)
    assert done.returncode == 30
    assert "expected to be run by 'minid'" in done.stderr
    assert "ProtectHome=read-only" in machine.path(UNIT).read_text()
    assert "updated" in machine.call(PROGRAM, "install-service")
    assert "ProtectHome=yes" in machine.path(UNIT).read_text()


# what the hardening lets through


def test_doctor_under_the_unit(machine: Machine) -> None:
    said = under_unit(machine, "minid-doctor", PROGRAM, "doctor")
    assert "builds and checks work here" in said
    assert "missing" not in said


def test_build_and_check_under_the_unit(machine: Machine) -> None:
    add(machine, "bare", BARE_FILES)
    under_unit(machine, "minid-build", PROGRAM, "build", "bare")
    assert {"bare:1.0.0", "bare:latest"} <= tags(machine).keys()
    assert owners(machine) == {int(machine.call("id", "-u", "minid"))}


def test_debian_environment_under_the_unit(machine: Machine) -> None:
    """mmdebstrap without root, which needs the id range and the two capabilities."""
    add(machine, "bookish", GROUND_FILES)
    Line(machine.path("/etc/minid")).edit(
        "bookish", 'environment = "host"', 'environment = "debian"'
    )
    under_unit(machine, "minid-debian", PROGRAM, "build", "bookish")
    assert "bookish:latest" in tags(machine)


def test_journal_has_fields(machine: Machine) -> None:
    program = (
        "import os; from minid.daemon.logging import configure_logging, get_logger; "
        "print(configure_logging(os.environ), flush=True); "
        "get_logger().warning('page is' + chr(27) + ' suspect', recipe='fields', run=12, "
        "stage='x' * 400000)"
    )
    assert "journal\n" in under_unit(machine, "minid-log", PYTHON, "-c", program)
    (entry,) = journal(machine, "MINID_RECIPE=fields")
    assert entry["MESSAGE"].startswith("fields: page is\\x1b suspect (run=12, stage=xxx")
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("4", "minid")
    assert (entry["MINID_RUN"], entry["_SYSTEMD_UNIT"]) == ("12", "minid-log.service")
    assert len(entry["MINID_STAGE"]) == 400000  # more than a datagram holds
    assert entry["_TRANSPORT"] == "journal"


def test_group_of_its_own_for_builds(machine: Machine) -> None:
    """With version 2 of cgroups, `Delegate=yes` gives the service a group to divide."""
    program = (
        "from minid.host.cgroup import enter_supervisor; "
        "print(enter_supervisor(), enter_supervisor()); print(open('/proc/self/cgroup').read())"
    )
    said = under_unit(machine, "minid-group", PYTHON, "-c", program)
    if machine.call("stat", "-fc", "%T", "/sys/fs/cgroup").strip() != "cgroup2fs":
        pytest.skip("the kernel has version 1 of cgroups only")
    assert "True False\n" in said
    assert "0::/system.slice/minid-group.service/supervisor\n" in said


def owners(machine: Machine) -> set[int]:
    """Whose the files of the store are."""
    return {path.lstat().st_uid for path in machine.path("/var/lib/minid/store").rglob("*")}


def journal(machine: Machine, *matches: str) -> list[dict[str, str]]:
    said = machine.call("journalctl", "--all", "--output=json", "--no-pager", *matches)
    return [json.loads(line) for line in said.splitlines()]


# the daemon


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The daemon, started and ready, alone with the recipes that the test adds."""
    for path in machine.path("/etc/minid/recipes").iterdir():
        path.unlink()
    machine.call("systemctl", "reset-failed")
    machine.call("systemctl", "enable", "--now", "minid")
    yield machine
    machine.call("systemctl", "disable", "--now", "minid")
    shutil.rmtree(machine.path(f"{UNIT}.d"), ignore_errors=True)
    machine.path("/etc/minid/config.toml").write_text(CONFIG)
    machine.call("systemctl", "daemon-reload")


def is_building(machine: Machine) -> bool:
    return machine.run("pgrep", "-u", "minid", "-x", "sleep").returncode == 0


def nothing_is_left(machine: Machine) -> None:
    """No process of the user, no folder of a build, no mount below the state folder."""
    assert machine.run("pgrep", "-u", "minid", "-a").stdout == ""
    assert [path.name for path in machine.path("/var/lib/minid/jobs").iterdir()] == []
    assert "/var/lib/minid" not in machine.call("cat", "/proc/mounts")


@needs_daemon
def test_ready_and_status_are_seen(service: Machine) -> None:
    assert service.show("minid", "ActiveState") == "active"
    wait_for(lambda: service.show("minid", "StatusText"))
    assert service.show("minid", "NotifyAccess") == "main"
    assert service.call("systemctl", "is-enabled", "minid").strip() == "enabled"
    service.call("test", "-S", "/run/minid/minid.sock")


@needs_daemon
def test_recipe_dropped_in_becomes_an_image(service: Machine) -> None:
    add(service, "dropped", GROUND_FILES)
    wait_for(lambda: "dropped:latest" in tags(service), 60)
    assert owners(service) == {int(service.call("id", "-u", "minid"))}
    entries = journal(service, "MINID_RECIPE=dropped", "_SYSTEMD_UNIT=minid.service")
    assert {entry["_UID"] for entry in entries} == {service.call("id", "-u", "minid").strip()}
    assert any(entry.get("MINID_RUN", "").isdigit() for entry in entries)
    assert any(entry.get("MINID_STAGE") == "compile" for entry in entries)


@needs_daemon
def test_reload(service: Machine) -> None:
    pid = service.show("minid", "MainPID")
    service.call("systemctl", "reload", "minid")
    file = service.path("/etc/minid/config.toml")
    file.write_text(CONFIG + "\n[build]\njobs = 'many'\n")
    refused = service.run("systemctl", "reload", "minid")
    assert refused.returncode != 0
    assert any("jobs" in entry["MESSAGE"] for entry in journal(service, "--unit=minid"))
    assert service.show("minid", "ActiveState") == "active"
    # The old configuration goes on working, in the same process.
    add(service, "reloaded", GROUND_FILES)
    wait_for(lambda: "reloaded:latest" in stored_tags(service), 60)
    file.write_text(CONFIG)
    service.call("systemctl", "reload", "minid")
    assert service.show("minid", "MainPID") == pid


def stored_tags(machine: Machine) -> set[str]:
    """As `tags`, by the store itself: the command line would read the configuration."""
    index = machine.path("/var/lib/minid/store/index.json")
    if not index.exists():
        return set()
    names = (item["annotations"] for item in json.loads(index.read_bytes())["manifests"])
    return {name["org.opencontainers.image.ref.name"] for name in names}


@needs_daemon
def test_wrong_configuration_at_the_start(service: Machine) -> None:
    """Tells what is wrong, and is not tried again and again."""
    file = service.path("/etc/minid/config.toml")
    file.write_text("[daemon]\nsocket = 7\n")
    assert service.run("systemctl", "restart", "minid").returncode != 0
    assert service.show("minid", "ActiveState") == "failed"
    assert service.show("minid", "ExecMainStatus") == "10"
    said = [entry["MESSAGE"] for entry in journal(service, "--unit=minid", "--lines=20")]
    assert any("daemon.socket: expected" in line for line in said)
    file.write_text(CONFIG)
    service.call("systemctl", "start", "minid")


@needs_daemon
def test_watchdog_restarts_a_daemon_that_hangs(service: Machine) -> None:
    folder = service.path(f"{UNIT}.d")
    folder.mkdir()
    (folder / "watchdog.conf").write_text("[Service]\nWatchdogSec=2\nRestartSec=0\n")
    service.call("systemctl", "daemon-reload")
    service.call("systemctl", "restart", "minid")
    before = service.show("minid", "MainPID")
    wait_for(lambda: service.show("minid", "WatchdogTimestampMonotonic") != "0")
    service.call("kill", "-STOP", before)
    wait_for(lambda: service.show("minid", "NRestarts") == "1", 60)
    wait_for(lambda: service.show("minid", "ActiveState") == "active", 60)
    assert service.show("minid", "MainPID") != before


@needs_daemon
def test_stop_during_a_build(service: Machine) -> None:
    add(service, "stopped", SLOW_FILES)
    wait_for(lambda: is_building(service), 60)
    service.run("systemctl", "stop", "minid", timeout_s=90)
    assert service.show("minid", "Result") == "success"
    nothing_is_left(service)
    service.call("systemctl", "start", "minid")
    wait_for(lambda: "stopped:latest" in tags(service), 90)


@needs_daemon
def test_killed_during_a_build(service: Machine) -> None:
    add(service, "killed", SLOW_FILES)
    wait_for(lambda: is_building(service), 60)
    before = service.show("minid", "MainPID")
    service.call("kill", "-KILL", before)
    wait_for(lambda: service.show("minid", "MainPID") not in ("0", before), 60)
    wait_for(lambda: "killed:latest" in tags(service), 90)
    service.call("systemctl", "stop", "minid")
    nothing_is_left(service)


def test_uninstall(machine: Machine) -> None:
    said = machine.call(PROGRAM, "install-service", "--uninstall")
    assert said.count("removed") == 3
    assert machine.show("minid", "LoadState") == "not-found"
    assert machine.path("/etc/minid/config.toml").exists()
    assert machine.path("/var/lib/minid/store").is_dir()
    assert "made" in machine.call(PROGRAM, "install-service")
