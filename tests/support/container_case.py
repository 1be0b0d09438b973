"""Fixtures and helpers for tests of containers: image, cache, and that nothing is left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.host.container import Container, ContainerSpec, LayerFile, prune_layers
from minid.model import CheckReport
from minid.recipe import Check
from minid.steps.check import ImageToCheck, SandboxRunner, check_image
from tests.support.require import require
from tests.support.tiny_image import (
    TOKEN,
    base_entries,
    compile_tool,
    write_layer,
)

ROOT = Path(__file__).parents[2]
HTTP = Check("http", port=80, contains="hello", deadline_s=5)
SERVE = ("serve", "0.0.0.0", "80", "200", "hello")

Layers = tuple[tuple[Digest, Path], ...]


@pytest.fixture(scope="module", autouse=True)
def machine_is_able() -> None:
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
def nothing_left(monkeypatch: pytest.MonkeyPatch, place: Path) -> Iterable[None]:
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
