"""Images run in namespaces: what a program sees there, and that nothing is left."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from minid.errors import ImageError, UnpackError
from minid.host.container import ADDRESS, Container, ContainerSpec, LayerFile, prune_layers
from minid.model import CheckReport, Entry
from minid.recipe import Check
from tests.support.container_case import (
    HTTP,
    ROOT,
    SERVE,
    Layers,
    base,
    cache,
    execute,
    keepers,
    machine_is_able,
    nothing_left,
    place,
    run_checks,
    tool,
)
from tests.support.tiny_image import (
    TOKEN,
    base_entries,
    file,
    folder,
    image_to_check,
    link,
    write_layer,
)

pytestmark = pytest.mark.integration
__all__ = ["base", "cache", "machine_is_able", "nothing_left", "place", "tool"]  # fixtures


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


def test_escaped_processes_die_with_the_check(base: Layers, cache: Path) -> None:
    image = image_to_check(base, "escape", *SERVE[1:])
    assert run_checks(image, cache, HTTP).passed  # the rest is nothing_left's


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
