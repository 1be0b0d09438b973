"""Images run in namespaces: what a program sees, what a check says, and that nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from minid.errors import CheckError, ImageError, UnpackError
from minid.formats.digest import Digest
from minid.host import container
from minid.host.cgroup import make_memory_group
from minid.host.container import ADDRESS, Container, ContainerSpec, LayerFile, prune_layers
from minid.model import CheckReport, Entry
from minid.recipe import Check
from minid.steps.check import ImageToCheck, SandboxRunner, check_image
from tests.support.require import require
from tests.support.tiny_image import (
    TOKEN,
    base_entries,
    compile_tool,
    file,
    folder,
    image_to_check,
    link,
    write_layer,
)

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
HTTP = Check("http", port=80, contains="hello", deadline_s=5)
SERVE = ("serve", "0.0.0.0", "80", "200", "hello")

Layers = tuple[tuple[Digest, Path], ...]


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    require("runc", "gcc")
    if os.geteuid() != 0:
        require("newuidmap")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # pytest's folders are 0700 on the way: that is part of the test.
    return tmp_path_factory.mktemp("containers")


@pytest.fixture(scope="module")
def tool(place: Path) -> bytes:
    return compile_tool(place)


@pytest.fixture(scope="module")
def base(place: Path, tool: bytes) -> Layers:
    return (write_layer(place, base_entries(tool)),)


@pytest.fixture
def cache(tmp_path: Path) -> Iterable[Path]:
    yield tmp_path / "layers"
    prune_layers(tmp_path / "layers", [])


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch: pytest.MonkeyPatch, place: Path) -> Iterable[None]:
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/{TOKEN}")  # what the keeper inherits
    mounts = own_mounts(place)
    yield
    deadline = time.monotonic() + 5
    while (left := keepers()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []
    assert own_mounts(place) == mounts


def own_mounts(place: Path) -> list[str]:
    """Mounts of this machine where a check could have left one."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    shelves = ("/mnt", "/srv", "/media", "/tmp", "/proc", "/sys", str(place.parent))
    return [point for point in points if point.startswith(shelves)]


