"""Checks of images in namespaces: what passes, what fails and how it is told, what is bounded."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from minid.errors import CheckError, ImageError
from minid.host import container
from minid.host.cgroup import make_memory_group
from minid.recipe import Check, Start, StartFile
from minid.steps.check import SandboxRunner, check_image
from tests.support.container_case import (
    HTTP,
    SERVE,
    Layers,
    base,
    cache,
    execute,
    machine_is_able,
    nothing_left,
    place,
    run_checks,
    tool,
)
from tests.support.tiny_image import base_entries, image_to_check, write_layer

pytestmark = pytest.mark.integration
__all__ = ["base", "cache", "machine_is_able", "nothing_left", "place", "tool"]  # fixtures


def test_service_is_reached_and_its_page_is_the_detail(base: Layers, cache: Path) -> None:
    report = run_checks(image_to_check(base, *SERVE), cache, HTTP)
    assert report.passed
    assert report.runner == "sandbox"
    assert report.results[0].detail == "hello"
    assert report.output_tail == ("serving 80",)
    assert report.libraries == ()


def test_commands_run_beside_the_service(base: Layers, cache: Path) -> None:
    listening = Check("exec", argv=("/bin/tool", "cat", "/proc/1/cmdline"), contains="serve")
    report = run_checks(image_to_check(base, *SERVE), cache, HTTP, listening)
    assert report.passed, report


def test_command_runs_alone_where_the_program_has_ended(base: Layers, cache: Path) -> None:
    check = Check(
        "exec", argv=("/bin/tool", "exit", "7", "v{version}"), exit_code=7, contains="v1.2.3"
    )
    for argv in ((), ("exit", "0"), ("exit", "5")):
        report = run_checks(image_to_check(base, *argv), cache, check)
        assert report.passed, report


def test_wrong_exit_code_and_missing_text_fail(base: Layers, cache: Path) -> None:
    image = image_to_check(base)
    wrong = Check("exec", argv=("/bin/tool", "exit", "7", "seven"))
    missing = Check("exec", argv=("/bin/tool", "exit", "0", "seven"), contains="eight")
    report = run_checks(image, cache, wrong, missing)
    assert not report.passed
    assert [result.passed for result in report.results] == [False, False]
    assert "expected exit code 0, got exit code 7 and 'seven'" in report.results[0].detail
    assert "containing 'eight', got exit code 0 and 'seven'" in report.results[1].detail


def test_tcp_exchange(base: Layers, cache: Path) -> None:
    talk = Check("tcp", port=80, send="GET / HTTP/1.0\r\n\r\n", contains="hello", deadline_s=5)
    silent = replace(talk, contains="goodbye")
    report = run_checks(image_to_check(base, *SERVE), cache, talk, silent)
    assert [result.passed for result in report.results] == [True, False]


def test_dead_program_fails_at_once_with_its_last_words(base: Layers, cache: Path) -> None:
    began = time.monotonic()
    report = run_checks(image_to_check(base, "exit", "3", "no such file: x"), cache, HTTP)
    assert not report.passed
    assert "got exit code 3: no such file: x" in report.results[0].detail
    assert time.monotonic() - began < 4


def test_missing_program_and_crash_are_told_apart(base: Layers, cache: Path) -> None:
    report = run_checks(image_to_check(base, Cmd=["/bin/nothing"]), cache)
    assert [result.name for result in report.results] == ["start"]
    assert "did not start" in report.results[0].detail
    assert "/bin/nothing" in report.results[0].detail
    report = run_checks(image_to_check(base, "crash"), cache)
    # As pid 1 it is not killed by its own SIGABRT, and abort(3) goes on to something harsher.
    assert report.results[0].detail in ("exit code 134", "exit code 139", "exit code 132")


def test_no_checks_means_it_must_start(base: Layers, cache: Path) -> None:
    assert run_checks(image_to_check(base, *SERVE), cache).passed
    assert run_checks(image_to_check(base, "exit", "0"), cache).passed
    assert run_checks(image_to_check(base), cache).results == ()


def test_service_that_starts_slowly_is_waited_for(base: Layers, cache: Path) -> None:
    report = run_checks(image_to_check(base, *SERVE, "1"), cache, HTTP)
    assert report.passed, report


def test_wrong_answer_is_settled_before_the_deadline(base: Layers, cache: Path) -> None:
    began = time.monotonic()
    check = Check("http", port=80, contains="goodbye", deadline_s=60)
    report = run_checks(image_to_check(base, *SERVE), cache, check)
    assert "expected status 200 containing 'goodbye', got 200 'hello'" in report.results[0].detail
    assert 2 < time.monotonic() - began < 8


def test_deadline_ends_a_check_that_gets_no_answer(base: Layers, cache: Path) -> None:
    began = time.monotonic()
    image = image_to_check(base, "sleep", "1000")
    wait = Check("exec", argv=("/bin/tool", "sleep", "1000"), deadline_s=0.5)
    report = run_checks(image, cache, replace(HTTP, deadline_s=0.5), wait)
    assert "connection refused" in report.results[0].detail
    assert "no end in time" in report.results[1].detail
    assert time.monotonic() - began < 5


def test_service_on_loopback_only_fails_with_the_reason(base: Layers, cache: Path) -> None:
    image = image_to_check(base, "serve", "127.0.0.1", "80", "200", "hello")
    report = run_checks(image, cache, replace(HTTP, deadline_s=0.6))
    assert not report.passed
    assert "127.0.0.1 only" in report.results[0].detail


def test_service_that_changes_user(base: Layers, cache: Path) -> None:
    image = image_to_check(base, "as", "100", *SERVE)
    who = Check("exec", argv=("/bin/tool", "cat", "/proc/1/status"), contains="Uid:\t100\t100")
    report = run_checks(image, cache, HTTP, who)
    assert report.passed, report


def test_files_are_laid_into_an_image_without_accounts(
    place: Path, tool: bytes, cache: Path
) -> None:
    image = image_to_check((write_layer(place, base_entries(tool)[:3]),))
    start = Start(cmd=("sleep", "60"), files=(StartFile("/srv/a", "laid", mode=0o600),))
    cat = Check("exec", argv=("/bin/tool", "cat", "/srv/a"), contains="laid")
    image = replace(image, config={**image.config, "Entrypoint": ["/bin/tool"]})
    report = run_checks(image, cache, Check("start", start=start), cat)
    assert report.passed, report


def test_flood_is_bounded_and_its_end_is_kept(base: Layers, cache: Path) -> None:
    check = Check("exec", argv=("/bin/tool", "flood", str(1 << 30)), contains="the last line")
    report = run_checks(image_to_check(base), cache, replace(check, deadline_s=60))
    assert report.passed
    image = image_to_check(base, "flood", str(200 << 20))
    report = run_checks(image, cache, replace(HTTP, deadline_s=60))
    assert len(report.output_tail) == 40
    assert report.output_tail[-1].endswith("the last line")
    assert sum(map(len, report.output_tail)) < 20000


def test_full_file_system_is_the_images_fault(
    base: Layers, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "SCRATCH_BYTES", 1 << 20)
    fill = Start(cmd=("fill", "/srv"))
    full = Check("log", contains="No space left")
    cat = Check("exec", argv=("/bin/tool", "cat", "/etc/passwd"))
    image = image_to_check(base, "sleep", "9")
    with pytest.raises(ImageError, match="expected room for a command, got a full file system"):
        run_checks(image, cache, Check("start", start=fill), full, cat)


def test_fork_bomb_is_bounded(base: Layers, cache: Path) -> None:
    began = time.monotonic()
    said = execute(image_to_check(base), cache, "forks")
    assert 100 < int(said.split()[0]) < container.LIMITS["RLIMIT_NPROC"]
    assert time.monotonic() - began < 20


def test_memory_of_a_process_is_bounded(
    base: Layers, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(container.LIMITS, "RLIMIT_DATA", 256 << 20)
    check = Check("exec", argv=("/bin/tool", "eat"), exit_code=6)
    assert run_checks(image_to_check(base), cache, check).passed


def test_memory_of_a_container_is_bounded(
    base: Layers, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = make_memory_group(f"probe-{os.getpid()}", 1 << 30)
    if probe is None:
        pytest.skip("no cgroup may be made here")
    probe.remove()
    monkeypatch.setattr(container, "MEMORY_BYTES", 256 << 20)
    check = Check("exec", argv=("/bin/tool", "eat"), exit_code=137)
    report = run_checks(image_to_check(base), cache, check)
    assert report.passed, report


def test_audit_names_what_was_looked_for_in_vain(base: Layers, cache: Path) -> None:
    argv = ("/bin/tool", "look", "/etc/passwd", "/etc/nothing", "lost/file")
    check = Check("exec", argv=argv)
    report = run_checks(image_to_check(base, WorkingDir="/etc"), cache, check, audit=True)
    assert report.passed
    assert set(report.missed) == {"/etc/nothing", "/etc/lost/file"}


def test_audit_of_a_service_lists_what_it_mapped(base: Layers, cache: Path) -> None:
    report = run_checks(image_to_check(base, *SERVE), cache, HTTP, audit=True)
    assert report.passed
    assert report.libraries == ("/bin/tool",)


def test_cancel_ends_a_check(base: Layers, cache: Path) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(CheckError, match="cancelled"):
        check_image(
            image_to_check(base, "sleep", "1000"),
            (replace(HTTP, deadline_s=60),),
            SandboxRunner(cache),
            cancel=cancel,
        )
    assert time.monotonic() - began < 5