def keepers() -> list[str]:
    """Processes of this test run's checks: keepers, runtimes, contained programs."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if TOKEN.encode() in environ:
            found.append(f"{entry.name} {(entry / 'cmdline').read_bytes()!r}")
    return found


def run_checks(
    image: ImageToCheck, cache: Path, *checks: Check, audit: bool = False
) -> CheckReport:
    return check_image(image, checks, SandboxRunner(cache), audit=audit)


def execute(image: ImageToCheck, cache: Path, *argv: str) -> str:
    """What the program prints when it is run alone in the image."""
    layers = tuple(LayerFile(*pair) for pair in image.layers)
    with Container(ContainerSpec(image.config, layers), cache) as box:
        result = box.execute(("/bin/tool", *argv), contains="", timeout_s=10)
    return "\n".join(result.tail)


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


def test_flood_is_bounded_and_its_end_is_kept(base: Layers, cache: Path) -> None:
    check = Check("exec", argv=("/bin/tool", "flood", str(1 << 30)), contains="the last line")
    report = run_checks(image_to_check(base), cache, replace(check, deadline_s=60))
    assert report.passed
    image = image_to_check(base, "flood", str(200 << 20))
    report = run_checks(image, cache, replace(HTTP, deadline_s=60))
    assert len(report.output_tail) == 40
    assert report.output_tail[-1].endswith("the last line")
    assert sum(map(len, report.output_tail)) < 20000


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


def test_what_docker_gives_a_process(base: Layers, cache: Path) -> None:
    image = image_to_check(base, Env=["PATH=/bin"], WorkingDir="/made/up")
    assert execute(image, cache, "where") == "host=minid cwd=/made/up home=/root path=/bin"
    seen = execute(image, cache, "id")
    assert "uid=0 gid=0" in seen
    assert "CapEff:\t00000000a80425fb" in seen  # Docker's default set
    assert "CapBnd:\t00000000a80425fb" in seen
    assert "CapAmb:\t0000000000000000" in seen
    assert "NoNewPrivs:\t0" in seen


def test_user_of_the_image(base: Layers, cache: Path) -> None:
    seen = execute(image_to_check(base, User="web"), cache, "id")
    assert "uid=100 gid=101" in seen
    assert "Groups:\t101 102" in seen or "Groups:\t102" in seen
    assert "CapEff:\t0000000000000000" in seen
    assert "home=/srv/web" in execute(image_to_check(base, User="web"), cache, "where")
    with pytest.raises(ImageError, match="expected a name of the image's passwd, got 'nobody'"):
        run_checks(image_to_check(base, *SERVE, User="nobody"), cache)


def test_container_sees_nothing_of_the_machine(base: Layers, cache: Path) -> None:
    image = image_to_check(base)
    mounts = execute(image, cache, "cat", "/proc/self/mountinfo")
    assert str(cache) not in mounts.replace("lowerdir", "")
    assert "No such file" in execute(image, cache, "cat", str(ROOT / "pyproject.toml"))
    assert "localhost" in execute(image, cache, "cat", "/etc/hosts")
    devices = execute(image, cache, "cat", "/proc/net/dev")
    assert [line.split(":")[0].strip() for line in devices.splitlines()[2:]] == ["lo"]


def test_owners_modes_and_links_of_a_layer(place: Path, tool: bytes, cache: Path) -> None:
    entries = [
        *base_entries(tool),
        folder("srv", 0o700, 100, 101),
        file("srv/secret", b"kept\n", 0o600, 100, 101),
        link("to-secret", "/srv/secret"),
        Entry("twin", "hardlink", 0o755, 0, target="bin/tool"),
    ]
    layers = (write_layer(place, entries),)
    assert execute(image_to_check(layers, User="100:101"), cache, "cat", "/to-secret") == "kept"
    denied = execute(image_to_check(layers, User="102"), cache, "cat", "/to-secret")
    assert "Permission denied" in denied
    assert run_checks(image_to_check(layers, Cmd=["/twin", "exit", "0"]), cache).passed


def test_set_user_id_program_works(place: Path, tool: bytes, cache: Path) -> None:
    entries = [*base_entries(tool), file("su", tool, 0o4755)]
    image = image_to_check((write_layer(place, entries),), User="web")
    layers = tuple(LayerFile(*pair) for pair in image.layers)
    with Container(ContainerSpec(image.config, layers), cache) as box:
        seen = box.execute(("/su", "id"), contains="", timeout_s=5)
    assert any(line.startswith("CapEff:\t00000000a80425fb") for line in seen.tail)


def test_upper_layers_win(place: Path, base: Layers, cache: Path) -> None:
    upper = write_layer(place, [folder(""), folder("etc"), file("etc/motd", b"two\n")])
    top = write_layer(place, [folder(""), folder("etc"), file("etc/motd", b"three\n")])
    image = image_to_check((*base, upper, top))
    assert execute(image, cache, "cat", "/etc/motd") == "three"
    assert "web" in execute(image, cache, "cat", "/etc/passwd")


def test_more_layers_than_one_mount_takes_are_copied(
    place: Path, base: Layers, cache: Path
) -> None:
    # 64 lower folders exceed the page that mount(2) has for options.
    more = [
        write_layer(place, [folder(""), folder("n"), file(f"n/{n}", b"%d\n" % n, 0o600, 100)])
        for n in range(64)
    ]
    image = image_to_check((*base, *more), *SERVE, User="100")
    read = Check("exec", argv=("/bin/tool", "cat", "/n/63"), contains="63")
    assert run_checks(image, cache, HTTP, read).passed


def test_writes_of_a_check_reach_neither_cache_nor_next_check(base: Layers, cache: Path) -> None:
    image = image_to_check(base, "as", "100", *SERVE)
    present = Check("exec", argv=("/bin/tool", "cat", "/given/file"))
    assert run_checks(image, cache, HTTP, present).passed
    absent = Check(
        "exec", argv=("/bin/tool", "cat", "/given/file"), contains="No such", exit_code=1
    )
    assert run_checks(image_to_check(base), cache, absent).passed
    assert not list(cache.glob("*/*/given"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (file("../out", b""), "below the root"),
        (file("/etc/out", b""), "below the root"),
        (file("etc/.wh.passwd", b""), "no whiteout"),
        (Entry("h", "hardlink", 0o644, 0, target="../../etc/passwd"), "below the root"),
    ],
)
def test_layer_that_leads_out_is_refused(
    place: Path, tool: bytes, cache: Path, bad: Entry, message: str
) -> None:
    layers = (write_layer(place, [*base_entries(tool), bad]),)
    with pytest.raises(UnpackError, match=message):
        run_checks(image_to_check(layers, *SERVE), cache)
    assert not [path for path in cache.glob("*/*") if path.is_dir()]


def test_layer_that_writes_through_a_link_is_refused(
    place: Path, tool: bytes, cache: Path, tmp_path: Path
) -> None:
    entries = [*base_entries(tool), link("out", str(tmp_path)), file("out/file", b"")]
    with pytest.raises(UnpackError):
        run_checks(image_to_check((write_layer(place, entries),), *SERVE), cache)
    assert not (tmp_path / "file").exists()


def test_damaged_layer_is_refused(place: Path, base: Layers, cache: Path) -> None:
    damaged = place / "damaged"
    data = bytearray(base[0][1].read_bytes())
    data[5000] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(UnpackError, match=f"expected the bytes of '{base[0][0].hex}'"):
        run_checks(image_to_check([(base[0][0], damaged)], *SERVE), cache)


def test_interrupted_unpacking_is_swept(base: Layers, cache: Path) -> None:
    run_checks(image_to_check(base), cache)
    (inner,) = cache.iterdir()
    for path in inner.iterdir():
        path.rename(inner / ".new-abandoned")
    run_checks(image_to_check(base), cache)
    assert [path.name for path in inner.iterdir()] == [base[0][0].hex]


def test_pruning_spares_what_is_kept_or_in_use(
    place: Path, tool: bytes, base: Layers, cache: Path
) -> None:
    entries = [*base_entries(tool), folder("srv", 0o700, 100), file("srv/x", b"", 0o600, 100)]
    other = write_layer(place, entries)
    assert execute(image_to_check([other]), cache, "exit", "0", "") == ""
    with Container(ContainerSpec({}, (LayerFile(*base[0]),)), cache):
        assert prune_layers(cache, [other[0]]) == 0
        assert prune_layers(cache, []) == 1
    (inner,) = cache.iterdir()
    assert [path.name for path in inner.iterdir()] == [base[0][0].hex]
    assert prune_layers(cache, []) == 1
    assert list(inner.iterdir()) == []


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


def test_escaped_processes_die_with_the_check(base: Layers, cache: Path) -> None:
    image = image_to_check(base, "escape", *SERVE[1:])
    assert run_checks(image, cache, HTTP).passed  # the rest is _nothing_left's


@pytest.mark.parametrize("argv", [("escape", *SERVE[1:]), ("sleep", "1000")])
def test_killed_minid_leaves_nothing(base: Layers, cache: Path, argv: tuple[str, ...]) -> None:
    program = f"""
import time
from pathlib import Path
from minid.formats.digest import Digest
from minid.host.container import *
layer = LayerFile(Digest({base[0][0].hex!r}), Path({str(base[0][1])!r}))
config = {{"Cmd": ["/bin/tool", *{argv!r}], "Env": ["TOKEN={TOKEN}"]}}
with Container(ContainerSpec(config, (layer,)), Path({str(cache)!r})) as box:
    box.start()
    while not box.state().started:
        time.sleep(0.01)
    print("up", flush=True)
    time.sleep(1000)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    assert len(keepers()) > 2
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_sockets_are_of_the_containers_network(base: Layers, cache: Path) -> None:
    layers = tuple(LayerFile(*pair) for pair in base)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with (
            Container(ContainerSpec({}, layers), cache) as box,
            box.open_socket() as sock,
            pytest.raises(ConnectionRefusedError),
        ):
            sock.connect(("127.0.0.1", server.getsockname()[1]))
        with socket.socket() as outside, pytest.raises(OSError):
            outside.settimeout(0.3)
            outside.connect((ADDRESS, 80))


def test_checks_side_by_side_do_not_meet(base: Layers, cache: Path) -> None:
    bodies = [f"hello {number}" for number in range(4)]
    reports: dict[str, CheckReport] = {}

    def work(body: str) -> None:
        image = image_to_check(base, "serve", "0.0.0.0", "80", "200", body)
        reports[body] = run_checks(image, cache, replace(HTTP, contains=body))

    threads = [threading.Thread(target=work, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reports[body].passed for body in bodies] == [True] * 4
    (inner,) = cache.iterdir()
    assert len(list(inner.iterdir())) == 1
